package sim

import (
	"time"

	"github.com/hbagent/hbagent/pkg/lease"
)

// freeze is a way in which a whole machine stands still: no process runs, and
// nothing answers for an address. They differ in what the clocks do.
type freeze uint8

const (
	// freezeRunning: the hypervisor gives no CPU, or every process is in the
	// freezer; the clocks run on, so the kernel's deadlines are over in time.
	freezeRunning freeze = iota
	// freezeSuspend: CLOCK_BOOTTIME counts on, CLOCK_MONOTONIC stands, and with it
	// the kernel's timers. After it a gate is as open as before, until the
	// agent wakes up and sees its lease over.
	freezeSuspend
	// freezeOutside: a virtual machine is paused and resumed, and its clocks know
	// nothing of it. Neither the kernel nor the agent can see it; the first
	// round that a majority refuses tells.
	freezeOutside
)

func (f freeze) String() string {
	return [...]string{"no CPU", "suspended", "paused from outside"}[f]
}

// pause stops the agent, not its kernel.
func (h *host) pause(d time.Duration) {
	if h.m == nil || h.paused {
		return
	}
	h.paused = true
	h.w.note(h.i, "agent stands still", d, -1)
	life := h.life
	h.w.queue.add(h.w.now+d, func() {
		if h.life == life && h.paused {
			h.unpause()
		}
	})
}

func (h *host) unpause() {
	h.paused = false
	h.w.note(h.i, "agent goes on", nil, -1)
	h.work()
}

// freeze stops a whole machine for a while. What arrives meanwhile waits in the
// hypervisor's queue, or is lost.
func (h *host) freeze(how freeze, d time.Duration) {
	if h.frozen {
		return
	}
	h.w.note(h.i, "machine stands still:", how, -1)
	h.w.report.Freezes++
	h.frozen, h.froze, h.frozenAt, h.deaf = true, how, h.w.now, h.w.rng.IntN(2) == 0
	if how == freezeOutside {
		h.clock.stand(h.w.now)
	}
	if how != freezeRunning {
		h.plan++ // its timers stand; thaw sets them again
	}
	for g := range h.gates {
		h.w.countOwners(g)
	}
	h.thaws++
	thaw := h.thaws
	h.w.queue.add(h.w.now+d, func() {
		if h.thaws == thaw {
			h.thaw()
		}
	})
}

// thaw ends a freeze. Where the clocks stood, the gates are as open as they were,
// perhaps beside another owner's: leases from before may be acted on until
// staleUntil, and not longer, whatever happens. See checkThaw.
func (h *host) thaw() {
	if !h.frozen {
		return
	}
	h.thaws++
	stood := h.froze != freezeRunning
	switch h.froze {
	case freezeOutside:
		h.clock.goOn(h.w.now)
	case freezeSuspend:
		h.clock.wake(h.frozenAt, h.w.now)
	}
	h.frozen = false
	h.w.note(h.i, "machine goes on", nil, -1)
	if stood {
		h.staleUntil = h.mono() + lease.Instant(h.w.o.TTL-h.w.o.TTL/10)
		if h.froze == freezeOutside {
			h.outsideUntil = h.staleUntil
		}
		if h.m != nil && h.timed {
			h.setTimer()
		}
	}
	h.w.checkThaw(h)
	h.work()
}

// stale reports whether what a host's gate rests on may be from before its clocks
// stood. Whatever was asked for since ends later. With a witness in place of a
// third voter nobody refuses: a holder goes on until it hears its peer, or either
// hears the other answer for the address, so the time itself is what bounds it.
func (h *host) stale(k gate) bool {
	if h.w.witnessed() {
		return h.staleUntil != 0 && h.mono() < h.staleUntil+lease.Instant(h.w.o.TTL)
	}
	return h.staleUntil != 0 && k.closes <= h.staleUntil
}
