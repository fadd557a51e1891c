package lease

import (
	"fmt"
	"slices"
	"time"
)

// View is what a Machine knows of one group at one moment.
type View struct {
	Phase   string // idle, acquiring, holding, confirming
	Epoch   Epoch  // of this node's claim
	Until   Instant
	Granted []string // voters whose grant counts now, sorted
	// Holder is who has the group by this node's own vote, empty when unknown
	// or free; it may be this node.
	Holder      string
	HolderEpoch Epoch
	HolderLeft  time.Duration
	Refusal     Reason // the last one this node met,
	RefusedBy   string // and the voter that it came from
	NextAsk     Instant
}

// Group returns what is known of a group, and false if it is not configured.
func (m *Machine) Group(now Instant, name string) (View, bool) {
	g := m.groups[name]
	if g == nil {
		return View{}, false
	}
	v := View{Phase: g.phase.String(), Epoch: g.epoch, Until: g.until, Refusal: g.refusal, RefusedBy: g.refusedBy, NextAsk: m.askTime(g)}
	for voter, until := range g.valid {
		if until > now && voter != witnessName {
			v.Granted = append(v.Granted, voter)
		}
	}
	slices.Sort(v.Granted)
	if g.phase == phaseHolding {
		v.Refusal, v.RefusedBy = ReasonNone, ""
	}
	if m.voter != nil {
		if p := m.voter.group(name); p.running(now) {
			v.Holder, v.HolderEpoch, v.HolderLeft = p.holder, p.epoch, p.deadline.Sub(now)
		}
	}
	return v, true
}

// Heard returns when the last message of a node arrived, and of which run it was;
// false if there was none. A voter answers a holder several times a ttl.
func (m *Machine) Heard(node string) (at Instant, run RunID, ok bool) {
	at, ok = m.heard[node]
	return at, m.heardRun[node], ok
}

// Valid reports whether this node holds a lease on the group at now.
func (m *Machine) Valid(now Instant, name string) bool {
	g := m.groups[name]
	return g != nil && g.phase == phaseHolding && now < g.until
}

// Check panics with a *Violation if the local state contradicts the
// invariants. It costs a walk over the groups; the agent calls it once a round,
// tests after every step.
func (m *Machine) Check() {
	claims := 0
	for name, g := range m.groups {
		if g.claims() {
			claims++
		}
		if g.phase == phaseHolding {
			assert(g.until > 0 && g.epoch > 0, 1, "%s is held without validity or epoch", name)
		} else {
			assert(g.phase == phaseConfirming || g.phase == phaseAcquiring || g.until == 0, 1, "%s is %v and still valid", name, g.phase)
		}
		assert(len(g.valid) <= len(m.voters)+1, 5, "%s counts %d voters", name, len(g.valid))
	}
	if !m.holdsChanged {
		for name, g := range m.groups {
			epoch, written := m.writtenHolds[name]
			assert(written == g.claims() && (!written || epoch == g.epoch), 1, "%s at epoch %d is %v, and the record says otherwise", name, g.epoch, g.phase)
		}
	}
	assert(claims == m.holding, 1, "%d claims, %d counted", claims, m.holding)
	assert(len(m.repeats) <= maxRepeats*MaxGroups, 5, "%d repeats", len(m.repeats))
	if m.voter == nil {
		return
	}
	for name, p := range m.voter.groups {
		assert(p.highest >= p.epoch, 4, "%s: promised epoch %d above the highest %d", name, p.epoch, p.highest)
		assert(len(p.seqs) <= MaxNodes, 5, "%s: sequences of %d nodes", name, len(p.seqs))
	}
}

// String describes a group in one line, for logs and scripts.
func (v View) String() string {
	return fmt.Sprintf("%s epoch=%d holder=%s/%d granted=%v", v.Phase, v.Epoch, v.Holder, v.HolderEpoch, v.Granted)
}
