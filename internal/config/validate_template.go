package config

import (
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Chosen by us.
const (
	// maxTemplates: each has a goroutine, and its state travels with the node's.
	maxTemplates = 64

	minTemplateInterval, maxTemplateInterval = 100 * time.Millisecond, time.Hour
	minTemplateTimeout, maxTemplateTimeout   = 100 * time.Millisecond, 5 * time.Minute

	defaultTemplateInterval = time.Second
	defaultTemplateTimeout  = 10 * time.Second
)

// placeholder is what a command may have in double braces, as internal/template/apply fills it in.
var placeholder = regexp.MustCompile(`\{\{\s*\.(Path|File)\s*\}\}`)

// goodOwner is user, user:group or :group (useradd(8), with what other systems allow).
var goodOwner = regexp.MustCompile(`^([a-zA-Z_][a-zA-Z0-9_.-]*)?(:[a-zA-Z_][a-zA-Z0-9_.-]*)?$`)

func (v *validator) allTemplates() {
	names := map[string]span{}
	for i := range v.raw.Templates {
		raw := &v.raw.Templates[i]
		t := Template{AsRoot: raw.AsRoot.or(false)}
		var ok bool
		t.Name, ok = v.unique("template", &raw.Name, func(name string) (span, bool) { at, ok := names[name]; return at, ok })
		if ok {
			names[t.Name] = raw.Name.at
		}
		label := "template " + quote(raw.Name.value)
		if t.Source = v.path("source", &raw.Source); !raw.Source.written() {
			v.refuse(raw.At, label+" has no source", `write source = "/etc/hbagent/templates/upstreams.tmpl": the template itself`)
		}
		if t.File = v.path("file", &raw.File); !raw.File.written() {
			v.refuse(raw.At, label+" has no file", `write file = "/var/lib/hbagent/templates/upstreams.conf": what it makes`)
		}
		if t.File != "" && t.File == t.Source {
			v.clash(raw.File.at, label+" would overwrite its own source", "give the file that it makes another name", raw.Source.at, "the source")
		}
		t.Check = v.argv("check", &raw.Check, `check = ["/usr/sbin/nginx", "-t"]`)
		t.Reload = v.argv("reload", &raw.Reload, `reload = ["/usr/bin/systemctl", "reload", "nginx"]`)
		if raw.AsRoot.given() && t.AsRoot && !raw.Check.written() && !raw.Reload.written() {
			v.warn(raw.AsRoot.key, label+": as_root has no meaning without check and reload", "delete it: the file itself is written by the agent's user")
		}
		t.Nodes = v.nodeList("nodes", &raw.Nodes)
		switch {
		case !raw.Nodes.written():
			for _, n := range v.cfg.Nodes {
				t.Nodes = append(t.Nodes, n.Name)
			}
		case raw.Nodes.given() && len(raw.Nodes.value) == 0:
			v.warn(raw.Nodes.at, label+" is kept on no node", "name the nodes, or delete the line to keep it on every node")
		}
		t.Mode = v.mode(&raw.Mode)
		t.Owner = raw.Owner.or("")
		if raw.Owner.given() && (t.Owner == "" || !goodOwner.MatchString(t.Owner)) {
			v.refuse(raw.Owner.at, "owner = "+quote(t.Owner)+" is not a user and a group", `write owner = "root:www-data", "www-data" or ":www-data"`)
		}
		t.Interval = v.duration("interval", &raw.Interval, defaultTemplateInterval, minTemplateInterval, maxTemplateInterval)
		t.Timeout = v.duration("timeout", &raw.Timeout, defaultTemplateTimeout, minTemplateTimeout, maxTemplateTimeout)
		v.sameFile(i, t)
		v.cfg.Templates = append(v.cfg.Templates, t)
	}
}

// sameFile refuses a second template of a file on the same node.
func (v *validator) sameFile(i int, t Template) {
	for j, other := range v.cfg.Templates {
		both := func(node string) bool { return slices.Contains(other.Nodes, node) }
		if t.File != "" && other.File == t.File && slices.ContainsFunc(t.Nodes, both) {
			v.clash(v.raw.Templates[i].File.at, "two templates make the file "+t.File, "give one of them another file, or other nodes", v.raw.Templates[j].File.at, "first here")
			return
		}
	}
}

// argv is a program with its arguments, with the placeholders still in them.
func (v *validator) argv(key string, s *setting[texts], example string) []string {
	if !s.given() {
		return nil
	}
	argv := s.value.plain()
	if len(argv) == 0 {
		v.refuse(s.at, key+" is empty", "write "+example+", or delete the line")
		return nil
	}
	program := s.value[0]
	if strings.ContainsRune(program.value, ' ') && len(argv) == 1 {
		v.refuse(program.at, key+" is one text: no shell will split it", fmt.Sprintf(`write each argument as a text of its own: ["%s"]`, strings.Join(strings.Fields(program.value), `", "`)))
		return nil
	}
	v.path(key, &program)
	for _, arg := range s.value {
		if strings.Contains(placeholder.ReplaceAllString(arg.value, ""), "{{") {
			v.refuse(arg.at, key+": "+quote(arg.value)+" has something else than {{.Path}} or {{.File}} in double braces",
				"{{.Path}} is the file to check, {{.File}} the one that is kept; lists belong into the template")
		}
	}
	return argv
}

// mode reads "0644".
func (v *validator) mode(s *setting[string]) fs.FileMode {
	if !s.given() {
		return 0
	}
	n, err := strconv.ParseUint(s.value, 8, 32)
	switch {
	case err != nil || n == 0 || n > 0o777 || len(s.value) < 3:
		v.refuse(s.at, "mode = "+quote(s.value)+" is not a mode", `write it as chmod has it, in quotes: mode = "0644"`)
		return 0
	case n&0o400 == 0:
		v.refuse(s.at, "mode = "+quote(s.value)+": not even its owner could read the file", `write mode = "0644"`)
		return 0
	case n&0o002 != 0:
		v.warn(s.at, "mode = "+quote(s.value)+": everybody on the machine could write into the file", `write mode = "0644"`)
	}
	return fs.FileMode(n)
}
