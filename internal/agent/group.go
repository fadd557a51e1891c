package agent

import (
	"slices"
	"strings"
	"time"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/role"
	"github.com/hbagent/hbagent/pkg/cluster"
	"github.com/hbagent/hbagent/pkg/lease"
)

// groupRun is one group on this node. It belongs to the loop.
type groupRun struct {
	cfg   config.Group
	iface string // on this node; empty if this node may not own it

	// What the policy has judged.
	fitness  Fitness
	unfit    bool
	able     bool
	waits    bool // for hold, and for nothing else
	failedAt time.Time
	decision Decision

	openErr       string // the addresses could not be added, or the service not taken over, until openErrUntil
	openErrUntil  time.Time
	openErrPasses bool      // it is nothing that does not work
	lateAt        time.Time // opening came too late for its lease, once
	forcedUntil   time.Time // a person wants it here, whatever the checks say

	// The claim.
	open      bool
	until     time.Duration // CLOCK_BOOTTIME of the deadline that the kernel was last told
	pending   *pendingOpen
	won       lease.Open // why this node has won the group that is not open yet, zero otherwise
	epoch     uint64
	cause     Cause
	why       string
	lost      string // why it was lost without this node's own decision
	refused   string // why the voters cannot give it to this node, if only a person can mend that
	heldSince time.Time
	shutAt    time.Duration
	claimedAt time.Duration // CLOCK_BOOTTIME of a foreign claim that awaits an answer, 0: none
	moving    bool          // a switchover of this group is under way here
	// moveAgainAt is the CLOCK_BOOTTIME before which a move of the policy that did
	// not come about is not tried again.
	moveAgainAt time.Duration
	willDrain   *drainRun // how the transfer that is about to happen lets go
	drain       *drainRun // handed over, and finishing its connections
	steer       *steerRun // connections of the old owner are sent there

	mustPass []string // see mustPass

	role *roleRun  // nil: it has none, or this node may not own it
	last role.Last // the newest that is known of an owner's service; a group with a role only

	// Who answers for an address while this node waits for it.
	squatter   string
	squatterAt time.Duration
	lookedAt   time.Duration // CLOCK_BOOTTIME of the last look, 0: none

	// What is shown and published.
	state control.State
	since time.Time
	told  control.State // the last state that the hooks were told

	// Who owns it, as far as is known.
	owner      string
	ownerSince time.Time
	ownerEpoch uint64
	lastOwner  string // the last one that was known, while there is none
	moves      []move

	health *healthRing
}

// pendingOpen is a won group that is not open yet: see loop.open and loop.takeOver.
type pendingOpen struct {
	effect     lease.Open
	openAt     time.Duration // while another machine answers for an address
	queued     bool          // many were won at once: it has its turn
	takingOver bool          // the role is at work, and tells when it is done
}

// move is one change of owner for a reason of health.
type move struct {
	epoch uint64
	at    time.Time
}

// noteMove counts a move once, whoever tells of it.
func (g *groupRun) noteMove(epoch uint64, at time.Time) {
	if !slices.ContainsFunc(g.moves, func(m move) bool { return m.epoch == epoch }) {
		g.moves = append(g.moves, move{epoch, at})
	}
}

// recentMoves returns how many moves count against max_moves, and forgets the rest.
func (g *groupRun) recentMoves(now time.Time) int {
	g.moves = slices.DeleteFunc(g.moves, func(m move) bool { return now.Sub(m.at) >= g.cfg.MaxMoves.Per })
	return len(g.moves)
}

// setGroups takes the groups of a config over; what a group is doing stays.
func (l *loop) setGroups(cfg *config.Config) {
	groups := make(map[string]*groupRun, len(cfg.Groups))
	here := cfg.ChecksFor(l.node)
	l.order = l.order[:0:0]
	for _, c := range cfg.Groups {
		g := l.groups[c.Name]
		if g == nil {
			g = &groupRun{state: control.StateStandby, since: time.Now(), ownerSince: time.Now(), health: newHealthRing(l.ttl)}
			g.told = g.state
		}
		g.cfg, g.mustPass = c, mustPass(here, c)
		g.iface = ""
		if slices.Contains(c.Nodes, l.node) {
			g.iface = c.InterfaceOn(l.node)
		}
		groups[c.Name] = g
		l.order = append(l.order, c.Name)
	}
	l.groups = groups
	l.dirty = true
}

// judge finds out which groups this node may own.
func (l *loop) judge() {
	now := time.Now()
	for _, name := range l.order {
		g := l.groups[name]
		if g.openErr != "" && now.After(g.openErrUntil) {
			g.openErr, g.openErrPasses = "", false
		}
		c := l.condition(g, now)
		// Hold counts from what fails in this node, not from its service: a role has
		// its own view of when that is good enough again.
		if _, failed, _ := Judge(c); failed {
			g.failedAt = now
		}
		c.Role = l.judgeRole(name, g, now)
		g.able = g.iface != "" && !c.Stopping && c.OpenErr == "" && c.LinkDown == "" && (c.Role == nil || c.Role.Eligible)
		eligible, failed, reason := Judge(c)
		g.unfit, g.waits = failed, !eligible && !failed && c.Waits()
		if eligible != g.fitness.Eligible || g.fitness.Since.IsZero() {
			g.fitness.Since = now
		}
		g.fitness.Eligible, g.fitness.Reason = eligible, reason
	}
}

// condition is what Judge looks at for a group on this node.
func (l *loop) condition(g *groupRun, now time.Time) Condition {
	group := g.cfg
	group.Checks = g.mustPass
	c := Condition{
		Group: group, Node: l.node, Checks: l.checks, OpenErr: g.openErr, Stopping: l.stopping,
		FailedAt: g.failedAt, Now: now, Forced: now.Before(g.forcedUntil), Maintenance: l.maintenance, Passes: g.openErrPasses,
	}
	if g.iface != "" && l.linkDown[g.iface] {
		c.LinkDown = g.iface
	}
	return c
}

// mustPass returns which of a node's checks it must pass to own a group. One that
// is not required is shown and moves nothing, whether it has answered or not;
// one that does not run there is no affair of that node.
func mustPass(here []config.Check, g config.Group) []string {
	var names []string
	for _, c := range here {
		if c.Required && slices.Contains(g.Checks, c.Name) {
			names = append(names, c.Name)
		}
	}
	return names
}

// decide acts on the policy for every group.
func (l *loop) decide() {
	now := l.now().Boot // each reading is a system call
	for _, name := range l.order {
		g := l.groups[name]
		l.observe(now, name, g)
		var d Decision // of a group that this node may not own, none: of hundreds, most are
		if g.iface != "" || g.open {
			d = Decide(l.situation(name, g))
		} else if len(g.moves) > 0 {
			g.recentMoves(time.Now()) // forgets the rest
		}
		g.decision = d
		if !l.machine.EligibleIs(name, d.Stand, d.Rank) { // it nearly always is, and then no time need be read
			l.machine.SetEligible(l.now(), name, d.Stand, d.Rank)
		}
		if d.MoveTo != "" && g.open && !g.moving {
			l.moveAway(name, g, d)
		}
		l.setState(now, name, g)
	}
}

func (l *loop) situation(name string, g *groupRun) Situation {
	peers := make(map[string]Peer, len(g.cfg.Nodes)) // of hundreds of nodes, few may own it
	behind := l.lacking(name, g)
	for _, n := range g.cfg.Nodes {
		p := l.peers[n]
		if p == nil {
			continue // this node
		}
		peers[n] = Peer{Alive: p.alive && p.known && !(g.open && l.silent(n, p)), Since: p.since, Fitness: p.fit[name], Behind: behind[n]}
	}
	holder := g.owner
	if holder == "" {
		holder = g.lastOwner
	}
	return Situation{
		Group: g.cfg, Node: l.node, Self: g.fitness, Behind: behind[l.node], Unfit: g.unfit, Waits: g.waits, Off: l.maintenance != "", Able: g.able, Peers: peers, Holds: g.open, Holder: holder,
		Cause: g.cause, HeldSince: g.heldSince, Moves: g.recentMoves(time.Now()), Now: time.Now(),
	}
}

// moveAway does what the policy wants. A service that fails has no connections
// worth waiting for; whatever else moves a group finishes them. A role hands its
// service over for as long as that can be asked.
func (l *loop) moveAway(name string, g *groupRun, d Decision) {
	atOnce := g.cfg.Handover != config.HandoverDrain || d.Cause == CauseHealth
	if g.role != nil {
		atOnce = g.role.seen.Down != ""
	}
	if atOnce {
		l.handOver(name, d.MoveTo, note(d.Cause, d.Reason))
		return
	}
	if l.boot() < g.moveAgainAt {
		return
	}
	g.moveAgainAt = l.boot() + moveRetry
	m := l.newMover(name, d.MoveTo, d.Cause, d.Reason)
	m.byPolicy = true
	go func() {
		ctx, cancel := l.within(m.limit())
		defer cancel()
		if res, err := m.run(ctx); err != nil || res.Outcome != control.OutcomeMoved {
			l.log.Warn("the group did not move", "group", name, "peer", d.MoveTo, "reason", res.Reason, "error", err)
			if g.role != nil { // each try costs a while without writes
				l.post(ctx, func() { g.moveAgainAt = l.boot() + roleMoveRetry })
			}
		}
	}()
}

// silent reports whether a peer that counts as alive should be heard and is not: the
// membership notices a death seconds after a holder does, whose rounds every voter
// answers. One that has started anew has not told its state yet. Handing a group to
// either would cost a ttl.
func (l *loop) silent(node string, p *peerRun) bool {
	if !l.voters.has(node) {
		return false // it is asked nothing
	}
	at, run, ok := l.machine.Heard(node)
	return !ok || l.now().Boot.Sub(at) > l.ttl/silentDivisor || run.String() != p.state.RunID
}

// silentDivisor: a voter that has not been heard for ttl/2 has missed two rounds and
// every repetition in them (chosen by us).
const silentDivisor = 2

// handOver transfers a group. It reports whether the ticket is on its way; if
// not, nothing has changed.
func (l *loop) handOver(name, to, note string) bool {
	run, ok := l.runOf(to)
	if !ok {
		return false
	}
	if why := l.machine.Transfer(l.now(), name, lease.Target{Node: to, RunID: run, Note: note}); why != lease.ReasonNone {
		l.log.Warn("cannot hand over", "group", name, "peer", to, "reason", why)
		return false
	}
	l.log.Info("handing over", "group", name, "holder", to, "reason", note)
	l.dirty = true
	return true
}

// setState derives what is shown, and tells the hooks.
func (l *loop) setState(now lease.Instant, name string, g *groupRun) {
	v, _ := l.machine.Group(now, name)
	g.refused = ""
	if g.owner == "" && v.RefusedBy != "" && v.Refusal.NeedsPerson() {
		g.refused = "refused by " + v.RefusedBy + ": " + v.Refusal.String()
	}
	state := control.StateStandby
	switch {
	case g.open:
		state = control.StateActive
	case g.drain != nil:
		state = control.StateDraining
	case g.pending != nil || v.Phase == "confirming" || v.Phase == "holding":
		// To have asked for it is no state: a candidate without a vote asks in every lease, and all of them would tell all others.
		state = control.StateAcquiring
	case l.maintenance != "" && g.iface != "":
		state = control.StateMaintenance
	case g.unfit && g.iface != "":
		state = control.StateFault
	}
	if state != g.state {
		g.state, g.since = state, time.Now()
	}
	// Acquiring is passed through in milliseconds, and a pause that is
	// confirmed was none: neither is worth a line or a hook.
	if state != control.StateAcquiring && state != g.told {
		l.history.add(control.Event{Group: name, Kind: kindState, From: string(g.told), To: string(state), Epoch: g.epoch, Reason: g.reason()})
		g.told = state
		l.runHooks(name, g)
	}
}

// reason says in one line why the group is as it is on this node.
func (g *groupRun) reason() string {
	switch {
	case g.open && g.decision.Reason != "" && g.decision.MoveTo == "":
		return g.fitness.Reason + "; " + g.decision.Reason
	case g.open:
		return g.why
	case g.drain != nil:
		return g.drain.text()
	case g.pending != nil && g.pending.takingOver:
		return "taking the service over"
	case g.pending != nil && g.pending.queued:
		return "opening, with others"
	case g.pending != nil:
		return "waiting: " + g.squatter + " still answers for an address"
	case !g.fitness.Eligible:
		return g.fitness.Reason
	case g.refused != "":
		return g.refused
	case g.role != nil && g.role.verdict.Reason != "":
		return g.role.verdict.Reason
	}
	return g.lost
}

func (l *loop) runHooks(name string, g *groupRun) {
	c := hookCall{group: name, state: g.state, epoch: g.epoch, reason: g.reason(), timeout: g.cfg.HookTimeout}
	for _, a := range g.cfg.Addresses {
		c.addresses = append(c.addresses, a.String())
	}
	switch g.state {
	case control.StateActive:
		c.programs = g.cfg.OnActive
	case control.StateStandby, control.StateMaintenance:
		c.programs = g.cfg.OnStandby
	case control.StateFault:
		c.programs = g.cfg.OnFault
	}
	l.hooks.run(c)
}

// A note travels with a ticket: the cause, a space, the reason. It is cut to
// what a message carries.
func note(cause Cause, reason string) string {
	s := string(cause) + " " + reason
	if len(s) > lease.MaxName {
		s = strings.ToValidUTF8(s[:lease.MaxName-3], "") + "..."
	}
	return s
}

func parseNote(s string) (Cause, string, bool) {
	cause, why, ok := strings.Cut(s, " ")
	switch c := Cause(cause); c {
	case CauseHealth, CauseSwitchover, CauseFailback, CauseStop, CauseConfig, CauseMaintenance:
		return c, why, ok
	}
	return "", "", false
}

// runOf returns the run id that a peer has told.
func (l *loop) runOf(node string) (lease.RunID, bool) {
	p := l.peers[node]
	if p == nil || !p.known {
		return 0, false
	}
	return parseRunID(p.state.RunID)
}

// groupState is what a peer has told of a group.
func (p *peerRun) groupState(name string) (cluster.GroupState, bool) {
	s, ok := p.groups[name]
	return s, ok
}
