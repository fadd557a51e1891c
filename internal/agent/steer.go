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

// methodSteer is a call to the target: steerRequest -> steerAnswer, once its checks
// have passed.
const methodSteer = "steer"

// Chosen by us.
const (
	forwardProbeFor  = 500 * time.Millisecond // of sending: ten frames, some may get lost
	forwardProbeWait = time.Second
	// maxSteer bounds what another node may ask for: above every drain that a
	// config allows.
	maxSteer = time.Hour + steerLonger
)

type steerRequest struct {
	Group string        `json:"group"`
	From  string        `json:"from"` // the old owner
	To    vip.NextHop   `json:"to"`   // how it is reached
	For   time.Duration `json:"for_ns"`
	// Cookie marks the frames that the target sends to find out whether what it
	// forwards arrives.
	Cookie uint64 `json:"cookie"`
}

type steerAnswer struct {
	Hop    vip.NextHop `json:"hop"`              // how the target is reached
	Reason string      `json:"reason,omitempty"` // why it cannot steer
}

// prepareDrain lets the target send what belongs to open connections here, and finds
// out whether that arrives. Nothing comes of it if the move is refused: the target
// gets no packets, and ends the steering.
func (m *mover) prepareDrain(ctx context.Context) (why string) {
	if !m.drains {
		return ""
	}
	hop, err := m.loop.addrs.NextHop(m.req.Group)
	if err != nil {
		return m.strictInstead("this node cannot be reached by what the target forwards: " + err.Error())
	}
	req := steerRequest{Group: m.req.Group, From: m.loop.node, To: hop, For: m.drain + steerLonger, Cookie: rand.Uint64()}
	arrival, cancel := context.WithTimeout(ctx, prepareTimeout+forwardProbeWait)
	defer cancel()
	arrived := make(chan error, 1)
	go func() { arrived <- m.loop.addrs.AwaitForwardProbe(arrival, req.Group, req.Cookie) }()

	asking, done := context.WithTimeout(ctx, prepareTimeout)
	defer done()
	var answer steerAnswer
	if err = m.call(asking, methodSteer, req, &answer); err == nil && answer.Reason != "" {
		err = errors.New(answer.Reason)
	}
	if err != nil {
		return m.strictInstead(fmt.Sprintf("%s cannot forward to this node: %v", m.result.To, err))
	}
	m.hop = answer.Hop
	defer time.AfterFunc(forwardProbeWait, cancel).Stop()
	switch err := <-arrived; {
	case ctx.Err() != nil:
		return m.strictInstead("there was no time to find out whether what the target forwards arrives")
	case errors.Is(err, vip.ErrNoAnswer):
		return m.strictInstead(fmt.Sprintf("what %s forwards does not arrive here: a hypervisor or switch drops packets from addresses "+
			"that are not the sender's (anti-spoofing, port security): allow them", m.result.To))
	case err != nil:
		return m.strictInstead("cannot find out whether what the target forwards arrives: " + err.Error())
	}
	return ""
}

// strictInstead decides what becomes of a move that cannot drain: a person is
// asked, a move that has to be is made all the same.
func (m *mover) strictInstead(why string) (refusal string) {
	m.loop.history.add(control.Event{Group: m.req.Group, Kind: kindProblem, From: m.result.To, Reason: "cannot-drain", Detail: why})
	if m.byPerson && !m.req.Force {
		return why + "; --strict moves it and resets the open connections"
	}
	m.drains = false
	m.endSteering()
	m.step("preflight", control.StepOK, "cannot drain, open connections are reset: "+why)
	m.loop.log.Warn("cannot drain, open connections are reset", "group", m.req.Group, "peer", m.result.To, "reason", why)
	return ""
}

// endSteering tells the target that nothing of its steering will be needed: where
// nobody finishes connections their packets must be reset, not sent on. If the word
// is lost, they are after steerUnused, or at the end of the steering.
func (m *mover) endSteering() {
	l, req := m.loop, steerRequest{Group: m.req.Group, From: m.loop.node}
	go func() {
		ctx, cancel := l.within(prepareTimeout)
		defer cancel()
		if err := m.call(ctx, methodSteer, req, &steerAnswer{}); err != nil {
			l.log.Debug("the target was not told to end its steering", "group", req.Group, "peer", m.result.To, "error", err)
		}
	}()
}

// steer prepares this node, the target, for a draining handover, or ends that: For
// is 0 then. The kernel is told outside the loop: it takes a while with many connections.
func (a *api) steer(ctx context.Context, from string, req steerRequest) (ans steerAnswer, err error) {
	l := a.loop
	if req.From != from {
		return steerAnswer{Reason: "the request says that it is of " + req.From}, nil
	}
	if req.For <= 0 {
		return ans, l.do(ctx, func() { l.dropSteering(req.Group, from) })
	}
	if err = l.do(ctx, func() { ans.Reason = l.maySteer(req.Group) }); err != nil || ans.Reason != "" {
		return ans, err
	}
	until := l.boot() + min(req.For, maxSteer)
	if err := l.addrs.Steer(req.Group, req.To, until); err != nil {
		ans.Reason = err.Error()
		return ans, nil
	}
	if err = l.do(context.WithoutCancel(ctx), func() { l.startedSteering(req, until) }); err != nil {
		return ans, err
	}
	if ans.Hop, err = l.addrs.NextHop(req.Group); err != nil {
		ans.Reason = err.Error()
		return ans, nil
	}
	go func() {
		ctx, cancel := l.within(forwardProbeFor)
		defer cancel()
		if err := l.addrs.SendForwardProbe(ctx, req.Group, req.To, req.Cookie); err != nil {
			l.log.Warn("cannot send to the old owner", "group", req.Group, "peer", req.From, "error", err)
		}
	}()
	return ans, nil
}

// maySteer returns why this node does not steer for a group.
func (l *loop) maySteer(name string) (refusal string) {
	g := l.groups[name]
	switch {
	case g == nil || !slices.Contains(g.cfg.Nodes, l.node):
		return "it may not own " + name + " by its own config"
	case g.open:
		return "it owns " + name + " already"
	}
	return ""
}

// startedSteering notes what the kernel does now. Connections of an earlier move may
// still need it when nothing comes of this one.
func (l *loop) startedSteering(req steerRequest, until time.Duration) {
	g := l.groups[req.Group]
	if g == nil {
		return // a reload has removed it, and the steering with it
	}
	s := &steerRun{to: req.From, until: until, armed: l.boot(), won: g.open}
	if old := g.steer; old != nil && old.won {
		s.won, s.until = true, max(until, old.until)
	}
	g.steer = s
}

// dropSteering ends what was armed for a handover from a node that does not happen.
func (l *loop) dropSteering(name, from string) {
	if g := l.groups[name]; g != nil && g.steer != nil && !g.steer.won && g.steer.to == from {
		l.endSteering(name, g)
	}
}
