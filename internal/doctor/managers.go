package doctor

import (
	"bufio"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// This file and its neighbours read the configuration of network managers below a root.

// maxFiles bounds what is read of one directory. Chosen by us.
const maxFiles = 512

// setting is `Key=value` in a section of a file of systemd or NetworkManager.
type setting struct{ section, key, value string }

// parseINI reads the format that systemd.syntax(7) and NetworkManager.conf(5) share. Lines that it does not
// understand are skipped: others judge them.
func parseINI(text string) []setting {
	var out []setting
	section := ""
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		switch {
		case line == "", line[0] == '#', line[0] == ';':
			continue
		case line[0] == '[' && line[len(line)-1] == ']':
			section = line[1 : len(line)-1]
			continue
		}
		if key, value, ok := strings.Cut(line, "="); ok {
			out = append(out, setting{section, strings.TrimSpace(key), strings.TrimSpace(value)})
		}
	}
	return out
}

// filesIn are the files of a directory with one of these endings, sorted; none where it cannot be read.
func filesIn(root fs.FS, dir string, endings ...string) []string {
	entries, err := fs.ReadDir(root, dir)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if slices.Contains(endings, path.Ext(e.Name())) && len(out) < maxFiles {
			out = append(out, path.Join(dir, e.Name()))
		}
	}
	slices.Sort(out)
	return out
}

func readText(root fs.FS, name string) string {
	b, err := fs.ReadFile(root, name)
	if err != nil || len(b) > maxConfig {
		return ""
	}
	return string(b)
}

func exists(root fs.FS, names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		_, err := fs.Stat(root, name)
		return err == nil
	})
}

// running tells whether a service of systemd runs, or would after a boot: by its run directory and by its link.
func active(root fs.FS, runs []string, links ...string) bool {
	if exists(root, runs...) {
		return true
	}
	return slices.ContainsFunc(links, func(name string) bool {
		_, err := fs.ReadLink(root, name) // the target need not exist below this root
		return err == nil || exists(root, name)
	})
}

// matchName is the Name= of [Match]: globs, separated by spaces, negated as a whole by a leading "!" (systemd.network(5)).
func matchName(patterns, name string) bool {
	patterns, not := strings.CutPrefix(patterns, "!")
	found := slices.ContainsFunc(strings.Fields(patterns), func(p string) bool {
		ok, err := path.Match(p, name)
		return err == nil && ok
	})
	return found != not
}

// managers looks at every interface of a group, and for floating addresses in everybody's files.
func (c *collector) managers() {
	for _, name := range c.interfaces() {
		l := c.Links[name]
		l.Name = name
		for _, m := range []*Manager{networkd(c.root, l), networkManager(c.root, l), ifupdown(c.root, l), cloudInit(c.root, l)} {
			if m != nil {
				c.Managers = append(c.Managers, *m)
			}
		}
	}
	floats := floating(c.Config)
	for _, file := range networkFiles(c.root) {
		for _, a := range mentioned(uncomment(readText(c.root, file)), floats) {
			c.Written = append(c.Written, Written{a, "/" + file})
		}
	}
}

// networkFiles are all in which an address may be configured.
func networkFiles(root fs.FS) []string {
	var out []string
	for _, dir := range networkdDirs {
		out = append(out, filesIn(root, dir, ".network")...)
		if entries, err := fs.ReadDir(root, dir); err == nil {
			for _, e := range entries {
				if e.IsDir() && strings.HasSuffix(e.Name(), ".network.d") {
					out = append(out, filesIn(root, path.Join(dir, e.Name()), ".conf")...)
				}
			}
		}
	}
	for _, dir := range []string{"etc/netplan", "lib/netplan", "run/netplan"} {
		out = append(out, filesIn(root, dir, ".yaml")...)
	}
	for _, dir := range []string{"etc/NetworkManager/system-connections", "run/NetworkManager/system-connections", "usr/lib/NetworkManager/system-connections"} {
		out = append(out, filesIn(root, dir, ".nmconnection", "")...)
	}
	out = append(out, filesIn(root, "etc/sysconfig/network-scripts", "")...)
	if entries, err := fs.ReadDir(root, "etc/sysconfig/network-scripts"); err == nil {
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), "ifcfg-") {
				out = append(out, path.Join("etc/sysconfig/network-scripts", e.Name()))
			}
		}
	}
	slices.Sort(out)
	return append(slices.Compact(out), interfacesFiles(root)...)
}
