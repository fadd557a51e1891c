package agent

import (
	"context"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/role"
)

// await sees a move through that has begun. It does not end early: whoever
// asked may have gone, the group still needs an owner.
func (m *mover) await(ctx context.Context, after uint64) (control.SwitchoverResult, error) {
	l := m.loop
	ctx = context.WithoutCancel(ctx)
	m.step("handover", control.StepRunning, m.result.To+" takes over")
	openCtx, cancel := context.WithTimeout(ctx, m.openLimit())
	defer cancel()
	var answer awaitAnswer
	err := m.call(openCtx, methodAwaitOpen, awaitRequest{Group: m.req.Group, After: after}, &answer)
	if err == nil && answer.Open {
		m.result.Epoch = answer.Epoch
		m.result.NoOwnerMs = m.sinceShut(ctx)
		m.step("handover", control.StepOK, m.result.To+" is active")
		_ = l.do(ctx, func() { g := l.groups[m.req.Group]; m.result.Drains = g != nil && g.drain != nil })
		if m.drains && !m.result.Drains { // the kernel refused: the connections are gone
			m.endSteering()
		}
		m.result.Outcome, m.result.Owner = control.OutcomeMoved, m.result.To
		return m.result, nil
	}
	reason := answer.Reason
	if err != nil {
		reason = err.Error()
	}
	m.step("handover", control.StepFailed, m.result.To+" did not open: "+reason)
	if m.cause == CauseStop { // this node takes nothing back
		m.result.Outcome, m.result.Reason = control.OutcomeFailed, reason
		return m.result, nil
	}
	return m.rollBack(ctx, reason), nil
}

func (m *mover) sinceShut(ctx context.Context) float64 {
	var took time.Duration
	l := m.loop
	_ = l.do(ctx, func() {
		if g := l.groups[m.req.Group]; g != nil {
			took = l.boot() - g.shutAt
		}
	})
	return float64(took.Microseconds()) / 1000
}

// rollBack waits until the group has an owner again, which the lease sees to by
// itself: the target gives its votes back, or its promise runs out.
func (m *mover) rollBack(ctx context.Context, reason string) control.SwitchoverResult {
	l := m.loop
	m.step("roll back", control.StepRunning, "waiting for an owner")
	ctx, cancel := context.WithTimeout(ctx, max(rollbackTTLs*l.ttl, minRollbackWait))
	defer cancel()
	m.result.Reason = reason
	owner, epoch := l.awaitOwner(ctx, m.req.Group, "")
	m.result.Epoch, m.result.Owner = epoch, owner
	switch owner {
	case "":
		m.result.Outcome = control.OutcomeFailed
		m.step("roll back", control.StepFailed, "nobody has it yet: look at hbagent status")
	case m.result.To:
		m.result.Outcome = control.OutcomeMoved
		m.step("roll back", control.StepOK, owner+" came up after all")
	default:
		m.result.Outcome = control.OutcomeRolledBack
		m.step("roll back", control.StepOK, owner+" has it")
	}
	m.result.NoOwnerMs = m.sinceShut(context.WithoutCancel(ctx))
	return m.result
}

// awaitOwner returns who has a group, as soon as somebody does (or, if want is
// not empty, want does); "" if that is not so when ctx ends.
func (l *loop) awaitOwner(ctx context.Context, name, want string) (owner string, epoch uint64) {
	poll := time.NewTicker(ownerPoll)
	defer poll.Stop()
	for {
		var now role.Leader // a call that ctx has ended may still write to it
		err := l.do(ctx, func() {
			if g := l.groups[name]; g != nil {
				now = role.Leader{Node: g.owner, Epoch: g.ownerEpoch}
			}
		})
		if err != nil {
			return "", 0
		}
		if now.Node != "" && (want == "" || now.Node == want) {
			return now.Node, now.Epoch
		}
		select {
		case <-ctx.Done():
			return "", 0
		case <-poll.C:
		}
	}
}
