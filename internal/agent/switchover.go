package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/vip"
)

// Chosen by us.
const (
	prepareTimeout  = 5 * time.Second  // the target runs its checks once
	forceValid      = 15 * time.Second // how long "take it whatever the checks say" counts
	forwardTimeout  = 60 * time.Second
	openPoll        = time.Millisecond
	ownerPoll       = 5 * time.Millisecond
	moveRetry       = time.Second      // between two tries of the policy's own moves
	moveLimit       = 30 * time.Second // for one of them
	rollbackTTLs    = 4                // how long, in ttls, a move that failed is watched for its owner
	targetOpenTTLs  = 2                // how long, in ttls, the target has to open
	openTimeoutLow  = time.Second
	minRollbackWait = 5 * time.Second
)

// Methods of the calls between agents. The bodies are JSON.
const (
	methodSwitchover = "switchover" // to the owner: SwitchoverRequest -> SwitchoverResult
	methodPrepare    = "prepare"    // to the target: prepareRequest -> prepareAnswer
	methodAwaitOpen  = "await-open" // to the target: awaitRequest -> awaitAnswer, when it is open
)

type prepareRequest struct {
	Group string `json:"group"`
	Force bool   `json:"force"`
}

type prepareAnswer struct {
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`
}

type awaitRequest struct {
	Group string `json:"group"`
	After uint64 `json:"after"` // an epoch: a later one is waited for
}

type awaitAnswer struct {
	Open   bool   `json:"open"`
	Epoch  uint64 `json:"epoch,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// mover carries one planned move through, on the owner.
type mover struct {
	loop     *loop
	req      control.SwitchoverRequest
	progress func(control.SwitchoverStep)
	result   control.SwitchoverResult
	cause    Cause
	why      string
	byPolicy bool          // it is made only while Decide still wants it
	byPerson bool          // somebody waits for the answer, and can say it differently
	drains   bool          // open connections are finished here; decided by preflight
	drain    time.Duration // for how long at most
	hop      vip.NextHop   // how the target is reached then

	serviceLimit  time.Duration // what the group's role may take, 0 without one
	serviceHanded bool          // the target has all that the service has, which is read-only here
}

// Switchover implements control.Agent: on the owner it moves the group, on any
// other node it asks the owner to.
func (a *api) Switchover(ctx context.Context, req control.SwitchoverRequest, progress func(control.SwitchoverStep)) (control.SwitchoverResult, error) {
	res, err := a.switchover(ctx, req, askedOn(a.loop.node), progress)
	if err == nil && res.Outcome == control.OutcomeMoved {
		// Who looks at the status next must not find the old owner, or none.
		ctx, cancel := context.WithTimeout(ctx, a.loop.ttl)
		defer cancel()
		_, _ = a.loop.awaitOwner(ctx, req.Group, res.To)
	}
	return res, err
}

// purpose is why a person's move is made, as the history tells it.
type purpose struct {
	cause Cause
	why   string
}

// askedOn is the purpose of `hbagent switchover` on a node.
func askedOn(node string) purpose { return purpose{CauseSwitchover, "asked for on " + node} }

func (a *api) switchover(ctx context.Context, req control.SwitchoverRequest, p purpose, progress func(control.SwitchoverStep)) (control.SwitchoverResult, error) {
	var owner string
	var problem error
	err := a.loop.do(ctx, func() { owner, problem = a.loop.admit(req) })
	if err = errors.Join(err, problem); err != nil {
		return control.SwitchoverResult{}, err
	}
	if owner == "" { // it may be on its way, and news of it, too
		ctx, cancel := context.WithTimeout(ctx, a.loop.ttl)
		owner, _ = a.loop.awaitOwner(ctx, req.Group, "")
		cancel()
	}
	m := &mover{loop: a.loop, req: req, progress: progress, cause: p.cause, why: p.why, byPerson: true, result: control.SwitchoverResult{Group: req.Group, From: owner, To: req.To, Steps: []control.SwitchoverStep{}}}
	switch owner {
	case "":
		if req.Force && req.To != "" {
			return a.takeByForce(ctx, m)
		}
		return m.refuse("nobody owns " + req.Group + " now, so there is nothing to move: look at hbagent status; with --to NODE --force that node takes it"), nil
	case a.loop.node:
		return m.run(ctx)
	}
	return m.forward(ctx, owner)
}

// newMover is a move that this node makes by itself.
func (l *loop) newMover(group, to string, cause Cause, why string) *mover {
	return &mover{
		loop: l, req: control.SwitchoverRequest{Group: group, To: to}, progress: func(control.SwitchoverStep) {},
		cause: cause, why: why, result: control.SwitchoverResult{Group: group, From: l.node, To: to},
		serviceLimit: l.groups[group].serviceLimit(),
	}
}

// admit looks at a request before anything is done about it. It runs in the loop.
func (l *loop) admit(req control.SwitchoverRequest) (owner string, err error) {
	g := l.groups[req.Group]
	if g == nil {
		return "", control.Errorf(control.CodeNotFound, "no group %q; there are: %v", req.Group, l.order)
	}
	if req.To != "" {
		if _, ok := l.cfg.Node(req.To); !ok {
			return "", control.Errorf(control.CodeNotFound, "no node %q; %s may be owned by %v", req.To, req.Group, g.cfg.Nodes)
		}
		if !slices.Contains(g.cfg.Nodes, req.To) {
			return "", control.Errorf(control.CodeBadRequest, "%s may not own %s; its nodes are %v", req.To, req.Group, g.cfg.Nodes)
		}
	}
	if g.moving {
		return "", control.Errorf(control.CodeConflict, "a switchover of %s is under way already", req.Group)
	}
	return g.owner, nil
}

func (m *mover) forward(ctx context.Context, owner string) (control.SwitchoverResult, error) {
	m.step("ask "+owner+", the owner", control.StepRunning, "")
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	defer cancel()
	body, err := json.Marshal(m.req)
	if err != nil {
		return m.result, err
	}
	answer, err := m.loop.net.Call(ctx, owner, methodSwitchover, body)
	if err != nil {
		return m.result, control.Errorf(control.CodeUnavailable, "%s owns %s and did not answer: %v; look at hbagent status before you try again", owner, m.req.Group, err)
	}
	if err := json.Unmarshal(answer, &m.result); err != nil {
		return m.result, fmt.Errorf("answer of %s: %w", owner, err)
	}
	for _, s := range m.result.Steps {
		m.progress(s)
	}
	return m.result, nil
}

func (m *mover) step(name string, state control.StepState, detail string) {
	s := control.SwitchoverStep{Step: name, State: state, Detail: detail, At: time.Now()}
	if state != control.StepRunning {
		m.result.Steps = append(m.result.Steps, s)
	}
	m.progress(s)
}

func (m *mover) refuse(reason string) control.SwitchoverResult {
	m.step("preflight", control.StepFailed, reason)
	m.result.Outcome, m.result.Reason = control.OutcomeRefused, reason
	return m.result
}

// run is the move as the owner sees it: ask the target, hand over, wait for the
// target to open; if it does not, wait for the group to have an owner again.
func (m *mover) run(ctx context.Context) (control.SwitchoverResult, error) {
	l := m.loop
	name := m.req.Group
	var refusal string
	// Not the caller's context: what it asks the loop for is done all the same, and
	// must be followed up.
	lasting := context.WithoutCancel(ctx)
	err := l.do(lasting, func() {
		if m.result.To, refusal = l.preflight(m.req); refusal == "" {
			g := l.groups[name].cfg
			m.drains, m.drain = !m.req.Strict && g.Handover == config.HandoverDrain, g.Drain
			m.serviceLimit = l.groups[name].serviceLimit()
		}
	})
	if err != nil {
		return m.result, err
	}
	if refusal != "" {
		return m.refuse(refusal), nil
	}
	defer l.post(lasting, func() { l.moved(name) })
	to := m.result.To
	if why := m.prepare(ctx); why != "" {
		return m.refuse(to + " cannot take " + name + ": " + why), nil
	}
	if why := m.prepareDrain(ctx); why != "" {
		return m.refuse(why), nil
	}
	m.step("preflight", control.StepOK, to+" is ready")

	if err := ctx.Err(); err != nil {
		return m.refuse("there was no time left for it: " + err.Error()), nil
	}
	if why := m.handOverService(ctx); why != "" {
		return m.refuse(why), nil
	}
	var handed bool
	var after uint64
	err = l.do(lasting, func() {
		g := l.groups[name]
		if g == nil || !g.open {
			return
		}
		if m.byPolicy {
			if d := Decide(l.situation(name, g)); d.MoveTo != to || d.Cause != m.cause {
				return // what was known when this move began is no longer so
			}
		}
		after = g.epoch
		if m.drains {
			g.willDrain = &drainRun{to: to, hop: m.hop, until: l.boot() + m.drain, open: -1}
		}
		if handed = l.handOver(name, to, note(m.cause, m.why)); !handed {
			g.willDrain = nil
		}
	})
	if err != nil {
		return m.result, err
	}
	if !handed {
		m.takeServiceBack(ctx)
		return m.refuse("this node lost the group meanwhile, or cannot name " + to), nil
	}
	return m.await(ctx, after)
}

// preflight holds what can be known here against the request. It runs in the
// loop; on success the group is marked as moving.
func (l *loop) preflight(req control.SwitchoverRequest) (to, refusal string) {
	g := l.groups[req.Group]
	if g == nil {
		return "", req.Group + " is not in the config any more"
	}
	to = req.To
	if to == "" {
		var why string
		if to, why = best(l.situation(req.Group, g)); to == "" {
			return "", "no node can take it: " + why
		}
	}
	needed, _ := l.machine.Quorum()
	v, _ := l.machine.Group(l.now().Boot, req.Group)
	switch {
	case g.moving:
		return to, "another switchover of " + req.Group + " is under way"
	case to == l.node:
		return to, to + " owns " + req.Group + " already"
	case !g.open:
		return to, "this node does not own " + req.Group + " any more"
	case !l.peers[to].alive:
		return to, to + " is down"
	case len(v.Granted) < needed && !l.cfg.Lease.Witness.IsValid():
		return to, fmt.Sprintf("only %d voters answer, %d are needed", len(v.Granted), needed)
	}
	g.moving = true
	return to, ""
}

// moved ends what preflight began. It runs in the loop.
func (l *loop) moved(name string) {
	if g := l.groups[name]; g != nil { // a reload may have removed it
		g.moving = false
		l.dirty = true
	}
}

func (m *mover) prepare(ctx context.Context) (why string) {
	ctx, cancel := context.WithTimeout(ctx, prepareTimeout)
	defer cancel()
	m.step("preflight", control.StepRunning, m.result.To+" runs its checks")
	var answer prepareAnswer
	if err := m.call(ctx, methodPrepare, prepareRequest{Group: m.req.Group, Force: m.req.Force}, &answer); err != nil {
		return err.Error()
	}
	if !answer.Ready {
		return answer.Reason
	}
	return ""
}

func (m *mover) call(ctx context.Context, method string, req, answer any) error {
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	b, err := m.loop.net.Call(ctx, m.result.To, method, body)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, answer)
}
