package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/role"
	"github.com/hbagent/hbagent/pkg/lease"
)

// Chosen by us. The service's own bounds (demote_timeout, apply_timeout) come on top of
// what a move without a role may take.
const (
	roleMoveRetry = 30 * time.Second // between two tries of the policy's own moves
	roleOpenSlack = 5 * time.Second  // for a target that has everything to take the service over
)

const methodCatchUp = "catch-up" // to the target: catchUpRequest -> catchUpAnswer, when its service has it all

type catchUpRequest struct {
	Group    string `json:"group"`
	Position string `json:"position"`
}

type catchUpAnswer struct {
	Reason string `json:"reason,omitempty"` // why not; empty: done
}

// limit bounds a move that the policy makes.
func (m *mover) limit() time.Duration { return moveLimit + m.serviceLimit }

// stopLimit bounds a planned move of a stop.
func (m *mover) stopLimit() time.Duration {
	if m.serviceLimit > 0 {
		return stopRoleLimit
	}
	return stopMoveLimit
}

// openLimit is how long the target has to open.
func (m *mover) openLimit() time.Duration {
	limit := max(targetOpenTTLs*m.loop.ttl, openTimeoutLow)
	switch {
	case m.cause == CauseStop && m.serviceLimit > 0:
		limit = stopRoleOpenLimit
	case m.cause == CauseStop:
		limit = min(limit, stopOpenLimit)
	case m.serviceLimit > 0:
		limit += roleOpenSlack
	}
	return limit
}

// handOverService has the role make the service read-only and wait until the target
// has everything. The group stays here, and open: readers are served meanwhile. On a
// refusal the role has undone it all.
func (m *mover) handOverService(ctx context.Context) (refusal string) {
	l, name := m.loop, m.req.Group
	var r Role
	var c role.Claim
	err := l.do(context.WithoutCancel(ctx), func() {
		if g := l.groups[name]; g != nil && g.role != nil && g.open && g.role.claim != nil {
			r, c = g.role.role, role.Claim{Epoch: g.epoch, Forced: m.req.Force, Held: g.role.claim.held}
		}
	})
	if err != nil {
		return err.Error()
	}
	if r == nil {
		return ""
	}
	m.step("service", control.StepRunning, "writes end here, and "+m.result.To+" gets the rest")
	began := time.Now()
	err = r.HandOver(ctx, c, func(ctx context.Context, position string) error {
		var answer catchUpAnswer
		if err := m.call(ctx, methodCatchUp, catchUpRequest{name, position}, &answer); err != nil {
			return fmt.Errorf("%s: %w", m.result.To, err)
		}
		if answer.Reason != "" {
			return fmt.Errorf("%s: %s", m.result.To, answer.Reason)
		}
		return nil
	})
	switch {
	case errors.Is(err, role.ErrNotUndone):
		l.post(context.WithoutCancel(ctx), func() { l.giveUpService(name, c.Epoch, err) })
		return "the service could not be handed over, and is read-only: " + err.Error()
	case err != nil:
		return "the service could not be handed over: " + err.Error()
	}
	m.serviceHanded = true
	m.step("service", control.StepOK, fmt.Sprintf("%s has everything, after %v", m.result.To, time.Since(began).Round(time.Millisecond)))
	return ""
}

// takeServiceBack makes the service writable again when nothing came of the transfer.
func (m *mover) takeServiceBack(ctx context.Context) {
	if !m.serviceHanded {
		return
	}
	l, name := m.loop, m.req.Group
	l.post(context.WithoutCancel(ctx), func() {
		g := l.groups[name]
		if g == nil || g.role == nil || !g.open || g.role.claim == nil {
			return // lost: its role lets go
		}
		r, epoch := g.role, g.epoch
		c := role.Claim{Epoch: epoch, Held: r.claim.held}
		go func() {
			ctx, cancel := l.within(deactivateLimit)
			defer cancel()
			if err := r.role.Activate(ctx, c); err != nil {
				l.post(context.Background(), func() { l.giveUpService(name, epoch, err) })
			}
		}()
	})
}

// giveUpService lets go of a group whose service does not do what its owner's has to.
func (l *loop) giveUpService(name string, epoch uint64, err error) {
	g := l.groups[name]
	if g == nil || !g.open || g.epoch != epoch {
		return
	}
	l.log.Error("the service is read-only, and cannot be made writable", "group", name, "error", err)
	g.openErr, g.openErrUntil, g.openErrPasses = "cannot make the service writable: "+err.Error(), time.Now().Add(openRetry), false
	l.history.add(control.Event{Group: name, Kind: kindRole, Epoch: epoch, Reason: "not writable", Detail: err.Error()})
	l.dirty = true
	l.machine.Release(l.now(), name, lease.ReasonReleased)
}

// catchUp is asked of the target of a planned move.
func (a *api) catchUp(ctx context.Context, req catchUpRequest) (ans catchUpAnswer, err error) {
	var r Role
	err = a.loop.do(ctx, func() {
		if g := a.loop.groups[req.Group]; g != nil && g.role != nil {
			r = g.role.role
		}
	})
	switch {
	case err != nil:
		return ans, err
	case r == nil:
		ans.Reason = "it has no such service"
	case len(req.Position) > role.MaxPosition:
		ans.Reason = "the position is too long"
	default:
		if err := r.CatchUp(ctx, req.Position); err != nil {
			ans.Reason = err.Error()
		}
	}
	return ans, nil
}

// serviceLimit is how long the role of a group may take for a planned move, 0 without one.
func (g *groupRun) serviceLimit() time.Duration {
	if g.role == nil {
		return 0
	}
	return g.cfg.MySQL.DemoteTimeout + g.cfg.MySQL.ApplyTimeout + roleOpenSlack
}
