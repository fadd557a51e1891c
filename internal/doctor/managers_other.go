package doctor

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// networkManager tells whether NetworkManager manages an interface. It leaves addresses of others alone until a
// connection is activated or applied again; there is no setting that keeps them then.
func networkManager(root fs.FS, l Link) *Manager {
	if !active(root, []string{"run/NetworkManager/devices", "run/NetworkManager/NetworkManager.pid"},
		"etc/systemd/system/multi-user.target.wants/NetworkManager.service") {
		return nil
	}
	m := &Manager{ID: "networkmanager", Interface: l.Name, File: "/etc/NetworkManager"}
	files := []string{"etc/NetworkManager/NetworkManager.conf"}
	for _, dir := range []string{"usr/lib/NetworkManager/conf.d", "lib/NetworkManager/conf.d", "run/NetworkManager/conf.d", "etc/NetworkManager/conf.d"} {
		files = append(files, filesIn(root, dir, ".conf")...)
	}
	unmanaged := false
	for _, file := range files {
		for _, s := range parseINI(readText(root, file)) {
			switch {
			case s.section == "keyfile" && s.key == "unmanaged-devices":
				unmanaged = deviceList(s.value, l)
			case strings.HasPrefix(s.section, "device") && s.key == "managed" && !truth(s.value) && deviceSection(root, file, s.section, l):
				unmanaged = true
			}
		}
	}
	if ifupdownHas(root, l.Name) && !ifupdownManaged(root, files) {
		unmanaged = true // NetworkManager's plugin ifupdown leaves it to ifupdown
	}
	if !unmanaged {
		m.Harm = fmt.Sprintf("NetworkManager manages %s and deletes floating addresses when a connection is activated or applied again; the agent puts them back, some milliseconds later", l.Name)
		m.Do = fmt.Sprintf("where ifupdown or networkd can take %s over, /etc/NetworkManager/conf.d/hbagent.conf: [keyfile] unmanaged-devices=interface-name:%s; otherwise leave it, with --ignore networkmanager", l.Name, l.Name)
	}
	return m
}

// deviceList is a list of device specs (NetworkManager.conf(5)): the later "except:" wins over what matches.
func deviceList(value string, l Link) bool {
	found := false
	for _, spec := range strings.FieldsFunc(value, func(r rune) bool { return r == ';' || r == ',' }) {
		spec, except := strings.CutPrefix(strings.TrimSpace(spec), "except:")
		hit := spec == "*"
		switch kind, arg, ok := strings.Cut(spec, ":"); {
		case !ok && spec != "*":
			hit = matchName(spec, l.Name)
		case kind == "interface-name":
			hit = matchName(strings.TrimPrefix(arg, "="), l.Name)
		case kind == "mac":
			hit = strings.EqualFold(arg, l.MAC)
		case kind == "type":
			hit = arg == "ethernet" && !l.Bridge || arg == "bridge" && l.Bridge
		}
		if hit && except {
			return false
		}
		found = found || hit
	}
	return found
}

// deviceSection tells whether a section [device...] is about an interface.
func deviceSection(root fs.FS, file, section string, l Link) bool {
	for _, s := range parseINI(readText(root, file)) {
		if s.section == section && s.key == "match-device" {
			return deviceList(s.value, l)
		}
	}
	return true // without match-device: every one
}

func ifupdownManaged(root fs.FS, files []string) bool {
	for _, file := range files {
		for _, s := range parseINI(readText(root, file)) {
			if s.section == "ifupdown" && s.key == "managed" {
				return truth(s.value)
			}
		}
	}
	return false
}

// interfacesFiles are those of ifupdown (interfaces(5)): the main one, and what it sources.
func interfacesFiles(root fs.FS) []string {
	const main = "etc/network/interfaces"
	if !exists(root, main) {
		return nil
	}
	out := []string{main}
	for line := range strings.Lines(readText(root, main)) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "source" && words[0] != "source-directory" {
			continue
		}
		for _, pattern := range words[1:] {
			if words[0] == "source-directory" {
				pattern += "/*"
			}
			if !path.IsAbs(pattern) {
				pattern = path.Join("/etc/network", pattern)
			}
			found, err := fs.Glob(root, strings.TrimPrefix(path.Clean(pattern), "/"))
			if err == nil {
				out = append(out, found[:min(len(found), maxFiles)]...)
			}
		}
	}
	return out
}

// ifupdownHas tells whether ifupdown configures an interface.
func ifupdownHas(root fs.FS, iface string) bool { return ifupdownFile(root, iface, "iface") != "" }

// ifupdownFile is the file with a stanza about an interface that begins with a word, or "".
func ifupdownFile(root fs.FS, iface, word string) string {
	for _, file := range interfacesFiles(root) {
		for line := range strings.Lines(readText(root, file)) {
			words := strings.Fields(line)
			if len(words) >= 2 && words[0] == word && slices.Contains(words[1:], iface) {
				return file
			}
		}
	}
	return ""
}

// ifupdown leaves addresses alone while an interface is up. `ifdown` deletes all, and an interface with allow-hotplug is
// taken down by udev.
func ifupdown(root fs.FS, l Link) *Manager {
	file := ifupdownFile(root, l.Name, "iface")
	if file == "" {
		return nil
	}
	m := &Manager{ID: "ifupdown", Interface: l.Name, File: "/" + file}
	if hot := ifupdownFile(root, l.Name, "allow-hotplug"); hot != "" && exists(root, "run/udev", "lib/udev/rules.d/80-ifupdown.rules") && !ifupdownStatic(root, l.Name) {
		m.File = "/" + hot
		m.Harm = fmt.Sprintf("ifupdown configures %s by DHCP at hotplug: when the link comes back it is configured anew, and floating addresses may go; the agent puts them back", l.Name)
		m.Do = fmt.Sprintf("write `auto %s` in place of `allow-hotplug %s`, and a static address", l.Name, l.Name)
	}
	return m
}

func ifupdownStatic(root fs.FS, iface string) bool {
	for _, file := range interfacesFiles(root) {
		for line := range strings.Lines(readText(root, file)) {
			words := strings.Fields(line)
			if len(words) >= 4 && words[0] == "iface" && words[1] == iface && words[3] == "dhcp" {
				return false
			}
		}
	}
	return true
}

// cloudInit writes the network's configuration at the first boot; at each boot or hotplug, if told to
// (`updates: network: when:` in its config).
func cloudInit(root fs.FS, l Link) *Manager {
	if !exists(root, "etc/cloud/cloud.cfg", "etc/cloud/cloud.cfg.d") || exists(root, "etc/cloud/cloud-init.disabled") {
		return nil
	}
	m := &Manager{ID: "cloud-init", Interface: l.Name, File: "/etc/cloud/cloud.cfg"}
	files := append([]string{"etc/cloud/cloud.cfg"}, filesIn(root, "etc/cloud/cloud.cfg.d", ".cfg")...)
	for _, file := range files {
		net, when := cloudNetwork(readText(root, file))
		switch {
		case net == "disabled":
			return &Manager{ID: "cloud-init", Interface: l.Name, File: "/" + file}
		case slices.Contains(when, "boot") || slices.Contains(when, "hotplug"):
			m.File = "/" + file
			m.Harm = fmt.Sprintf("cloud-init writes the configuration of %s anew at %s: what was set there for floating addresses goes", l.Name, strings.Join(when, ", "))
			m.Do = "/etc/cloud/cloud.cfg.d/99-hbagent.cfg: network: {config: disabled}"
		}
	}
	return m
}
