package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/cluster"
)

// peers is the cluster's handler: it hands everything to the loop.
type peers struct {
	api *api
	ctx context.Context
}

var _ cluster.Handler = (*peers)(nil)

func (p *peers) LeaseMessage(payload []byte) { p.api.loop.leaseMessage(payload) }

func (p *peers) PeerState(s cluster.NodeState) {
	p.api.loop.post(p.ctx, func() { p.api.loop.peerState(s) })
}

func (p *peers) PeerAlive(node string, alive bool, reason string) {
	p.api.loop.post(p.ctx, func() { p.api.loop.peerAlive(node, alive, reason) })
}

func (p *peers) Problem(problem cluster.Problem) {
	p.api.loop.post(p.ctx, func() { p.api.loop.problem(problem) })
}

// Call answers another agent.
func (p *peers) Call(ctx context.Context, from, method string, body []byte) ([]byte, error) {
	switch method {
	case methodPrepare:
		return answer(ctx, body, p.api.prepare)
	case methodAwaitOpen:
		return answer(ctx, body, p.api.awaitOpen)
	case methodSteer:
		return answer(ctx, body, func(ctx context.Context, req steerRequest) (steerAnswer, error) {
			return p.api.steer(ctx, from, req)
		})
	case methodCatchUp:
		return answer(ctx, body, p.api.catchUp)
	case methodHello:
		return []byte("{}"), nil
	case methodHistory:
		return answer(ctx, body, p.api.historyPageOf)
	case methodKeys:
		return answer(ctx, body, func(ctx context.Context, req keysRequest) (keysAnswer, error) { return p.api.keysStep(ctx, from, req) })
	case methodMaintenance:
		// It moves groups one after the other: whoever asked may have stopped waiting.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), maintenanceLimit)
		defer cancel()
		return answer(ctx, body, p.api.maintainHere)
	case methodSwitchover:
		return answer(ctx, body, func(ctx context.Context, req control.SwitchoverRequest) (control.SwitchoverResult, error) {
			if err := p.api.ownsItself(ctx, req.Group); err != nil {
				return control.SwitchoverResult{}, err
			}
			return p.api.switchover(ctx, req, askedOn(from), func(control.SwitchoverStep) {})
		})
	}
	return nil, fmt.Errorf("this agent does not know %q: it may be older than %s's", method, from)
}

// answer decodes a request, and encodes what f says to it.
func answer[Req, Ans any](ctx context.Context, body []byte, f func(context.Context, Req) (Ans, error)) ([]byte, error) {
	var req Req
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	a, err := f(ctx, req)
	if err != nil {
		return nil, err
	}
	return json.Marshal(a)
}

// ownsItself keeps a forwarded switchover from being forwarded again: two nodes
// that think of each other as the owner must not play ping-pong.
func (a *api) ownsItself(ctx context.Context, group string) error {
	var owns bool
	err := a.loop.do(ctx, func() { g := a.loop.groups[group]; owns = g != nil && g.open })
	if err == nil && !owns {
		err = fmt.Errorf("%s does not own %s any more: try again", a.loop.node, group)
	}
	return err
}

// prepare is asked of the target of a planned move, before anything changes.
func (a *api) prepare(ctx context.Context, req prepareRequest) (ans prepareAnswer, err error) {
	var required []string
	err = a.loop.do(ctx, func() { required, ans.Reason = a.loop.prepare(req) })
	if err != nil || ans.Reason != "" {
		return ans, err
	}
	if !req.Force {
		if err := a.failingNow(ctx, required); err != nil {
			ans.Reason = err.Error()
			return ans, nil
		}
	}
	ans.Ready = true
	return ans, nil
}

// prepare runs in the loop of the target.
func (l *loop) prepare(req prepareRequest) (required []string, refusal string) {
	g := l.groups[req.Group]
	if g == nil || !slices.Contains(g.cfg.Nodes, l.node) {
		return nil, "it may not own it by its own config"
	}
	if req.Force {
		g.forcedUntil = time.Now().Add(forceValid)
		l.dirty = true
		l.judge()
		l.decide()
	}
	if s := g.steer; s != nil && !s.won { // of a move that came to nothing
		l.endSteering(req.Group, g)
	}
	if !g.fitness.Eligible {
		return nil, g.fitness.Reason
	}
	return g.mustPass, ""
}

// awaitOpen answers when this node has opened a group that is being handed to
// it. It polls the loop: the wait lasts a few milliseconds, once per move.
func (a *api) awaitOpen(ctx context.Context, req awaitRequest) (ans awaitAnswer, err error) {
	poll := time.NewTicker(openPoll)
	defer poll.Stop()
	for {
		err := a.loop.do(ctx, func() {
			if g := a.loop.groups[req.Group]; g != nil {
				ans = awaitAnswer{Open: g.open && g.epoch > req.After, Epoch: g.epoch, Reason: g.openErr}
			}
		})
		if err != nil || ans.Open || ans.Reason != "" {
			return ans, err
		}
		select {
		case <-ctx.Done():
			ans.Reason = "not open in time"
			return ans, nil
		case <-poll.C:
		}
	}
}
