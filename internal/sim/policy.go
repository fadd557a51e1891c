package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/hbagent/hbagent/internal/agent"
	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/pkg/checks"
	"github.com/hbagent/hbagent/pkg/lease"
)

// policy is the part of an agent that decides who should own a group. The
// decisions are internal/agent's own, Judge and Decide; what stands here gathers
// what they look at, as internal/agent's loop does.
type policy struct {
	claims   []claim // per group
	checks   map[string]checks.State
	peers    []peer // per host
	started  time.Time
	stopping bool
	dirty    bool // something changed that the policy or the peers should know
	told     *news
	seen     map[string]agent.Peer // for situation, which is asked often
}

// claim is what an agent knows of one group.
type claim struct {
	fitness  agent.Fitness
	unfit    bool
	able     bool
	waits    bool
	failedAt time.Time

	open      bool
	epoch     lease.Epoch
	cause     agent.Cause
	heldSince time.Time
	moving    bool // a switchover is under way

	lateAt      time.Time // the kernel refused to open, once
	shutUntil   time.Time // it refused twice: the node stays out for a while
	forcedUntil time.Time // a person wants it here, whatever the checks say

	owner, lastOwner string
	ownerEpoch       lease.Epoch
	moves            []move
}

type move struct {
	epoch lease.Epoch
	at    time.Time
}

// Chosen by us, in ttl; internal/agent has seconds.
const (
	openRetry   = 10
	forcedValid = 8
)

// drawGroups writes the groups' part of the config file.
func (w *world) drawGroups() {
	for g := range w.o.Groups {
		name := fmt.Sprintf("g%d", g+1)
		var c config.Group
		c.Name, c.Checks = name, []string{name}
		c.Nodes = slices.Clone(w.names)
		w.rng.Shuffle(len(c.Nodes), func(i, j int) { c.Nodes[i], c.Nodes[j] = c.Nodes[j], c.Nodes[i] })
		if few := w.rng.IntN(3) == 0; few {
			c.Nodes = c.Nodes[:2]
		}
		c.Failback = w.rng.IntN(3) == 0
		c.Hold = w.ttls([]float64{0, 0, 1, 4}[w.rng.IntN(4)])
		if w.rng.IntN(2) == 0 {
			c.MaxMoves = config.Budget{Count: 1 + w.rng.IntN(4), Per: w.ttls(5 + 20*w.rng.Float64())}
		}
		w.groupNames = append(w.groupNames, name)
		w.configs = append(w.configs, c)
		w.groups = append(w.groups, groupState{name: name, owner: -1})
	}
}

// clockTime is what time.Now gives an agent, as far as it is compared: Go
// compares by CLOCK_MONOTONIC.
func (h *host) clockTime() time.Time { return time.Unix(0, int64(h.mono())) }

// resetPolicy is a new agent: it knows nothing of its peers and its services.
func (h *host) resetPolicy() {
	n := len(h.w.hosts)
	h.policy = policy{claims: make([]claim, h.w.o.Groups), checks: make(map[string]checks.State), peers: make([]peer, n), started: h.clockTime(), dirty: true}
	for i := range h.peers {
		h.peers[i].since = h.started
	}
	for g, name := range h.w.groupNames {
		if v, _ := h.m.Group(h.now().Boot, name); v.Phase == "confirming" {
			h.claims[g].lastOwner, h.claims[g].epoch, h.claims[g].ownerEpoch = h.name, v.Epoch, v.Epoch
		}
		h.runCheck(g)
	}
}

// runCheck lets a check answer after a while.
func (h *host) runCheck(g int) {
	life := h.life
	h.w.queue.add(h.w.now+h.w.exp(h.w.o.TTL/8), func() {
		if h.life != life {
			return
		}
		st := checks.State{Name: h.w.groupNames[g], Required: true, Status: checks.Failing}
		if h.healthy[g] {
			st.Status = checks.Passing
		}
		h.offer(input{what: "checked", do: func(*lease.Machine, lease.Time) any {
			h.checks[st.Name] = st
			h.dirty = true
			return st.Name + " " + st.Status.String()
		}})
	})
}

// decide judges every group, and acts on the policy.
func (h *host) decide() {
	now := h.clockTime()
	for g, name := range h.w.groupNames {
		c := &h.claims[g]
		judged := agent.Condition{
			Group: h.w.configs[g], Node: h.name, Checks: h.checks, Stopping: h.stopping, FailedAt: c.failedAt, Now: now, Forced: now.Before(c.forcedUntil),
		}
		if now.Before(c.shutUntil) {
			judged.OpenErr = "the kernel refused twice"
		}
		c.able = slices.Contains(judged.Group.Nodes, h.name) && !judged.Stopping && judged.OpenErr == ""
		eligible, failed, reason := agent.Judge(judged)
		if failed {
			c.failedAt = now
		}
		c.unfit, c.waits = failed, !eligible && !failed && judged.Waits()
		if eligible != c.fitness.Eligible || c.fitness.Since.IsZero() {
			c.fitness.Since = now
		}
		c.fitness.Eligible, c.fitness.Reason = eligible, reason
		h.observe(g)
		d := agent.Decide(h.situation(g))
		h.m.SetEligible(h.now(), name, d.Stand, d.Rank)
		if d.MoveTo != "" && c.open && !c.moving {
			h.handOver(g, h.w.host(d.MoveTo), agent.Note(d.Cause, d.Reason))
		}
	}
}

func (h *host) situation(g int) agent.Situation {
	c, now := &h.claims[g], h.clockTime()
	if h.seen == nil {
		h.seen = make(map[string]agent.Peer, len(h.peers))
	}
	for i := range h.peers {
		if p := &h.peers[i]; i != h.i {
			h.seen[h.w.names[i]] = agent.Peer{Alive: p.alive && p.news != nil, Since: p.since, Fitness: p.fitness(g)}
		}
	}
	holder := c.owner
	if holder == "" {
		holder = c.lastOwner
	}
	budget := h.w.configs[g].MaxMoves
	c.moves = slices.DeleteFunc(c.moves, func(m move) bool { return now.Sub(m.at) >= budget.Per })
	return agent.Situation{
		Group: h.w.configs[g], Node: h.name, Self: c.fitness, Unfit: c.unfit, Waits: c.waits, Able: c.able, Peers: h.seen, Holds: c.open, Holder: holder,
		Cause: c.cause, HeldSince: c.heldSince, Moves: len(c.moves), Now: now,
	}
}

// handOver transfers a group, with the run id that gossip tells.
func (h *host) handOver(g int, to *host, note string) bool {
	n := h.peers[to.i].news
	if n == nil {
		return false
	}
	why := h.m.Transfer(h.now(), h.w.groupNames[g], lease.Target{Node: to.name, RunID: n.run, Note: note})
	h.w.note(h.i, "hands over", fmt.Sprintf("%s to %s (%s) %v", h.w.groupNames[g], to.name, note, why), -1)
	if why != lease.ReasonNone {
		return false
	}
	h.dirty = true
	return true
}

// observe finds out who owns a group: this node's own lease is certain, what a
// peer tells of itself counts where this node's voter agrees.
func (h *host) observe(g int) {
	c := &h.claims[g]
	owner, epoch := h.ownerOf(g)
	if owner == c.owner && (epoch == c.ownerEpoch || epoch == 0) {
		return
	}
	h.dirty = true
	if owner == "" {
		c.lastOwner, c.owner = c.owner, ""
		return
	}
	c.owner, c.ownerEpoch = owner, epoch
	if n := h.peers[h.w.host(owner).i].news; owner != h.name && n != nil && n.groups[g].epoch == epoch && n.groups[g].cause == agent.CauseHealth {
		c.noteMove(epoch, h.clockTime())
	}
}

func (h *host) ownerOf(g int) (string, lease.Epoch) {
	if h.claims[g].open {
		return h.name, h.claims[g].epoch
	}
	best, epoch := "", lease.Epoch(0)
	for i := range h.peers {
		if n := h.peers[i].news; n != nil && h.peers[i].alive && n.groups[g].active && n.groups[g].epoch > epoch {
			best, epoch = h.w.names[i], n.groups[g].epoch
		}
	}
	now := h.now().Boot
	v, _ := h.m.Group(now, h.w.groupNames[g])
	if best != "" && (v.Holder == best || v.Holder == "" && (!h.votes() || h.m.Quarantine(now) > 0)) {
		return best, epoch
	}
	return "", 0
}

func (c *claim) noteMove(epoch lease.Epoch, at time.Time) {
	if !slices.ContainsFunc(c.moves, func(m move) bool { return m.epoch == epoch }) {
		c.moves = append(c.moves, move{epoch, at})
	}
}

// opened is what the agent does when the kernel has opened a gate.
func (h *host) opened(g int, e lease.Open) {
	c := &h.claims[g]
	c.open, c.epoch, h.dirty = true, e.Epoch, true
	if e.Cause == lease.CauseConfirmed {
		return
	}
	last := c.owner
	if last == "" {
		last = c.lastOwner
	}
	c.heldSince = h.clockTime()
	c.cause, _ = agent.CauseOf(e, last)
	if c.cause == agent.CauseHealth {
		c.noteMove(e.Epoch, c.heldSince)
	}
}

func (h *host) closed(g int) { h.claims[g].open, h.dirty = false, true }

// lateAgain reports whether the kernel has refused to open not long ago, too:
// then the node stays out for a while.
func (h *host) lateAgain(g int) bool {
	c, now := &h.claims[g], h.clockTime()
	h.dirty = true
	if c.lateAt.IsZero() || now.Sub(c.lateAt) > h.w.ttls(openRetry) {
		c.lateAt = now
		return false
	}
	c.shutUntil = now.Add(h.w.ttls(openRetry))
	return true
}
