package agent

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/role"
	"github.com/hbagent/hbagent/pkg/lease"
)

// Chosen by us. What a role waits for by itself ends where there is no progress; these
// are for a role that does not end.
const (
	takeOverLimit   = time.Hour // a replica may have hours of changes to apply, and half of that is long enough to be asked about
	deactivateLimit = 30 * time.Second
)

// roleRun is the role of a group on this node. It belongs to the loop; the role's own
// calls run in goroutines, and post what came of them.
type roleRun struct {
	role    Role
	seen    role.Observation
	verdict role.Verdict
	claim   *claim             // nil: none since this agent started
	cancel  context.CancelFunc // of taking over, nil if that is not under way
	letsGo  bool               // Deactivate is under way
	leader  role.Leader        // as last told
	current time.Time          // seen.CurrentTo while an owner was last known
}

// claim is the lease on a group as its role sees it, from any goroutine.
type claim struct {
	epoch uint64
	boot  func() time.Duration
	until atomic.Int64 // CLOCK_BOOTTIME in nanoseconds; 0: not certain now; claimLost: lost
}

const claimLost = math.MinInt64

// renewed tells until when the lease is certain. A lost one stays lost.
func (c *claim) renewed(until lease.Instant) {
	for old := c.until.Load(); old != claimLost; old = c.until.Load() {
		if c.until.CompareAndSwap(old, int64(until)) {
			return
		}
	}
}

func (c *claim) lost() { c.until.Store(claimLost) }

// held implements role.Claim.Held.
func (c *claim) held() (time.Duration, error) {
	until := c.until.Load()
	if until == claimLost {
		return 0, role.ErrLost
	}
	return max(time.Duration(until)-c.boot(), 0), nil
}

// openWhenReady opens a group that this node holds: at once, or, with a role, as soon
// as its service has been taken over.
func (l *loop) openWhenReady(g *groupRun, e lease.Open) {
	if g.role == nil {
		l.openNow(g, e)
		return
	}
	l.takeOver(g, e)
}

// takeOver has the role prepare and activate its service; the gate stays shut, and the
// lease is renewed meanwhile. A claim that was confirmed after a pause, or resumed, goes
// the same way, and finds nothing to do: the role may have let go by itself.
func (l *loop) takeOver(g *groupRun, e lease.Open) {
	r := g.role
	r.stop()
	if r.claim == nil || r.claim.epoch != uint64(e.Epoch) {
		r.claim = &claim{epoch: uint64(e.Epoch), boot: l.boot}
	}
	r.claim.renewed(e.Until)
	if g.open {
		g.open, g.shutAt = false, l.boot()
	}
	p := &pendingOpen{effect: e, takingOver: true}
	g.pending, l.dirty = p, true
	c := role.Claim{Epoch: uint64(e.Epoch), Forced: time.Now().Before(g.forcedUntil), Last: g.last, Held: r.claim.held}
	ctx, cancel := l.within(takeOverLimit)
	r.cancel = cancel
	l.log.Info("taking over the service", "group", e.Group, "epoch", e.Epoch)
	go func() {
		defer cancel()
		err := r.role.Prepare(ctx, c)
		if err == nil {
			err = r.role.Activate(ctx, c)
		}
		if err != nil && ctx.Err() == nil { // else somebody else has ended it, and goes on with it
			l.makeReadOnly(e.Group, r.role, "not taken over")
		}
		l.post(context.Background(), func() { l.tookOver(g, p, err) })
	}()
}

// tookOver opens the group, or gives the lease back.
func (l *loop) tookOver(g *groupRun, p *pendingOpen, err error) {
	if g.pending != p {
		return // lost, or begun again, meanwhile
	}
	g.pending, g.role.cancel, l.dirty = nil, nil, true
	if err == nil {
		l.openNow(g, p.effect)
		return
	}
	name := p.effect.Group
	l.log.Error("cannot take the service over", "group", name, "error", err)
	g.openErr, g.openErrUntil = "cannot take the service over: "+err.Error(), time.Now().Add(openRetry)
	g.openErrPasses = errors.Is(err, role.ErrNotNow) || errors.Is(err, role.ErrLost)
	l.history.add(control.Event{Group: name, Kind: kindRole, Epoch: g.epoch, Reason: "not taken over", Detail: err.Error()})
	l.machine.Release(l.now(), name, lease.ReasonReleased)
}

// stop ends taking over.
func (r *roleRun) stop() {
	if r.cancel != nil {
		r.cancel()
		r.cancel = nil
	}
}

// roleShut tells the role that the gate is shut. After a pause nothing is certain until
// the voters have been asked; after everything else it has to let go.
func (l *loop) roleShut(name string, g *groupRun, why lease.Reason) {
	r := g.role
	r.stop()
	if why == lease.ReasonPaused {
		if r.claim != nil {
			r.claim.renewed(0)
		}
		return
	}
	l.deactivate(name, r, why.String())
}

// deactivate makes a service read-only. If it fails, the role keeps trying.
func (l *loop) deactivate(name string, r *roleRun, why string) {
	if r.claim != nil {
		r.claim.lost()
	}
	if r.letsGo {
		return
	}
	r.letsGo = true
	go func() {
		ctx, cancel := l.within(deactivateLimit)
		defer cancel()
		err := r.role.Deactivate(ctx, why)
		if err != nil {
			l.log.Error("the service is not read-only yet; its role keeps trying", "group", name, "error", err)
		}
		l.post(context.Background(), func() { r.letsGo = false })
	}()
}

// letGoByRole answers a role that took its claim for lost. If this node holds the lease
// all the same, clients reach a service that is read-only: the gate is shut until the
// voters have confirmed it and the service is taken over again.
func (l *loop) letGoByRole(name string, g *groupRun, epoch uint64) {
	if l.groups[name] == g && g.open && g.epoch == epoch {
		l.log.Warn("the role has let go of a lease that is held: taking the service over again", "group", name, "epoch", epoch)
		l.machine.Confirm(l.now(), name)
	}
}

// makeReadOnly waits for a service to become read-only, so that the lease is given back after that.
func (l *loop) makeReadOnly(name string, r Role, why string) {
	ctx, cancel := l.within(stopServiceLimit)
	defer cancel()
	if err := r.Deactivate(ctx, why); err != nil {
		l.log.Error("the service is not read-only yet; its role keeps trying", "group", name, "error", err)
	}
}

// startRoles makes every service read-only that this agent does not mean to resume. It
// is called once, before the loop runs.
func (l *loop) startRoles() {
	for _, name := range l.order {
		g := l.groups[name]
		if v, _ := l.machine.Group(l.now().Boot, name); g.role != nil && v.Phase != "confirming" {
			l.deactivate(name, g.role, "the agent has started")
		}
	}
}

// follow names the owner of a group, which has just become known, to its role.
func (g *groupRun) follow() {
	leader := role.Leader{Node: g.owner, Epoch: g.ownerEpoch}
	if g.role != nil && g.owner != "" && leader != g.role.leader {
		g.role.leader = leader
		g.role.role.Follow(leader)
	}
}

// judgeRole asks the role about this node.
func (l *loop) judgeRole(name string, g *groupRun, now time.Time) *role.Verdict {
	switch {
	case g.cfg.Role == "" || g.iface == "":
		return nil
	case g.role == nil: // a config that was reloaded
		return &role.Verdict{Failed: true, Reason: "its role needs a restart of the agent"}
	}
	s := role.Situation{
		Node: l.node, Self: g.role.seen, Owner: g.owner, Last: g.last, Now: now, Waiting: now, Forced: now.Before(g.forcedUntil),
		Peers: make(map[string]role.Peer, len(g.cfg.Nodes)),
	}
	for _, n := range g.cfg.Nodes {
		if p := l.peers[n]; p != nil {
			s.Peers[n] = role.Peer{Alive: p.alive, Eligible: p.fit[name].Eligible, Observation: p.services[name]}
		}
	}
	if g.open || g.pending != nil || g.owner != "" {
		g.role.current = s.Self.CurrentTo
	}
	s.Current = g.role.current
	switch {
	case g.open || g.pending != nil:
		s.Owner, s.OwnerSeen = l.node, now
	case g.owner != "":
		s.OwnerSeen = now
	default:
		s.Waiting = g.ownerSince
		if g.lastOwner != "" {
			s.OwnerSeen = g.ownerSince
		}
	}
	g.role.verdict = g.role.role.Judge(s)
	return &g.role.verdict
}

// lacking counts, for every node of a group that could take it, what its service lacks
// of any other's.
func (l *loop) lacking(name string, g *groupRun) map[string]uint64 {
	if g.role == nil {
		return nil
	}
	has := map[string]string{l.node: g.role.seen.Has()}
	for _, n := range g.cfg.Nodes {
		if p := l.peers[n]; p != nil && p.alive && p.fit[name].Eligible {
			has[n] = p.services[name].Has()
		}
	}
	out := make(map[string]uint64, len(has))
	for n, have := range has {
		for other, want := range has {
			if n == other {
				continue
			}
			m, err := g.role.role.Missing(have, want)
			if err != nil {
				continue // the role's own verdict says so
			}
			out[n] = max(out[n], m.Transactions)
		}
	}
	return out
}

// newRoles makes the roles of this node's groups.
func (l *loop) newRoles(make func(g config.Group, tell role.Tell) (Role, error)) error {
	lasts := l.lasts.read()
	for _, name := range l.order {
		g := l.groups[name]
		if g.cfg.Role != "" {
			g.last = lasts[name]
		}
		if g.cfg.Role == "" || !slices.Contains(g.cfg.Nodes, l.node) {
			continue
		}
		r := &roleRun{}
		var err error
		r.role, err = make(g.cfg, role.Tell{
			Observed: func(o role.Observation) { l.offer(func() { l.observed(name, g, o) }) },
			Event: func(e role.Event) {
				l.history.add(control.Event{Group: name, Kind: kindRole, Reason: e.Reason, Detail: e.Detail})
			},
			LetGo: func(epoch uint64) { go l.post(context.Background(), func() { l.letGoByRole(name, g, epoch) }) },
		})
		if err != nil {
			return err
		}
		g.role = r
		l.roles[name] = r.role
	}
	return nil
}

// offer hands f to the loop if there is room: for what comes again by itself.
func (l *loop) offer(f func()) {
	select {
	case l.work <- f:
	default:
	}
}
