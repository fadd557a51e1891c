package vip

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// A hold is one opening of one group. It is born in Open and dies in Shut or when its deadline passes; a
// dead hold never lives again, the next Open makes a new one. So "nothing is sent or added after Shut
// returned" needs one argument only: close comes first, and everything that adds or sends looks at closed
// under the same lock.
//
// Two locks: mu for the time left, held for the length of one frame or less; place for what is in the
// kernel, held for the length of one netlink request. place is taken before mu, never after.
type hold struct {
	name string

	mu       sync.Mutex
	deadline time.Duration
	closed   bool
	cover    coverage

	place sync.Mutex
	iface string
	index int // where the addresses are; another number once the interface was made anew
	addrs []netip.Addr
	// away: the addresses were deleted because the gate was lost; they come back behind a new one.
	away bool

	settled bool // its IPv6 addresses were waited for; owned by the announcer
}

// dropReason says why an announcement was not sent.
type dropReason uint8

const (
	sent         dropReason = iota
	dropShut                // the group was shut
	dropDeadline            // its deadline has passed
	dropSend                // the kernel did not take the frame
	dropLinkDown            // no carrier; announced when it comes back
	dropNoMAC               // the interface has no Ethernet address
	dropNoLink              // the interface does not exist now
)

func (r dropReason) String() string {
	switch r {
	case sent:
		return "sent"
	case dropShut:
		return "group shut"
	case dropDeadline:
		return "deadline passed"
	case dropSend:
		return "send failed"
	case dropLinkDown:
		return "link down"
	case dropNoMAC:
		return "no Ethernet address"
	case dropNoLink:
		return "no interface"
	}
	return fmt.Sprintf("dropReason(%d)", uint8(r))
}

// close ends the hold. When it has returned, no frame is under way and none will be.
func (h *hold) close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
}

func (h *hold) isClosed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}

// closeIfOver closes a hold whose deadline has passed. It is false for one that is alive or closed already.
func (h *hold) closeIfOver(now time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || now < h.deadline {
		return false
	}
	h.closed = true
	return true
}

// extend moves the deadline, forward or back. It is false for a dead hold.
func (h *hold) extend(deadline time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.deadline = deadline
	return true
}

// beginRefresh notes that the kernel is about to be told about every address.
func (h *hold) beginRefresh(now time.Duration) {
	h.mu.Lock()
	h.cover = coverage{at: now, until: now + 2*maxLeaseLeft} // covered lowers it to what is true
	h.mu.Unlock()
}

// covered notes until when one address lives.
func (h *hold) covered(until time.Duration) {
	h.mu.Lock()
	h.cover.until = min(h.cover.until, until)
	h.mu.Unlock()
}

// refreshDue tells whether the kernel should be told about the present deadline.
func (h *hold) refreshDue(role LifetimeRole, now time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cover.due(role, now, h.deadline)
}

// until is the deadline, and false once the hold is closed or the deadline has passed.
func (h *hold) until(now time.Duration) (time.Duration, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.deadline, !h.closed && now < h.deadline
}

// left is the time until the deadline, also of a closed hold.
func (h *hold) left(now time.Duration) time.Duration {
	deadline, _ := h.until(now)
	return deadline - now
}

// send hands one frame to the wire if the hold is alive at that very moment. The clock is read inside the
// lock, right before the system call.
func (h *hold) send(now func() time.Duration, w wire, frame []byte) (dropReason, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return dropShut, nil
	case now() >= h.deadline:
		return dropDeadline, nil
	}
	err := w.Send(frame)
	switch {
	case errors.Is(err, errWireDown):
		return dropLinkDown, nil
	case err != nil:
		return dropSend, err
	}
	return sent, nil
}

// put adds one address, or gives it a new lifetime. It does so only while the hold is alive and the address
// belongs to it, and takes it back at once if a stall overtook the request. The caller holds h.place.
func (h *hold) put(k kernel, role LifetimeRole, now func() time.Duration, a netip.Addr) error {
	for range putTries {
		before := now()
		if h.isClosed() || h.away || !slices.Contains(h.addrs, a) {
			return ErrNotOpen
		}
		// A deadline that has passed is another matter (ErrDeadline): nobody shut the group, this machine stood still.
		deadline, _ := h.until(before)
		valid, err := role.seconds(deadline - before)
		if err != nil {
			return err
		}
		if err := k.Put(h.index, a, valid); err != nil {
			return err
		}
		// The deadline of before, not of now: valid was computed from it, and a renewal in between
		// only makes things better.
		if role.holds(valid, now(), deadline) {
			h.covered(before + time.Duration(valid)*lifetimeUnit)
			return nil
		}
		if err := k.Remove(h.index, a); err != nil {
			return fmt.Errorf("%w, and removing it: %w", ErrStalled, err)
		}
	}
	return ErrStalled
}

// withdraw deletes addresses from where they were put. It goes through all of them whatever fails. The
// caller holds h.place.
func (h *hold) withdraw(k kernel, addrs []netip.Addr) error {
	var first error
	for _, a := range addrs {
		if err := k.Remove(h.index, a); err != nil && first == nil {
			first = fmt.Errorf("%v on %s: %w", a, h.iface, err)
		}
	}
	return first
}

// where is a copy of what the hold stands for.
func (h *hold) where() (iface string, addrs []netip.Addr) {
	h.place.Lock()
	defer h.place.Unlock()
	return h.iface, slices.Clone(h.addrs)
}

// moveTo tells that the interface has another index: it was made anew.
func (h *hold) moveTo(index int) {
	h.place.Lock()
	h.index = index
	h.place.Unlock()
}
