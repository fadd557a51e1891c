package doctor

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// networkdDirs in the order in which a file hides those of the same name (systemd.network(5)).
var networkdDirs = []string{"etc/systemd/network", "run/systemd/network", "usr/local/lib/systemd/network", "usr/lib/systemd/network", "lib/systemd/network"}

// networkd finds the .network file that applies to an interface: the first by name, over all directories. Addresses that
// networkd has not configured itself go when it takes the interface over anew. Ours have a lifetime, which makes them
// "dynamic" to it (link_address_is_dynamic, src/network/networkd-address.c): KeepConfiguration=static does not
// cover them, yes and dhcp (since systemd 257 also: dynamic) do.
func networkd(root fs.FS, l Link) *Manager {
	if !active(root, []string{"run/systemd/netif/state"},
		"etc/systemd/system/multi-user.target.wants/systemd-networkd.service", "etc/systemd/system/dbus-org.freedesktop.network1.service") {
		return nil
	}
	file := networkFileFor(root, l)
	if file == "" {
		return nil
	}
	name := path.Base(file)
	settings := parseINI(readText(root, file))
	var dropins []string
	for _, dir := range networkdDirs {
		for _, f := range filesIn(root, path.Join(dir, name+".d"), ".conf") {
			if !slices.ContainsFunc(dropins, func(g string) bool { return path.Base(g) == path.Base(f) }) {
				dropins = append(dropins, f)
			}
		}
	}
	slices.SortFunc(dropins, func(a, b string) int { return strings.Compare(path.Base(a), path.Base(b)) })
	for _, f := range dropins {
		settings = append(settings, parseINI(readText(root, f))...)
	}
	m := &Manager{ID: "networkd", Interface: l.Name, File: "/" + file}
	keeps := false
	for _, s := range settings {
		switch {
		case s.section == "Link" && s.key == "Unmanaged" && truth(s.value):
			return nil
		case s.section == "Network" && s.key == "KeepConfiguration":
			keeps = truth(s.value) || s.value == "dhcp" || s.value == "dynamic"
		}
	}
	if !keeps {
		m.Harm = fmt.Sprintf("systemd-networkd manages %s and deletes floating addresses when it restarts or reloads; the agent puts them back, some milliseconds later", l.Name)
		m.Do = fmt.Sprintf("/etc/systemd/network/%s.d/hbagent.conf: [Network] KeepConfiguration=yes (static is not enough: the addresses have a lifetime); then networkctl reload", name)
	}
	return m
}

// networkFileFor is the path of that file, or "".
func networkFileFor(root fs.FS, l Link) string {
	byName := map[string]string{}
	for _, dir := range networkdDirs {
		for _, f := range filesIn(root, dir, ".network") {
			if _, hidden := byName[path.Base(f)]; !hidden {
				byName[path.Base(f)] = f
			}
		}
	}
	names := make([]string, 0, len(byName))
	for name := range byName {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if matches(parseINI(readText(root, byName[name])), l) {
			return byName[name]
		}
	}
	return ""
}

// matches holds [Match] against an interface. What cannot be judged here (a driver, a host) counts as true, beside
// something that can.
func matches(settings []setting, l Link) bool {
	judged := false
	for _, s := range settings {
		if s.section != "Match" || s.value == "" {
			continue
		}
		switch s.key {
		case "Name":
			if !matchName(s.value, l.Name) {
				return false
			}
			judged = true
		case "MACAddress", "PermanentMACAddress":
			if !slices.ContainsFunc(strings.Fields(s.value), func(mac string) bool { return strings.EqualFold(mac, l.MAC) }) {
				return false
			}
			judged = true
		case "Type":
			if !matchName(s.value, "ether") {
				return false
			}
			judged = true
		case "Kind":
			if !l.Bridge || !matchName(s.value, "bridge") {
				return false
			}
			judged = true
		case "SSID", "BSSID", "WLANInterfaceType":
			return false
		}
	}
	return judged
}

// truth is a boolean of systemd.syntax(7).
func truth(s string) bool {
	return slices.Contains([]string{"1", "yes", "true", "on", "y", "t"}, strings.ToLower(s))
}
