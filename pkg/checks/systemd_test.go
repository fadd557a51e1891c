package checks

import (
	"testing"
)

// The machine that runs the tests need not run systemd: a script stands in for
// systemctl, and says what the real one says.
func TestSystemd(t *testing.T) {
	show := func(load, active, sub string) string {
		return `[ "$1 $2 $3 $4" = "show --property=LoadState,ActiveState,SubState -- apache2.service" ] || exit 9
echo LoadState=` + load + `; echo ActiveState=` + active + `; echo SubState=` + sub
	}
	for name, tt := range map[string]struct {
		systemctl string
		ok        bool
		want      string
	}{
		"active":       {show("loaded", "active", "running"), true, "active (running)"},
		"oneshot":      {show("loaded", "active", "exited"), true, "active (exited)"},
		"reloading":    {show("loaded", "reloading", "reload"), true, "reloading (reload)"},
		"refreshing":   {show("loaded", "refreshing", "refresh"), true, "refreshing (refresh)"},
		"starting":     {show("loaded", "activating", "start"), false, "activating (start)"},
		"crash loop":   {show("loaded", "activating", "auto-restart"), false, "activating (auto-restart)"},
		"stopping":     {show("loaded", "deactivating", "stop-sigterm"), false, "deactivating (stop-sigterm)"},
		"stopped":      {show("loaded", "inactive", "dead"), false, "inactive (dead)"},
		"failed":       {show("loaded", "failed", "failed"), false, "failed (failed)"},
		"unknown":      {show("not-found", "inactive", "dead"), false, "systemd knows no unit apache2.service"},
		"masked":       {show("masked", "inactive", "dead"), false, "apache2.service is masked"},
		"no systemd":   {`echo "System has not been booted with systemd" >&2; exit 1`, false, "systemctl: System has not been booted with systemd"},
		"says nothing": {`exit 0`, false, "systemctl did not tell the state of apache2.service"},
	} {
		t.Run(name, func(t *testing.T) {
			c := mustNew(t, Spec{Type: "systemd", Unit: "apache2.service"})
			c.(*systemdCheck).paths = []string{"/nonexistent/systemctl", script(t, tt.systemctl)}
			check(t, probe(t, c, patience), tt.ok, tt.want)
		})
	}
	t.Run("hung", func(t *testing.T) {
		c := mustNew(t, Spec{Type: "systemd", Unit: "a"})
		c.(*systemdCheck).paths = []string{script(t, "sleep 1000")}
		check(t, probe(t, c, short), false, "no answer within 200ms")
	})
	t.Run("missing", func(t *testing.T) {
		c := mustNew(t, Spec{Type: "systemd", Unit: "a"})
		c.(*systemdCheck).paths = []string{"/nonexistent/a", "/nonexistent/b"}
		check(t, probe(t, c, patience), false, "systemctl is missing: neither of /nonexistent/a, /nonexistent/b exists")
	})
}
