package agent

import (
	"context"
	"time"

	"github.com/hbagent/hbagent/internal/control"
)

// takeByForce has a node take a group that nobody owns, whatever its checks or its role
// say: a person knows that what it waits for will not come. It asks for the lease like
// any other candidate, so that it gets nothing that somebody has.
func (a *api) takeByForce(ctx context.Context, m *mover) (control.SwitchoverResult, error) {
	to, name := m.req.To, m.req.Group
	m.step("preflight", control.StepRunning, "nobody owns "+name+"; "+to+" is told to take it")
	asking, cancel := context.WithTimeout(ctx, prepareTimeout)
	defer cancel()
	var ready prepareAnswer
	var err error
	req := prepareRequest{Group: name, Force: true}
	if to == a.loop.node {
		ready, err = a.prepare(asking, req)
	} else {
		err = m.call(asking, methodPrepare, req, &ready)
	}
	switch {
	case err != nil:
		return m.refuse(to + " cannot take " + name + ": " + err.Error()), nil
	case !ready.Ready:
		return m.refuse(to + " cannot take " + name + ": " + ready.Reason), nil
	}
	m.step("preflight", control.StepOK, to+" is ready")
	m.step("takeover", control.StepRunning, "waiting for an owner")
	began := time.Now()
	waiting, done := context.WithTimeout(context.WithoutCancel(ctx), forceValid)
	defer done()
	owner, epoch := a.loop.awaitOwner(waiting, name, "")
	m.result.Owner, m.result.Epoch = owner, epoch
	m.result.NoOwnerMs = float64(time.Since(began).Microseconds()) / 1000
	switch owner {
	case to:
		m.result.Outcome = control.OutcomeMoved
		m.step("takeover", control.StepOK, to+" is active")
	case "":
		m.result.Outcome, m.result.Reason = control.OutcomeFailed, to+" has not opened it yet"
		m.step("takeover", control.StepFailed, m.result.Reason+": look at hbagent status")
	default:
		m.result.Outcome, m.result.Reason = control.OutcomeRefused, owner+" has taken it"
		m.step("takeover", control.StepFailed, m.result.Reason)
	}
	return m.result, nil
}
