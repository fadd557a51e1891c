package agent

import (
	"slices"
	"strconv"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/checks"
	"github.com/hbagent/hbagent/pkg/cluster"
	"github.com/hbagent/hbagent/pkg/lease"
)

// observe finds out who owns a group, and keeps the history of it. This node's
// own lease is certain; its voter's promise is next best; what a peer tells of
// itself is the rest.
func (l *loop) observe(now lease.Instant, name string, g *groupRun) {
	owner, epoch := l.ownerOf(now, name, g)
	if owner == g.owner && (epoch == g.ownerEpoch || epoch == 0) {
		return
	}
	from := g.owner
	if owner == "" {
		g.lastOwner = g.owner
		g.owner, g.ownerSince = "", time.Now()
		l.dirty = true
		return // an owner follows, usually at once; publishing both would be noise
	}
	if from == "" {
		from = g.lastOwner
	}
	same := owner == from && epoch == g.ownerEpoch
	if owner != g.owner {
		g.owner, g.ownerSince = owner, time.Now()
	}
	g.ownerEpoch = epoch
	g.follow()
	l.dirty = true
	if same {
		return
	}
	cause, why := g.cause, g.why
	if owner != l.node {
		if s, ok := l.peers[owner].groupState(name); ok && s.Epoch == epoch {
			cause, why = Cause(s.Cause), s.Reason
			if cause == CauseHealth {
				g.noteMove(epoch, time.Now()) // its clock may be wrong
			}
		}
	}
	l.history.add(control.Event{Group: name, Kind: kindOwner, From: from, To: owner, Epoch: epoch, Reason: why, Detail: string(cause)})
}

func (l *loop) ownerOf(now lease.Instant, name string, g *groupRun) (string, uint64) {
	if g.open {
		return l.node, g.epoch
	}
	best, epoch := "", uint64(0)
	for _, n := range g.cfg.Nodes {
		p := l.peers[n]
		if p == nil {
			continue // this node
		}
		if s, ok := p.groupState(name); ok && p.alive && s.State == string(control.StateActive) && s.Epoch > epoch {
			best, epoch = n, s.Epoch
		}
	}
	if best == "" {
		return "", 0
	}
	v, _ := l.machine.Group(now, name)
	switch {
	case v.Holder == best || v.Holder == "" && !l.voters.has(l.node):
		return best, epoch
	case v.Holder == "" && l.machine.Quarantine(now.Add(-l.ttl/2)) > 0:
		return best, epoch // this node's voter has no memory yet: it promises at the first renewal after its quarantine
	}
	return "", 0
}

// publish tells the peers what has changed. What changes all the time (the text
// of a check, the time left) goes along when something else does, or with the
// anti-entropy of the cluster.
func (l *loop) publish() {
	s := cluster.NodeState{
		RunID: l.runID(), Version: l.version, ConfigHash: l.cfg.Hash, Generation: l.voters.generation,
		TTL: l.ttl, Started: l.started, Maintenance: l.maintenance, Keys: l.keys.state(),
	}
	for _, c := range l.cfg.ChecksFor(l.node) {
		st := l.checks[c.Name]
		s.Checks = append(s.Checks, cluster.CheckState{
			Name: c.Name, Type: c.Type, Status: st.Status.String(), Required: c.Required, Message: st.Message, Since: st.Since,
		})
	}
	for _, name := range l.order {
		g := l.groups[name]
		if g.iface == "" {
			continue
		}
		gs := cluster.GroupState{
			Name: name, State: string(g.state), Epoch: g.epoch, Since: g.since, Eligible: g.fitness.Eligible,
			Reason: g.reason(), Cause: string(g.cause), Moves: int64(g.recentMoves(time.Now())),
		}
		if d := g.drain; d != nil {
			gs.Connections, gs.DrainLeftMs = d.open, d.left.Milliseconds()
		}
		s.Groups = append(s.Groups, gs)
	}
	s.Roles = l.roleStates()
	s.Templates = l.templateStates()
	if sameNews(s, l.published) {
		return
	}
	if err := l.net.Publish(s); err != nil {
		l.log.Warn("cannot tell the peers this node's state", "error", err)
		return
	}
	l.published = s
}

func sameNews(a, b cluster.NodeState) bool {
	return a.RunID == b.RunID && a.ConfigHash == b.ConfigHash && a.Generation == b.Generation && a.Maintenance == b.Maintenance &&
		a.Keys.Equal(b.Keys) && slices.Equal(a.Groups, b.Groups) && sameServices(a.Roles, b.Roles) &&
		slices.Equal(a.Templates, b.Templates) &&
		slices.EqualFunc(a.Checks, b.Checks, func(x, y cluster.CheckState) bool {
			return x.Name == y.Name && x.Status == y.Status && x.Required == y.Required &&
				(x.Message == y.Message || x.Status == checks.Passing.String())
		})
}

// peerState takes over what a peer tells of itself.
func (l *loop) peerState(s cluster.NodeState) {
	p := l.peers[s.Node]
	if p == nil {
		return
	}
	now := time.Now()
	if !p.known {
		now = l.started // what was so before this agent could hear of it is no news
	} else if p.state.RunID != s.RunID {
		p.since = now // it was away, too shortly to be missed: hold counts from here
	}
	fit := make(map[string]Fitness, len(s.Groups)) // a group that is told no more is not fit
	groups := make(map[string]cluster.GroupState, len(s.Groups))
	for _, gs := range s.Groups {
		f := p.fit[gs.Name]
		if f.Eligible != gs.Eligible || f.Since.IsZero() {
			f.Since = now
		}
		f.Eligible, f.Reason = gs.Eligible, gs.Reason
		fit[gs.Name], groups[gs.Name] = f, gs
	}
	p.state, p.known, p.fit, p.groups = s, true, fit, groups
	l.peerServices(p, s.Roles)
	l.dirty = true
	l.lookAtVoters()
}

func (l *loop) peerAlive(node string, alive bool, reason string) {
	p := l.peers[node]
	if p == nil {
		return
	}
	if p.alive == alive { // what memberlist took for a death was a goodbye
		p.reason = reason
		return
	}
	p.alive, p.since, p.reason = alive, time.Now(), reason
	to := "down"
	if alive {
		to = "up"
	}
	l.log.Info("peer is "+to, "peer", node, "reason", reason)
	l.history.add(control.Event{Kind: kindNode, Subject: node, To: to, Reason: reason})
	if !alive {
		l.doubtContact()
		for _, name := range l.order { // what goes there is lost: better a reset than silence
			if g := l.groups[name]; g.steer != nil && g.steer.to == node {
				l.endSteering(name, g)
			}
		}
	}
	if alive {
		l.greet(node)
		// A switch or a router may have learnt something else while the peer
		// was on the other side of a partition.
		for _, name := range l.order {
			if l.groups[name].open {
				l.addrs.Reannounce(name)
			}
		}
	}
	l.dirty = true
}

// checkChanged takes a check's new state. The runner numbers the states: one
// that was under way while another came may arrive late.
func (l *loop) checkChanged(st checks.State) {
	old, known := l.checks[st.Name]
	if known && old.Seq >= st.Seq {
		return
	}
	l.checks[st.Name] = st
	if old.Status == st.Status {
		return // the text only: it is shown when somebody asks
	}
	l.log.Info("check", "check", st.Name, "state", st.Status.String(), "reason", st.Message)
	l.history.add(control.Event{Kind: kindCheck, Subject: st.Name, From: old.Status.String(), To: st.Status.String(), Reason: st.Message})
	l.dirty = true
}

func (l *loop) problem(p cluster.Problem) {
	l.log.Warn("problem", "reason", p.Kind.String(), "peer", p.Node, "addr", p.Addr, "detail", p.Detail)
	l.history.add(control.Event{Kind: kindProblem, From: p.Node, Reason: p.Kind.String(), Detail: p.Detail})
}

func (l *loop) runID() string { return l.runIDValue.String() }

func parseRunID(s string) (lease.RunID, bool) {
	n, err := strconv.ParseUint(s, 16, 64)
	return lease.RunID(n), err == nil && n != 0
}
