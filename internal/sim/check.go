package sim

import (
	"fmt"
	"slices"

	"github.com/hbagent/hbagent/pkg/lease"
)

// groupState is what the checkers remember of a group, from outside.
type groupState struct {
	name  string
	epoch lease.Epoch // of the last gate opened
	owner int         // who opened it; -1: nobody yet
	at    instant     // when
	opens int
	gaps  int // renewals of a gate that had been over for a moment
}

// checkOwner is invariant 1, and its foundation, invariant 2. Gates only ever
// open or grow longer here, so this is the only place where two can overlap.
func (w *world) checkOwner(h *host, g int) {
	for _, o := range w.hosts {
		if o != h && o.isOpen(g) {
			w.fail(fmt.Errorf("invariant 1: %s and %s both own %s (epochs %d and %d)",
				h.name, o.name, w.groupNames[g], h.gates[g].epoch, o.gates[g].epoch))
			return
		}
	}
	if w.o.Break != None {
		return // the harm itself must be found, not only what leads to it
	}
	behind, quorum := 0, w.o.Voters/2+1
	if w.witnessed() {
		quorum-- // the witness, or the peer
	}
	for _, v := range w.hosts[:w.o.Voters] {
		if v.m == nil || v.m.Quarantine(v.clock.local(w.now)) > 0 {
			behind++
			continue
		}
		view, _ := v.m.Group(v.clock.local(w.now), w.groupNames[g])
		if view.Holder == h.name && view.HolderEpoch == h.gates[g].epoch {
			behind++
		}
	}
	if behind < quorum {
		w.fail(fmt.Errorf("invariant 2: %s owns %s (epoch %d) with %d voters behind it, not %d", h.name, w.groupNames[g], h.gates[g].epoch, behind, quorum))
	}
}

// checkEpoch is invariant 4, before a gate opens.
func (w *world) checkEpoch(h *host, g int, e lease.Open) {
	s := &w.groups[g]
	again := s.owner == h.i && e.Epoch == s.epoch
	switch {
	case s.owner < 0 || e.Epoch > s.epoch:
	case again && (e.Cause == lease.CauseResume || e.Cause == lease.CauseConfirmed):
	case w.forgotten(s) || w.o.Break != None:
	default:
		w.fail(fmt.Errorf("invariant 4: %s opens %s (epoch %d, %v) after %s opened it (epoch %d)",
			h.name, s.name, e.Epoch, e.Cause, w.hosts[s.owner].name, s.epoch))
	}
	if s.owner != h.i {
		w.report.Moves++
	}
	w.report.Opens++
	s.epoch, s.owner, s.at = e.Epoch, h.i, w.now
	s.opens++
}

// forgotten reports whether every voter that two majorities have in common may
// have lost its memory since the last gate was opened, or while it was being
// won: then only the wall clock keeps the order. The same is true where the
// witness took a voter's place.
func (w *world) forgotten(s *groupState) bool {
	if w.witnessed() {
		return true
	}
	booted := 0
	for _, v := range w.hosts[:w.o.Voters] {
		if v.booted > s.at-2*w.o.TTL {
			booted++
		}
	}
	return booted >= 2*(w.o.Voters/2+1)-w.o.Voters
}

// checkSend is invariant 3.
func (w *world) checkSend(h *host, m lease.Message) {
	if w.o.Break != None {
		return
	}
	for _, e := range m.Entries {
		if e.Kind != lease.KindRelease && e.Kind != lease.KindTransfer && e.Kind != lease.KindTicket {
			continue
		}
		g := h.group(e.Group)
		if h.isOpen(g) && h.gates[g].epoch == e.Epoch {
			w.fail(fmt.Errorf("invariant 3: %s sends a %v of %s (epoch %d) through an open gate", h.name, e.Kind, e.Group, e.Epoch))
		}
		if h.record != nil && slices.Contains(h.record.Holds, lease.HoldRecord{Group: e.Group, Epoch: e.Epoch}) {
			w.fail(fmt.Errorf("invariant 3: %s sends a %v of %s (epoch %d) and would resume it", h.name, e.Kind, e.Group, e.Epoch))
		}
	}
}

// Chosen by us: what a healed cluster is given.
const (
	ownerWithin = 6 // ttl, from the arrival of the last old message to an owner for good
	stableFor   = 5 // ttl after that without any change
)

// heal ends every fault, and asks for an owner that stays.
func (w *world) heal() {
	w.calm()
	start := max(w.now, w.net.last, w.quiet)
	w.run(start + ownerWithin*w.o.TTL)
	before := slices.Clone(w.groups)
	for g, s := range w.groups {
		if w.err == nil && w.owner(g) < 0 {
			w.fail(fmt.Errorf("liveness: nobody owns %s %v after everything healed", s.name, w.now-start))
		}
		w.report.Healed = max(w.report.Healed, s.at-start)
	}
	w.run(w.now + stableFor*w.o.TTL)
	for g, s := range w.groups {
		if w.err == nil && (s != before[g] || w.owner(g) < 0) {
			w.fail(fmt.Errorf("liveness: %s does not come to rest: %d opened, then %d, gaps %d, %d", s.name, before[g].opens, s.opens, before[g].gaps, s.gaps))
		}
	}
}

func (w *world) owner(g int) int {
	return slices.IndexFunc(w.hosts, func(h *host) bool { return h.isOpen(g) })
}

// calm puts an end to everything bad.
func (w *world) calm() {
	w.note(-1, "everything heals", nil, -1)
	w.ended = true
	w.net.heal()
	w.stall, w.stallMax = 0, 0
	for _, h := range w.hosts {
		h.unpause()
		if h.m == nil {
			if w.rng.IntN(2) == 0 {
				h.boot()
			}
			h.start()
		}
		for g := range h.eligible {
			h.eligible[g] = true
		}
	}
	for _, h := range w.hosts {
		for g := range h.eligible {
			h.tellEligible(g)
		}
	}
}
