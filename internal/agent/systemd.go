package agent

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/hbagent/hbagent/pkg/checks"
)

// watchdog feeds systemd's (sd_notify(3), sd_watchdog_enabled(3)). It is fed by
// the loop and nobody else: an agent whose loop stands still is not alive.
type watchdog struct {
	every time.Duration // 0: nobody watches
	last  time.Time
}

func newWatchdog() *watchdog {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return &watchdog{}
	}
	return &watchdog{every: interval / 3}
}

func (w *watchdog) feed() {
	if w == nil || w.every == 0 || time.Since(w.last) < w.every {
		return
	}
	w.last = time.Now()
	tell(daemon.SdNotifyWatchdog)
}

// tell sends a state to systemd. Without systemd it does nothing, and a lost
// one is not worth more than that.
func tell(state string) { _, _ = daemon.SdNotify(false, state) }

func tellReloading() {
	tell(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, monotonicTime().Microseconds()))
}

// systemctlTimeout bounds the question of stopKind (chosen by us).
const systemctlTimeout = 2 * time.Second

// restartFollows asks systemd what SIGTERM means: the first half of a restart,
// or a stop. Outside systemd, and when in doubt, it is a stop: handing over
// without need costs some milliseconds, staying without need a whole ttl.
func restartFollows(ctx context.Context, log *slog.Logger) bool {
	unit := unitName()
	if unit == "" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, systemctlTimeout)
	defer cancel()
	cmd, out := exec.CommandContext(ctx, "systemctl", "list-jobs", "--no-legend", "--no-pager", unit), &strings.Builder{}
	cmd.Stdout = out
	if err := checks.Run(cmd); err != nil {
		log.Warn("cannot ask systemd whether this is a restart; handing over", "error", err)
		return false
	}
	return isRestartJob(out.String(), unit)
}

// comesBack reports whether systemd is about to start this agent again, and the new one can resume its leases: one that
// refuses the config or the keys would leave them to run out.
func (a *agent) comesBack(ctx context.Context) bool {
	if !restartFollows(ctx, a.log) {
		return false
	}
	if _, _, _, err := loadConfig(a.opts); err != nil {
		a.log.Error("this is a restart, and the new agent will refuse to start; handing over", "error", err)
		return false
	}
	return true
}

// isRestartJob reads the output of list-jobs: "JOB UNIT TYPE STATE".
func isRestartJob(out, unit string) bool {
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) == 4 && f[1] == unit {
			return f[2] == "restart" || f[2] == "try-restart"
		}
	}
	return false
}

// unitName returns the systemd unit that this process is the main process of,
// from its control group (cgroups(7): "0::/system.slice/hbagent.service").
func unitName() string {
	if os.Getenv("NOTIFY_SOCKET") == "" && os.Getenv("INVOCATION_ID") == "" {
		return ""
	}
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	return unitOf(string(b))
}

func unitOf(cgroups string) string {
	for line := range strings.Lines(cgroups) {
		line = strings.TrimSpace(line)
		if name := line[strings.LastIndexByte(line, '/')+1:]; strings.HasSuffix(name, ".service") {
			return name
		}
	}
	return ""
}
