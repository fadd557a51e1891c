package agent

import (
	"context"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/lease"
)

// Chosen by us.
const (
	stopLimit    = 5 * time.Second // for handing over at a stop, whatever the ttl
	hooksLimit   = 5 * time.Second // for hooks that run at the end
	goodbyeLimit = time.Second
)

// standDown hands every group over and waits, within a bound, until the others
// have them.
func (a *agent) standDown() {
	limit := min(2*a.loop.ttl, stopLimit)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var handed []string
	if a.loop.do(ctx, func() { handed = a.loop.standDown() }) != nil {
		return
	}
	for _, name := range handed {
		owner, _ := a.loop.awaitOwner(ctx, name, "")
		a.log.Info("handed over at the stop", "group", name, "holder", owner)
	}
}

// standDown gives up every group, and returns those that it handed over.
func (l *loop) standDown() (handed []string) {
	l.stopping = true
	l.dirty = true
	l.judge()
	for _, name := range l.order {
		if l.giveAway(name, CauseStop, "the agent on "+l.node+" was stopped") {
			handed = append(handed, name)
		}
	}
	return handed
}

// giveAway hands a group to the best other node, or lets go of it for whoever
// asks first. It reports whether the ticket is on its way.
func (l *loop) giveAway(name string, cause Cause, why string) bool {
	g := l.groups[name]
	if to, _ := best(l.situation(name, g)); to != "" && g.open && l.handOver(name, to, note(cause, why)) {
		return true
	}
	l.machine.Release(l.now(), name, lease.ReasonReleased)
	return false
}

// finish ends what the tasks have left, in the reverse order of start.
func (a *agent) finish(kept bool) {
	ctx, cancel := context.WithTimeout(context.Background(), hooksLimit)
	defer cancel()
	reason := "stopped"
	if kept {
		reason = "stopped for a restart, keeping its leases"
	} else {
		a.loop.hooks.wait(ctx)
	}
	a.history.add(control.Event{Kind: kindAgent, Reason: reason})
	a.log.Info("agent "+reason, "version", a.opts.Version)
	if err := a.net.Close(!kept, goodbyeLimit); err != nil {
		a.log.Warn("leaving the cluster", "error", err)
	}
	a.close()
}

// close releases what start has taken. It is used on a half-started agent, too.
func (a *agent) close() {
	if a.stopIO != nil {
		a.stopIO()
	}
	if a.net != nil {
		_ = a.net.Close(false, 0) // a second close is nothing
	}
	if a.control != nil {
		_ = a.control.Close()
	}
	if a.vip != nil {
		_ = a.vip.Close()
	}
	if a.history != nil {
		a.history.close()
	}
	if a.lock != nil {
		a.lock.Close()
	}
}
