package doctor

import (
	"io/fs"
	"path"
	"slices"
	"strings"
)

// unitDirs in the order in which a unit hides those of the same name (systemd.unit(5)).
var unitDirs = []string{"etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"}

const unitName = "hbagent.service"

// unit reads hbagent.service and its drop-ins.
func (c *collector) unit() {
	c.Unit = readUnit(c.root)
}

func readUnit(root fs.FS) Unit {
	u := Unit{Systemd: exists(root, "run/systemd/system"), Settings: map[string]string{}}
	for _, dir := range unitDirs {
		if file := path.Join(dir, unitName); exists(root, file) {
			u.File = "/" + file
			u.apply(readText(root, file))
			break
		}
	}
	if u.File == "" {
		return u
	}
	var dropins []string
	for _, dir := range unitDirs {
		for _, f := range filesIn(root, path.Join(dir, unitName+".d"), ".conf") {
			if !slices.ContainsFunc(dropins, func(g string) bool { return path.Base(g) == path.Base(f) }) {
				dropins = append(dropins, f)
			}
		}
	}
	slices.SortFunc(dropins, func(a, b string) int { return strings.Compare(path.Base(a), path.Base(b)) })
	for _, f := range dropins {
		u.apply(readText(root, f))
	}
	for _, dir := range []string{"etc/systemd/system", "run/systemd/system"} {
		links, err := fs.Glob(root, path.Join(dir, "*.wants", unitName))
		u.Enabled = u.Enabled || err == nil && len(links) > 0
	}
	return u
}

// unitLists are settings that add up; an empty one begins anew.
var unitLists = []string{"AmbientCapabilities", "CapabilityBoundingSet"}

func (u *Unit) apply(text string) {
	for _, s := range parseINI(text) {
		switch {
		case s.section != "Service":
		case slices.Contains(unitLists, s.key) && s.value != "":
			u.Settings[s.key] = strings.TrimSpace(u.Settings[s.key] + " " + s.value)
		default:
			u.Settings[s.key] = s.value
		}
	}
}
