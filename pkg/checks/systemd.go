package checks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// systemctlPaths are where distributions keep it.
var systemctlPaths = []string{"/usr/bin/systemctl", "/bin/systemctl"}

// systemdCheck asks systemd whether a unit is active. systemctl does the asking:
// it knows how to reach the manager with and without a message bus.
type systemdCheck struct {
	unit  string
	paths []string
}

func newSystemd(s Spec) (Checker, error) {
	if s.Unit == "" {
		return nil, errors.New("unit is missing")
	}
	if strings.ContainsAny(s.Unit, " */[]?") {
		return nil, fmt.Errorf("unit %q is not the name of one unit", s.Unit)
	}
	return &systemdCheck{s.Unit, systemctlPaths}, nil
}

func (c *systemdCheck) Check(ctx context.Context) Result {
	var path string
	for _, p := range c.paths {
		if _, err := os.Stat(p); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		return fail("systemctl is missing: neither of %s exists", strings.Join(c.paths, ", "))
	}
	out, err := runCommand(ctx, []string{path, "show", "--property=LoadState,ActiveState,SubState", "--", c.unit})
	if err != nil {
		return fail("%v", err)
	}
	if out.code != 0 {
		return fail("systemctl: %s", orElse(string(firstLine(out.stderr)), out.end))
	}
	return c.judge(parseUnitState(out.stdout))
}

type unitState struct{ load, active, sub string }

// parseUnitState reads the "Key=value" lines of systemctl show.
func parseUnitState(b []byte) unitState {
	var st unitState
	for line := range bytes.Lines(b) {
		key, value, _ := strings.Cut(strings.TrimSpace(string(line)), "=")
		switch key {
		case "LoadState":
			st.load = value
		case "ActiveState":
			st.active = value
		case "SubState":
			st.sub = value
		}
	}
	return st
}

// judge: a unit that reloads or refreshes goes on serving. One that activates
// does not serve yet (systemd calls a unit active once it says so itself), and
// "activating (auto-restart)" is one that has just crashed.
//
// Source: systemd.unit(5), org.freedesktop.systemd1(5) "ActiveState".
func (c *systemdCheck) judge(st unitState) Result {
	switch {
	case st.load == "not-found":
		return fail("systemd knows no unit %s", c.unit)
	case st.load == "masked":
		return fail("%s is masked", c.unit)
	}
	switch st.active {
	case "active", "reloading", "refreshing":
		return pass("%s (%s)", st.active, st.sub)
	case "":
		return fail("systemctl did not tell the state of %s", c.unit)
	}
	return fail("%s (%s)", st.active, st.sub)
}
