package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/hbagent/hbagent/pkg/lease"
)

// groupState is what the checkers remember of a group, from outside.
type groupState struct {
	name  string
	epoch lease.Epoch // of the last gate opened
	owner int         // who opened it; -1: nobody yet
	list  int         // by which list of voters
	at    instant     // when
	opens int
	two   instant // since when it has two owners, 0: it has not
}

// checkOwner is invariant 1, and its foundation, invariant 2, after a gate was
// opened or renewed. Gates only open or grow longer there, or when a machine
// goes on whose clocks stood (checkThaw).
func (w *world) checkOwner(h *host, g int) {
	if !w.checkAlone(h, g) || w.o.Break != None || h.stale(h.gates[g]) {
		return // with a mistake, the harm itself must be found, not only what leads to it
	}
	list := h.list()
	behind, quorum := 0, len(list.voters)/2+1
	if w.witnessed() {
		quorum-- // the witness, or the peer
	}
	for _, name := range list.voters {
		v := w.host(name)
		if v.m == nil || v.frozen || !v.votes() || v.m.Quarantine(v.clock.local(w.now)) > 0 {
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

// checkDeadline holds the kernel's element against the lease that it stands for:
// it ends no later, by the machine's own clock.
func (w *world) checkDeadline(h *host, tx *transaction, k gate) {
	if w.o.Break == None && !h.stale(k) && k.closes+h.clock.slept > tx.until {
		w.fail(fmt.Errorf("invariant 2: the gate of %s for %s outlives its lease by %v", h.name, w.groupNames[tx.g], (k.closes + h.clock.slept).Sub(tx.until)))
	}
}

// checkAlone is invariant 1. Two owners are excused where one of them goes on
// from a pause in which its clocks stood, by a lease from before it: what is
// left of it then bounds them, and is measured.
func (w *world) checkAlone(h *host, g int) bool {
	if !h.isOpen(g) {
		return true
	}
	for _, o := range w.hosts {
		if o == h || !o.isOpen(g) {
			continue
		}
		if w.o.Break != ClocksExcused && (h.stale(h.gates[g]) || o.stale(o.gates[g])) {
			w.countOwners(g)
			continue
		}
		w.fail(fmt.Errorf("invariant 1: %s and %s both own %s (epochs %d and %d)",
			h.name, o.name, w.groupNames[g], h.gates[g].epoch, o.gates[g].epoch))
		return false
	}
	return true
}

// checkThaw looks at a machine that goes on.
func (w *world) checkThaw(h *host) {
	for g := range h.gates {
		w.checkAlone(h, g)
	}
}

// countOwners keeps the time of excused double ownership. It is called whenever
// a gate changes by what somebody does; ends by time are looked for here.
func (w *world) countOwners(g int) {
	s := &w.groups[g]
	open, first := 0, instant(0)
	for _, h := range w.hosts {
		if h.isOpen(g) {
			open++
			if at := h.clock.world(h.gates[g].closes + h.clock.slept); first == 0 || at < first {
				first = at
			}
		}
	}
	switch {
	case open > 1 && s.two == 0:
		s.two = w.now
		w.report.Overlaps++
		w.note(-1, "has two owners of", s.name, -1)
	case open < 2 && s.two != 0:
		w.report.Overlap = max(w.report.Overlap, float64(w.now-s.two)/float64(w.o.TTL))
		s.two = 0
		return
	}
	if open > 1 && first > w.now {
		w.queue.add(first, func() { w.countOwners(g) })
	}
}

// checkEpoch is invariant 4, before a gate opens or is renewed.
func (w *world) checkEpoch(h *host, tx *transaction, k gate) {
	s := &w.groups[tx.g]
	if tx.open != nil {
		w.report.Opens++
		s.opens++
	}
	switch {
	case h.stale(k):
		return // it goes on as before a pause that it knows nothing of
	case s.owner < 0 || tx.epoch > s.epoch:
	case s.owner == h.i && tx.epoch == s.epoch && (tx.open == nil || tx.open.Cause == lease.CauseResume || tx.open.Cause == lease.CauseConfirmed):
	case h.mono() < h.outsideUntil+lease.Instant(tokenLife(w.o.TTL)):
		// A machine whose clocks all stood believes its lease to be valid, and
		// says so: voters that have let a later one go may grant below it.
		// Nobody else has the group then, but the epoch has gone back.
		w.report.Revived++
	case w.forgotten(s, h) || w.o.Break != None:
	default:
		w.fail(fmt.Errorf("invariant 4: %s opens or renews %s (epoch %d) after %s opened it (epoch %d)",
			h.name, s.name, tx.epoch, w.hosts[s.owner].name, s.epoch))
	}
	if s.owner != h.i {
		w.report.Moves++
	}
	if tx.open != nil {
		s.at = w.now
	}
	s.epoch, s.owner, s.list = tx.epoch, h.i, h.gen
}

// forgotten reports whether every voter that two majorities have in common may
// have lost its memory since the last gate was opened, or while it was being
// won: then only the wall clock keeps the order. The same is true where the
// witness took a voter's place.
func (w *world) forgotten(s *groupState, h *host) bool {
	if w.witnessed() {
		return true
	}
	was, is := w.lists[s.list].voters, h.list().voters
	forgetful, all := 0, 0
	for _, v := range w.hosts {
		if !slices.Contains(was, v.name) && !slices.Contains(is, v.name) {
			continue
		}
		all++
		if since := s.at - 2*w.o.TTL; v.booted > since || v.changedAt > since {
			forgetful++
		}
	}
	return forgetful >= len(was)/2+1+len(is)/2+1-all
}

// checkSend is invariant 3.
func (w *world) checkSend(h *host, m *lease.Message) {
	if w.o.Break != None {
		return
	}
	for i := range m.Entries {
		e := &m.Entries[i]
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

func (w *world) owner(g int) int {
	return slices.IndexFunc(w.hosts, func(h *host) bool { return h.isOpen(g) })
}

// sample looks from time to time whether the groups have owners at all: a world
// in which nothing works tests nothing.
func (w *world) sample() {
	w.queue.add(w.now+w.o.TTL/3, func() {
		if w.ended {
			return
		}
		for g := range w.groups {
			w.report.Samples++
			if w.owner(g) >= 0 {
				w.report.Owned++
			}
		}
		w.sample()
	})
}

// inTTLs is a duration for people.
func (w *world) inTTLs(d time.Duration) string {
	return fmt.Sprintf("%.2f ttl", float64(d)/float64(w.o.TTL))
}
