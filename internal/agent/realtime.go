package agent

import (
	"log/slog"

	"github.com/hbagent/hbagent/internal/realtime"
)

// goRealtime takes a real-time priority where the unit asks for one. The agent is as
// safe without, and later on a busy machine.
func goRealtime(log *slog.Logger) {
	if !realtime.Wanted() {
		return
	}
	if err := realtime.Enter(); err != nil {
		log.Warn("no real-time priority: a busy machine may be late to renew a short lease", "error", err)
	}
}
