package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/vip"
)

// methodSteer is a call to the target: steerRequest -> steerAnswer, once preflight
// is through.
const methodSteer = "steer"

// Chosen by us.
const (
	forwardProbes    = 3 // one frame may get lost
	forwardProbeGap  = 20 * time.Millisecond
	forwardProbeWait = time.Second
)

// forwardProbe asks the target to send frames to the old owner as it will forward
// them: with an address as their source that is not its own.
type forwardProbe struct {
	Cookie uint64      `json:"cookie"`
	To     vip.NextHop `json:"to"`
}

// expectedProbe is a forwardProbe that the old owner listens for.
type expectedProbe struct {
	forwardProbe
	arrival vip.ProbeArrival
}

type steerRequest struct {
	Group string        `json:"group"`
	From  string        `json:"from"` // the old owner
	To    vip.NextHop   `json:"to"`   // how it is reached
	For   time.Duration `json:"for_ns"`
}

type steerAnswer struct {
	Hop    vip.NextHop `json:"hop"`              // how the target is reached
	Reason string      `json:"reason,omitempty"` // why it cannot steer
}

// expectProbe begins to listen for the frames of the target; nil where the handover
// does not drain.
func (m *mover) expectProbe() (p *expectedProbe, why string) {
	if !m.drains {
		return nil, ""
	}
	hop, err := m.loop.addrs.NextHop(m.req.Group)
	if err != nil {
		return nil, m.strictInstead("this node cannot be steered to: " + err.Error())
	}
	p = &expectedProbe{forwardProbe: forwardProbe{Cookie: rand.Uint64(), To: hop}}
	if p.arrival, err = m.loop.addrs.ExpectForwardProbe(m.req.Group, p.Cookie); err != nil {
		return nil, m.strictInstead("cannot listen for the target's frames: " + err.Error())
	}
	return p, ""
}

// mayDrain finds out whether the target's frames arrive here, and lets it prepare.
func (m *mover) mayDrain(ctx context.Context, probe *expectedProbe) (why string) {
	if probe == nil {
		return ""
	}
	defer probe.arrival.Close()
	wait, cancel := context.WithTimeout(ctx, forwardProbeWait)
	defer cancel()
	if err := probe.arrival.Wait(wait); err != nil {
		return m.strictInstead(fmt.Sprintf("frames that %s forwards do not arrive here: a hypervisor or switch drops what comes from an address that is not its own (anti-spoofing)", m.result.To))
	}
	ctx, cancel = context.WithTimeout(ctx, prepareTimeout)
	defer cancel()
	var drain time.Duration
	err := m.loop.do(ctx, func() { drain = m.loop.groups[m.req.Group].cfg.Drain })
	if err == nil {
		var answer steerAnswer
		err = m.call(ctx, methodSteer, steerRequest{Group: m.req.Group, From: m.loop.node, To: probe.To, For: drain + steerLonger}, &answer)
		if err == nil && answer.Reason != "" {
			err = errors.New(answer.Reason)
		}
		m.hop = answer.Hop
	}
	if err != nil {
		return m.strictInstead(fmt.Sprintf("%s cannot steer to this node: %v", m.result.To, err))
	}
	return ""
}

// strictInstead decides what becomes of a move that cannot drain: a person is
// asked, a move that has to be is made all the same.
func (m *mover) strictInstead(why string) (refusal string) {
	if m.cause == CauseSwitchover && !m.req.Force {
		return why + "; --strict moves it and resets the open connections"
	}
	m.drains = false
	m.step("preflight", control.StepOK, "cannot drain, open connections are reset: "+why)
	return ""
}

// sendProbes is the target's half. It is called outside the loop.
func (a *api) sendProbes(ctx context.Context, group string, p forwardProbe) error {
	for i := range forwardProbes {
		if i > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(forwardProbeGap):
			}
		}
		if err := a.loop.addrs.SendForwardProbe(group, p.To, p.Cookie); err != nil {
			return err
		}
	}
	return nil
}

// steer prepares this node, the target, for a draining handover.
func (a *api) steer(ctx context.Context, req steerRequest) (ans steerAnswer, err error) {
	err = a.loop.do(ctx, func() {
		if ans.Reason = a.loop.startSteering(req); ans.Reason != "" {
			return
		}
		var err error
		if ans.Hop, err = a.loop.addrs.NextHop(req.Group); err != nil {
			ans.Reason = err.Error()
		}
	})
	return ans, err
}

func (l *loop) startSteering(req steerRequest) (refusal string) {
	g := l.groups[req.Group]
	switch {
	case g == nil || !slices.Contains(g.cfg.Nodes, l.node):
		return "it may not own " + req.Group + " by its own config"
	case g.open:
		return "it owns " + req.Group + " already"
	}
	until := l.boot() + min(max(req.For, 0), maxSteer)
	if err := l.addrs.Steer(req.Group, req.To, until); err != nil {
		return err.Error()
	}
	g.steer = &steerRun{to: req.From, until: until, armed: l.boot()}
	return ""
}
