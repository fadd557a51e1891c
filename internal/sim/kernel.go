package sim

import (
	"slices"

	"github.com/hbagent/hbagent/pkg/lease"
)

// gate is the kernel's: it shuts by itself at its deadline, whatever the agent
// is doing.
type gate struct {
	set    bool
	epoch  lease.Epoch
	closes instant // until, in world time
}

// isOpen reports whether a host may speak for a group right now.
func (h *host) isOpen(g int) bool {
	k := h.gates[g]
	return k.set && (h.w.now < k.closes || h.w.o.Break == NoGate)
}

func (h *host) group(name string) int { return slices.Index(h.w.groupNames, name) }

// open looks at the clock again, as the contract of lease.Open asks.
func (h *host) open(e lease.Open) {
	g := h.group(e.Group)
	until := h.breakUntil(e.Until)
	if until <= h.clock.local(h.w.now) {
		h.w.note(h.i, "is too late to open", e, -1)
		h.confirm()
		return
	}
	h.w.note(h.i, "OPENS", e, -1)
	h.w.checkEpoch(h, g, e)
	h.gates[g] = gate{set: true, epoch: e.Epoch, closes: h.clock.world(until)}
	h.w.checkOwner(h, g)
}

func (h *host) renew(e lease.Renew) {
	g := h.group(e.Group)
	until := h.breakUntil(e.Until)
	switch {
	case until <= h.clock.local(h.w.now), !h.isOpen(g) && h.w.o.Faults.Strict:
		h.w.note(h.i, "is too late to renew", e, -1)
		h.confirm()
		return
	case !h.isOpen(g):
		h.w.groups[g].gaps++
	}
	h.w.note(h.i, "renews", e, -1)
	h.gates[g] = gate{set: true, epoch: e.Epoch, closes: h.clock.world(until)}
	h.w.checkOwner(h, g)
}

// confirm is what the agent does when the kernel refuses a gate: it has stood
// still for too long, so it asks the voters.
func (h *host) confirm() {
	h.inbox = slices.Insert(h.inbox, 0, input{what: "was late", do: func(m *lease.Machine, now lease.Time) any {
		m.Paused(now, false)
		return nil
	}})
}

func (h *host) shut(e lease.Shut) {
	h.w.note(h.i, "shuts", e, -1)
	if h.w.o.Break != ShutIgnored {
		h.gates[h.group(e.Group)] = gate{}
	}
}
