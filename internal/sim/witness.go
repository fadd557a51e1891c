package sim

import "github.com/hbagent/hbagent/pkg/lease"

// planWitness lets one of two machines probe the witness, and the floating
// addresses when it wants to, every quarter of a ttl.
func (w *world) planWitness(h *host) {
	if !w.witnessed() {
		return
	}
	w.queue.add(w.now+w.o.TTL/4, func() {
		w.planWitness(h)
		if h.m == nil || h.paused || h.frozen {
			return
		}
		if !w.net.witness[h.i] && !w.chance(w.net.drop) {
			h.hearWitness()
		}
		peer := w.hosts[1-h.i]
		for g := range w.groupNames {
			h.probe(peer, g)
			h.watch(peer, g)
		}
	})
}

// later offers the agent something that a probe has found, if it is still the
// same agent.
func (h *host) later(after instant, in input) {
	life := h.life
	h.w.queue.add(h.w.now+after, func() {
		if h.life == life && !(h.frozen && h.deaf) {
			h.offer(in)
		}
	})
}

func (h *host) hearWitness() {
	sent := h.clock.local(h.w.now)
	h.later(h.w.exp(h.w.net.quick), input{what: "hears the witness", do: func(m *lease.Machine, now lease.Time) any {
		m.WitnessAnswered(now, sent)
		return nil
	}})
}

// probe asks whether anybody answers for a group's addresses.
func (h *host) probe(peer *host, g int) {
	w, name, sent := h.w, h.w.groupNames[g], h.clock.local(h.w.now)
	lower := h.i > peer.i
	if !h.m.WantsAddressProbe(sent, name) || lower && w.now-h.heardProbe[g] < w.o.TTL {
		return
	}
	probed := w.now
	arp := !w.net.wire[h.i][peer.i] && !peer.frozen
	if arp {
		peer.heardProbe[g] = w.now
	}
	if arp && peer.isOpen(g) {
		return // answered
	}
	h.later(w.o.TTL/20, input{what: "hears nobody answer for", do: func(m *lease.Machine, now lease.Time) any {
		if h.heardProbe[g] >= probed-w.o.TTL/2 {
			return name + ", but the peer asks too"
		}
		m.AddressSilent(now, name, sent)
		return name
	}})
}

// watch is the conflict watch of a held address: what the other one announces is
// heard.
func (h *host) watch(peer *host, g int) {
	if !h.isOpen(g) || !peer.isOpen(g) || h.w.net.wire[peer.i][h.i] {
		return
	}
	h.later(h.w.exp(h.w.net.quick), input{what: "hears the peer answer for", do: func(m *lease.Machine, now lease.Time) any {
		m.AddressConflict(now, h.w.groupNames[g], h.i > peer.i)
		return h.w.groupNames[g]
	}})
}
