package sim

import (
	"slices"
	"time"

	"github.com/hbagent/hbagent/pkg/lease"
)

// Given by the kernel: nftables counts timeouts in jiffies, rounded down, and in
// CLOCK_MONOTONIC (nf_msecs_to_jiffies64, nft_set_elem_expired). 250 Hz is the
// usual rate.
const jiffy = 4 * time.Millisecond

// tokenLife is how long the token of a transaction lives, as in pkg/vip.
func tokenLife(ttl time.Duration) time.Duration { return min(30*time.Millisecond, ttl/5) }

// gate is a group's live element in the kernel's set: it runs out by itself,
// whatever the agent is doing.
type gate struct {
	epoch  lease.Epoch
	closes lease.Instant // CLOCK_MONOTONIC; 0: there is no element
}

// expiry returns when an element that is added at now runs out.
func expiry(now lease.Instant, timeout time.Duration) lease.Instant {
	j := lease.Instant(jiffy)
	return now/j*j + max(j, lease.Instant(timeout)/j*j)
}

// live reports whether the kernel still has the element. A frozen machine is
// looked at with the clocks that it will wake up with.
func (h *host) live(g int) bool {
	k := h.gates[g]
	return k.closes != 0 && (h.mono() < k.closes || h.w.o.Break == NoGate)
}

// isOpen reports whether a host may speak for a group right now. One that is
// frozen says nothing, whatever its kernel would let through.
func (h *host) isOpen(g int) bool { return !h.frozen && h.live(g) }

func (h *host) group(name string) int { return slices.Index(h.w.groupNames, name) }

// transaction is an opening or a renewal on its way into the kernel. The agent
// may be stalled between any two of its steps:
//
//	add the token, which lives for tokenLife
//	read the clock
//	in one transaction: delete the token; delete the old element, if this
//	renews; add the element with what is left of the lease as its timeout
//
// The kernel refuses the whole of it where something to be deleted has run out.
// What is left of the lease is counted without the token's life: the element is
// added up to that much later than the clock was read.
type transaction struct {
	g       int
	epoch   lease.Epoch
	until   lease.Instant
	open    *lease.Open // nil: a renewal
	effect  any
	stage   int
	token   lease.Instant // CLOCK_MONOTONIC at which it runs out
	timeout time.Duration
}

// advance does the next step, and reports whether the transaction is over.
func (h *host) advance(tx *transaction) bool {
	life := tokenLife(h.w.o.TTL)
	switch tx.stage {
	case 0:
		if tx.until <= h.clock.local(h.w.now) {
			h.refused(tx, "is too late for")
			return true
		}
		tx.token = expiry(h.mono(), life)
	case 1:
		tx.timeout = tx.until.Sub(h.clock.local(h.w.now)) - life
		if h.w.o.Break == TokenUncounted {
			tx.timeout += life
		}
	case 2:
		h.commit(tx)
		return true
	}
	tx.stage++
	return false
}

func (h *host) commit(tx *transaction) {
	w, now := h.w, h.mono()
	mistake := w.o.Break
	unguarded := mistake == NoToken || mistake == ExpiredRenewal && tx.open == nil
	switch {
	case tx.timeout < jiffy, now >= tx.token && !unguarded:
		h.refused(tx, "was stalled with")
		return
	case tx.open == nil && !h.live(tx.g) && mistake != ExpiredRenewal && mistake != ExpiredAlone:
		h.refused(tx, "finds the gate shut for")
		return
	}
	k := gate{epoch: tx.epoch, closes: expiry(now, tx.timeout)}
	if tx.open != nil {
		w.note(h.i, "OPENS", *tx.open, -1)
	} else {
		w.note(h.i, "renews", tx.effect, -1)
	}
	w.checkDeadline(h, tx, k)
	w.checkEpoch(h, tx, k)
	h.gates[tx.g] = k
	w.checkOwner(h, tx.g)
	if tx.open != nil {
		h.opened(tx.g, *tx.open)
	}
}

// refused is what the agent does when the kernel takes no gate: this machine
// stood still on the way, so the voters are asked again.
func (h *host) refused(tx *transaction, why string) {
	h.w.note(h.i, why, tx.effect, -1)
	h.w.report.Refused++
	if tx.open != nil && h.lateAgain(tx.g) {
		h.m.Release(h.now(), h.w.groupNames[tx.g], lease.ReasonReleased)
		return
	}
	h.m.Confirm(h.now(), h.w.groupNames[tx.g])
}

func (h *host) shut(e lease.Shut) {
	h.w.note(h.i, "shuts", e, -1)
	g := h.group(e.Group)
	h.closed(g)
	if h.w.o.Break != ShutIgnored {
		h.gates[g] = gate{}
		h.w.countOwners(g)
	}
}
