package agent

import (
	"strconv"
	"testing"
	"time"
)

func TestIsRestartJob(t *testing.T) {
	const unit = "hbagent.service"
	for _, tt := range []struct {
		name, out string
		want      bool
	}{
		{"nothing", "", false},
		{"restart", "1729 hbagent.service restart running\n", true},
		{"aligned", "  42 hbagent.service try-restart running\n", true},
		{"stop", "42 hbagent.service stop running\n", false},
		{"another unit's", "42 hbagent-exporter.service restart running\n", false},
		{"among others", "41 apache2.service stop running\n42 hbagent.service restart running\n", true},
		{"of an older version", "42 hbagent.service restart running extra\n", false},
		{"no jobs", "No jobs running.\n", false},
	} {
		diff(t, tt.name, isRestartJob(tt.out, unit), tt.want)
	}
}

func TestUnitOf(t *testing.T) {
	for cgroups, want := range map[string]string{
		"":                                   "",
		"0::/\n":                             "",
		"0::/system.slice/hbagent.service\n": "hbagent.service",
		"0::/system.slice/system-hbagent.slice/hbagent@shop.service\n":                                "hbagent@shop.service",
		"12:pids:/\n1:name=systemd:/system.slice/hbagent.service\n0::/system.slice/hbagent.service\n": "hbagent.service",
		"0::/user.slice/user-1000.slice/session-2.scope\n":                                            "",
		"0::/system.slice/hbagent.service/below\n":                                                    "",
	} {
		diff(t, cgroups, unitOf(cgroups), want)
	}
}

func TestUnitNameOutsideSystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("INVOCATION_ID", "")
	diff(t, "unit", unitName(), "")
	diff(t, "restart follows", restartFollows(t.Context(), testLogger(t)), false)
}

func TestWatchdog(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "")
	diff(t, "nobody watches", newWatchdog().every, time.Duration(0))
	t.Setenv("WATCHDOG_USEC", strconv.Itoa(3_000_000))
	diff(t, "three seconds", newWatchdog().every, time.Second)
	w := &watchdog{every: time.Hour}
	w.feed()
	first := w.last
	w.feed()
	diff(t, "fed again at once", w.last, first)
	(*watchdog)(nil).feed()
}
