package agent

import (
	"context"
	"sync"
	"time"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/lease"
)

// Chosen by us.
const (
	stopLimit   = 5 * time.Second // for handing over at a stop, whatever the ttl
	minStopWait = time.Second     // the target runs its checks
	// stopDrainLimit is how long a stop waits for open connections; hbagent.service
	// kills the agent after 15 s (TimeoutStopSec).
	stopDrainLimit = 8 * time.Second
	stopPoll       = 50 * time.Millisecond
	hooksLimit     = 5 * time.Second // for hooks that run at the end
	goodbyeLimit   = time.Second
)

// standDown hands every group over and waits, within a bound, until the others
// have them and open connections are finished.
func (a *agent) standDown() {
	l := a.loop
	ctx, cancel := context.WithTimeout(context.Background(), max(min(2*l.ttl, stopLimit), minStopWait))
	defer cancel()
	var moves []*mover
	if l.do(ctx, func() { moves = l.movesAtStop() }) != nil {
		return
	}
	var wg sync.WaitGroup
	for _, m := range moves {
		wg.Go(func() {
			if res, err := m.run(ctx); err != nil || res.Outcome != control.OutcomeMoved {
				a.log.Warn("not handed over as planned", "group", m.req.Group, "reason", res.Reason, "error", err)
			}
		})
	}
	wg.Wait()
	var handed []string
	if l.do(ctx, func() { handed = l.standDown() }) != nil {
		return
	}
	for _, name := range handed {
		owner, _ := l.awaitOwner(ctx, name, "")
		a.log.Info("handed over at the stop", "group", name, "holder", owner)
	}
	a.finishDrains()
}

// movesAtStop makes this node a candidate for nothing, and returns the moves of
// those groups whose connections should be finished.
func (l *loop) movesAtStop() (moves []*mover) {
	l.stopping, l.dirty = true, true
	l.judge()
	for _, name := range l.order {
		g := l.groups[name]
		if to, _ := best(l.situation(name, g)); to != "" && g.open && !g.moving && g.cfg.Handover == config.HandoverDrain {
			moves = append(moves, l.newMover(name, to, CauseStop, "the agent on "+l.node+" was stopped"))
		}
	}
	return moves
}

// finishDrains waits for open connections, and resets what is left then: nobody
// would look after them once this agent has gone.
func (a *agent) finishDrains() {
	ctx, cancel := context.WithTimeout(context.Background(), stopDrainLimit)
	defer cancel()
	poll := time.NewTicker(stopPoll)
	defer poll.Stop()
	for {
		var left []string
		if a.loop.do(context.Background(), func() { left = a.loop.draining() }) != nil || len(left) == 0 {
			return
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			_ = a.loop.do(context.Background(), func() {
				for _, name := range left {
					if g := a.loop.groups[name]; g.drain != nil {
						a.loop.endDrain(name, g)
					}
				}
			})
			return
		}
	}
}

// standDown gives up every group, and returns those that it handed over.
func (l *loop) standDown() (handed []string) {
	l.stopping, l.dirty = true, true
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
