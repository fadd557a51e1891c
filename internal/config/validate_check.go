package config

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Chosen by us: a probe more often than minInterval measures itself, and one more
// seldom than maxInterval watches nothing.
const (
	minInterval, maxInterval = 50 * time.Millisecond, time.Hour
	minTimeout, maxTimeout   = time.Millisecond, 5 * time.Minute
	maxFall                  = 100 // and of rise

	defaultInterval  = time.Second
	defaultTimeout   = 2 * time.Second
	defaultFall      = 2
	defaultRise      = 2
	defaultSaturated = 10 * time.Second
)

// checkKeys are the keys that belong to some types only.
type checkKeys struct {
	needs, may []string
	example    string // of the first needed key
}

var checkTypes = map[string]checkKeys{
	"apache":    {[]string{"url"}, []string{"body", "status", "saturated", "max_busy"}, `url = "http://127.0.0.1/"`},
	"nginx":     {[]string{"url"}, []string{"body", "status", "max_active", "max_dropped"}, `url = "http://127.0.0.1/"`},
	"http":      {[]string{"url"}, []string{"body", "status"}, `url = "http://127.0.0.1:8080/health"`},
	"mysql":     {[]string{"dsn_file"}, []string{"max_lag", "max_threads", "read_only"}, `dsn_file = "/etc/hbagent/mysql.dsn"`},
	"memcached": {[]string{"address"}, nil, `address = "127.0.0.1:11211"`},
	"tcp":       {[]string{"address"}, nil, `address = "127.0.0.1:80"`},
	"exec":      {[]string{"command"}, nil, `command = ["/usr/lib/nagios/plugins/check_load", "-w", "5", "-c", "10"]`},
	"systemd":   {[]string{"unit"}, nil, `unit = "apache2.service"`},
	"link":      {[]string{"interface"}, nil, `interface = "eth0"`},
	"arp":       {nil, []string{"interface", "target"}, ""},
}

// CheckTypes returns the types a check may have, sorted.
func CheckTypes() []string { return slices.Sorted(maps.Keys(checkTypes)) }

// specialKey is a key of a check that belongs to some types only.
type specialKey struct {
	name    string
	written bool
	key     span
}

func (r *rawCheck) special() []specialKey {
	return []specialKey{
		{"url", r.URL.written(), r.URL.key},
		{"address", r.Address.written(), r.Address.key},
		{"dsn_file", r.DSNFile.written(), r.DSNFile.key},
		{"command", r.Command.written(), r.Command.key},
		{"unit", r.Unit.written(), r.Unit.key},
		{"interface", r.Interface.written(), r.Interface.key},
		{"target", r.Target.written(), r.Target.key},
		{"body", r.Body.written(), r.Body.key},
		{"status", r.Status.written(), r.Status.key},
		{"saturated", r.Saturated.written(), r.Saturated.key},
		{"max_busy", r.MaxBusy.written(), r.MaxBusy.key},
		{"max_active", r.MaxActive.written(), r.MaxActive.key},
		{"max_dropped", r.MaxDropped.written(), r.MaxDropped.key},
		{"max_lag", r.MaxLag.written(), r.MaxLag.key},
		{"max_threads", r.MaxThreads.written(), r.MaxThreads.key},
		{"read_only", r.ReadOnly.written(), r.ReadOnly.key},
	}
}

func (v *validator) allChecks() {
	for i := range v.raw.Checks {
		raw := &v.raw.Checks[i]
		c := Check{Required: raw.Required.or(true)}
		c.Name, _ = v.unique("check", &raw.Name, func(name string) (span, bool) {
			if first := v.checks[name]; first != nil {
				return first.Name.at, true
			}
			return span{}, false
		})
		if raw.Name.given() && v.checks[raw.Name.value] == nil {
			v.checks[raw.Name.value] = raw
		}
		c.Type = v.checkType(raw)
		v.checkTarget(raw, &c)
		c.Interval = v.duration("interval", &raw.Interval, defaultInterval, minInterval, maxInterval)
		c.Timeout = v.duration("timeout", &raw.Timeout, defaultTimeout, minTimeout, maxTimeout)
		c.Fall = int(v.number("fall", &raw.Fall, defaultFall, 1, maxFall))
		c.Rise = int(v.number("rise", &raw.Rise, defaultRise, 1, maxFall))
		c.Nodes = v.nodeList("nodes", &raw.Nodes)
		switch {
		case !raw.Nodes.written():
			for _, n := range v.cfg.Nodes {
				c.Nodes = append(c.Nodes, n.Name)
			}
		case raw.Nodes.given() && len(raw.Nodes.value) == 0:
			v.warn(raw.Nodes.at, "check "+quote(c.Name)+" runs on no node", "name the nodes, or delete the line to run it on every node")
		}
		v.cfg.Checks = append(v.cfg.Checks, c)
	}
}

// nodeList is a list of defined nodes, each once; never nil.
func (v *validator) nodeList(key string, list *setting[texts]) []string {
	return v.references("node", key, list, v.nodeNames())
}

// nodeNames are those that the file defines.
func (v *validator) nodeNames() []string {
	defined := make([]string, 0, len(v.raw.Nodes))
	for i := range v.raw.Nodes {
		if v.raw.Nodes[i].Name.given() {
			defined = append(defined, v.raw.Nodes[i].Name.value)
		}
	}
	return defined
}

func (v *validator) references(kind, key string, list *setting[texts], defined []string) []string {
	names := []string{}
	seen := map[string]span{}
	for _, s := range list.or(nil) {
		if first, dup := seen[s.value]; dup {
			v.clash(s.at, fmt.Sprintf("%s %s stands twice in %s", kind, quote(s.value), key), "delete one of the two", first, "first here")
			continue
		}
		seen[s.value] = s.at
		if v.refers(kind, s, defined) {
			names = append(names, s.value)
		}
	}
	return names
}

// checkType returns the type, after comparing it with the keys that were written.
func (v *validator) checkType(raw *rawCheck) string {
	label := "check " + quote(raw.Name.value)
	if !raw.Type.written() {
		v.refuse(raw.At, label+" has no type", `write type = "http"; the types are: `+strings.Join(CheckTypes(), ", "))
		return ""
	}
	if !raw.Type.given() {
		return ""
	}
	typ := raw.Type.value
	keys, ok := checkTypes[typ]
	if !ok {
		hint := "the types are: " + strings.Join(CheckTypes(), ", ")
		if near, ok := suggest(typ, CheckTypes()); ok {
			hint = "did you mean " + quote(near) + "?"
		}
		v.refuse(raw.Type.at, "unknown type of check "+quote(typ), hint)
		return ""
	}
	for _, w := range raw.special() {
		switch {
		case !w.written && slices.Contains(keys.needs, w.name):
			v.refuse(raw.At, fmt.Sprintf("%s: type %s needs %s", label, quote(typ), w.name), "write "+keys.example)
		case w.written && !slices.Contains(keys.needs, w.name) && !slices.Contains(keys.may, w.name):
			v.refuse(w.key, fmt.Sprintf("%s: type %s does not use %s", label, quote(typ), w.name), hintForForeign(typ, w.name))
		}
	}
	return typ
}

// hintForForeign says which types use key, and which keys typ has.
func hintForForeign(typ, key string) string {
	var users []string
	for _, t := range CheckTypes() {
		if k := checkTypes[t]; slices.Contains(k.needs, key) || slices.Contains(k.may, key) {
			users = append(users, t)
		}
	}
	own := slices.Concat(checkTypes[typ].needs, checkTypes[typ].may)
	return fmt.Sprintf("delete it: %s has %s; %s is for %s", typ, strings.Join(own, ", "), key, strings.Join(users, ", "))
}

// checkTarget judges the keys that belong to some types only.
func (v *validator) checkTarget(raw *rawCheck, c *Check) {
	c.URL = v.url(&raw.URL)
	c.DSNFile = v.path("dsn_file", &raw.DSNFile)
	c.Interface = v.iface(&raw.Interface)
	c.Target, _ = v.address("target", &raw.Target)
	c.Body = raw.Body.or("")
	if _, err := regexp.Compile(c.Body); err != nil {
		v.refuse(raw.Body.at, "body is not a regular expression: "+strings.TrimPrefix(err.Error(), "error parsing regexp: "),
			`put a backslash before a character that is meant as it is, in 'single quotes': body = 'price \(EUR\)'`)
	}
	if raw.Address.given() {
		c.Address = v.hostPort("address", &raw.Address, "127.0.0.1:11211")
	}
	if raw.Status.given() {
		if c.Status = int(raw.Status.value); raw.Status.value < 100 || raw.Status.value > 599 {
			v.refuse(raw.Status.at, fmt.Sprintf("status = %d is not an HTTP status", raw.Status.value), "write one from 100 to 599, or delete the line to accept 200 to 399")
		}
	}
	if c.Type == "apache" {
		c.Saturated = v.duration("saturated", &raw.Saturated, defaultSaturated, time.Second, time.Hour)
	}
	v.checkLimits(raw, c)
	if raw.Unit.given() {
		if c.Unit = raw.Unit.value; c.Unit == "" || strings.ContainsAny(c.Unit, "/ \t\n") || len(c.Unit) > 255 {
			v.refuse(raw.Unit.at, quote(c.Unit)+" is not the name of a systemd unit", `write it as systemctl shows it, for example "apache2.service"`)
		}
	}
	if raw.Command.given() {
		if c.Command = raw.Command.value.plain(); len(c.Command) == 0 {
			v.refuse(raw.Command.at, "the command is empty", "write "+checkTypes["exec"].example)
			return
		}
		program := raw.Command.value[0]
		if strings.ContainsRune(program.value, ' ') && len(c.Command) == 1 {
			v.refuse(program.at, "the command is one text: no shell will split it", fmt.Sprintf(`write each argument as a text of its own: ["%s"]`, strings.Join(strings.Fields(program.value), `", "`)))
			return
		}
		v.path("command", &program)
	}
}

func (v *validator) url(s *setting[string]) string {
	if !s.given() {
		return ""
	}
	u, err := url.Parse(s.value)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		v.refuse(s.at, quote(s.value)+" is not the URL of a web page", `write it whole, as in url = "http://127.0.0.1/"`)
		return ""
	}
	return s.value
}

// watchedAddress is the IP address that a check talks to, if it names one.
func (c *Check) watchedAddress() netip.Addr {
	host, _, _ := cutLast(c.Address, ':')
	if u, err := url.Parse(c.URL); err == nil && c.URL != "" {
		host = u.Hostname()
	}
	addr, _ := netip.ParseAddr(strings.Trim(host, "[]"))
	return addr
}

// unusedChecks warns of checks that can never matter. It runs after the groups.
func (v *validator) unusedChecks() {
	for i := range v.cfg.Checks {
		c, raw := &v.cfg.Checks[i], &v.raw.Checks[i]
		if c.Name != "" && c.Required && !v.used[c.Name] {
			v.warn(raw.Name.at, "no group lists the check "+quote(c.Name)+", so it moves nothing",
				"add it to the checks of a [[group]], or write required = false if it is there to be looked at")
		}
		at := raw.Address.at
		if raw.URL.given() {
			at = raw.URL.at
		}
		if vip, ok := v.vips[c.watchedAddress()]; ok && vip.address.IsValid() {
			v.warn(at, "check "+quote(c.Name)+" asks a floating address: on every node it judges the owner, not this node",
				"ask the service on the node itself, for example at 127.0.0.1")
		}
	}
}
