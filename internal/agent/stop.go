package agent

import (
	"context"
	"sync"
	"time"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/lease"
)

// Chosen by us. Together they stay below TimeoutStopSec of hbagent.service; a test
// holds them against it.
const (
	stopBudget    = 12 * time.Second // for everything until this node owns nothing and has no connections left
	stopMoveLimit = 3 * time.Second  // for the target's preflight
	stopOpenLimit = 2 * time.Second  // for the target to open
	stopWait      = 2 * time.Second  // for what was given away without a preflight
	stopPoll      = 50 * time.Millisecond
	hooksLimit    = 5 * time.Second // for hooks that run at the end
	goodbyeLimit  = time.Second

	stopRoleLimit     = 8 * time.Second // for a role's planned move until the target is asked to open
	stopRoleOpenLimit = 4 * time.Second // for it to open
	stopServiceLimit  = 3 * time.Second // for services that could not be handed over to become read-only
)

// standDown gives every group away and waits, within a bound, until the others have
// them and open connections are finished.
func (a *agent) standDown() {
	l := a.loop
	budget, cancel := context.WithTimeout(context.Background(), stopBudget)
	defer cancel()
	var moves []*mover
	var handed []string
	// Whoever ends the loop ends these, nothing else: a stop that is late still has
	// to let go of everything.
	if l.do(context.Background(), func() { moves, handed = l.leaveAll() }) != nil {
		return
	}
	a.runMoves(budget, moves)
	a.deactivateAll()
	err := l.do(context.Background(), func() {
		for _, m := range moves { // where a planned move failed
			if l.claims(m.req.Group) && l.giveAway(m.req.Group, m.cause, m.why) {
				handed = append(handed, m.req.Group)
			}
		}
	})
	if err != nil {
		return
	}
	wait, done := context.WithTimeout(budget, min(2*l.ttl, stopWait))
	defer done()
	for _, name := range handed {
		owner, _ := l.awaitOwner(wait, name, "")
		a.log.Info("handed over at the stop", "group", name, "holder", owner)
	}
	a.finishDrains(budget)
}

// runMoves makes the planned moves of a stop, side by side.
func (a *agent) runMoves(ctx context.Context, moves []*mover) {
	var wg sync.WaitGroup
	for _, m := range moves {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, m.stopLimit())
			defer cancel()
			if res, err := m.run(ctx); err != nil || res.Outcome != control.OutcomeMoved {
				a.log.Warn("not handed over as planned", "group", m.req.Group, "reason", res.Reason, "error", err)
			}
		})
	}
	wg.Wait()
}

// deactivateAll makes the services read-only that could not be handed over, before
// anybody else may have their groups.
func (a *agent) deactivateAll() {
	ctx, cancel := context.WithTimeout(context.Background(), stopServiceLimit)
	defer cancel()
	var wg sync.WaitGroup
	for name, r := range a.loop.roles {
		wg.Go(func() {
			if err := r.Deactivate(ctx, "the agent stops"); err != nil {
				a.log.Error("the service may still be writable: make it read-only by hand", "group", name, "error", err)
			}
		})
	}
	wg.Wait()
}

// leaveAll makes this node a candidate for nothing. It returns the moves of those
// groups whose connections should be finished or whose service is to be handed over,
// and gives the others away at once.
func (l *loop) leaveAll() (moves []*mover, handed []string) {
	l.stopping, l.dirty = true, true
	l.judge()
	why := "the agent on " + l.node + " was stopped"
	for _, name := range l.order {
		g := l.groups[name]
		to, _ := best(l.situation(name, g))
		drains := to != "" && g.cfg.Handover == config.HandoverDrain && !g.moving
		// A service becomes read-only before anybody else may have its group, also if a
		// move is under way: this one is refused then, and standDown goes on.
		if g.open && (drains || g.role != nil) {
			moves = append(moves, l.newMover(name, to, CauseStop, why))
		} else if l.giveAway(name, CauseStop, why) {
			handed = append(handed, name)
		}
	}
	return moves, handed
}

// claims reports whether this node has, or asks for, a group.
func (l *loop) claims(name string) bool {
	v, ok := l.machine.Group(l.now().Boot, name)
	return ok && v.Phase != "idle"
}

// finishDrains waits for open connections until ctx ends, and resets what is left
// then: nobody would look after them once this agent has gone.
func (a *agent) finishDrains(ctx context.Context) {
	poll := time.NewTicker(stopPoll)
	defer poll.Stop()
	for over := false; ; {
		var left []string
		err := a.loop.do(context.Background(), func() {
			if left = a.loop.draining(); over {
				for _, name := range left {
					a.loop.endDrain(name, a.loop.groups[name])
				}
			}
		})
		if err != nil || len(left) == 0 {
			return
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			if over {
				return
			}
			over = true
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(context.Background(), goodbyeLimit)
			defer cancel()
		}
	}
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
	if !kept {
		a.deactivateAll() // also when the loop has failed; where it was done, this finds nothing to do
	}
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
	if a.loop != nil && a.loop.templates != nil {
		a.loop.templates.wait(templatesLimit)
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
