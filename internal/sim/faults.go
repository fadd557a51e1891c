package sim

import (
	"fmt"

	"github.com/hbagent/hbagent/pkg/lease"
)

type faultKind int

// The kinds of faults, and of things that people and services do.
const (
	cutOneWay faultKind = iota
	cutBothWays
	isolateHost
	splitHosts
	healNetwork
	losePackets
	slowPackets
	pauseAgent
	killAgent     // back later, same boot
	restartAgent  // back at once, same boot
	resetMachine  // a boot
	resetMachines // all of them: a power cut
	transferGroup
	releaseGroup
	failHealth
	regainHealth
	revertMemory // a false alarm, as far as the machine can know
	faultKinds
)

// planFault lets something happen after a while, for as long as faults last.
// Some come in a burst: what is dangerous needs two or three in one ttl.
func (w *world) planFault() {
	every := w.ttls(w.o.Faults.Every)
	if every == 0 {
		return
	}
	if w.chance(w.o.Faults.Burst) {
		every = w.o.TTL / 20
	}
	w.queue.add(w.now+w.exp(every), func() {
		if w.ended {
			return
		}
		w.report.Faults++
		w.fault(w.drawFault())
		w.planFault()
	})
}

func (w *world) drawFault() faultKind {
	total := 0
	for _, n := range w.o.Faults.Weight {
		total += n
	}
	at := w.rng.IntN(total)
	for k, n := range w.o.Faults.Weight {
		if at < n {
			return faultKind(k)
		}
		at -= n
	}
	panic("unreachable: at is below the sum")
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

func (w *world) fault(kind faultKind) {
	f := w.o.Faults
	h := w.hosts[w.rng.IntN(w.o.Nodes)]
	g := w.rng.IntN(w.o.Groups)
	if owner := w.owner(g); owner >= 0 && w.rng.IntN(2) == 0 {
		h = w.hosts[owner] // the owner is where it hurts
	}
	o := w.hosts[(h.i+1+w.rng.IntN(w.o.Nodes-1))%w.o.Nodes] // another one
	switch kind {
	case cutOneWay:
		w.note(h.i, "is no longer heard by "+o.name, nil, -1)
		w.net.cut[h.i][o.i] = true
	case cutBothWays:
		w.note(h.i, "is cut from "+o.name, nil, -1)
		w.net.cut[h.i][o.i], w.net.cut[o.i][h.i] = true, true
	case isolateHost:
		w.note(h.i, "is cut from all", nil, -1)
		w.net.isolate(h.i)
	case splitHosts:
		w.note(-1, "network splits", nil, -1)
		w.net.split()
	case healNetwork:
		w.note(-1, "network heals", nil, -1)
		w.net.heal()
	case losePackets:
		w.net.drop = w.rng.Float64() * f.Drop
		w.note(-1, "packets are lost", fmt.Sprintf("%.2f", w.net.drop), -1)
	case slowPackets:
		w.net.slow, w.net.slowMax, w.net.dup = w.rng.Float64()*f.Slow, w.ttls(f.SlowMax), w.rng.Float64()*f.Dup
		w.note(-1, "packets are late", fmt.Sprintf("%.2f", w.net.slow), -1)
	case pauseAgent:
		h.pause(w.exp(w.o.TTL))
	case killAgent, restartAgent:
		w.stop(h, false, kind == restartAgent)
	case resetMachine:
		w.stop(h, true, w.rng.IntN(2) == 0)
	case resetMachines:
		for _, h := range w.hosts {
			w.stop(h, true, w.rng.IntN(2) == 0)
		}
	case transferGroup:
		w.transfer(h, o, g)
	case releaseGroup:
		w.release(h, g)
	case failHealth:
		h.eligible[g] = false
		h.tellEligible(g)
		if w.rng.IntN(2) == 0 {
			w.release(h, g)
		}
	case regainHealth:
		h.eligible[g] = true
		h.tellEligible(g)
	case revertMemory:
		h.offer(input{what: "may have been reverted", do: func(m *lease.Machine, now lease.Time) any {
			m.Paused(now, true)
			return nil
		}})
	}
}

// stop ends an agent, or its whole machine, and brings it back.
func (w *world) stop(h *host, machine, soon bool) {
	if h.m == nil {
		return
	}
	back := w.exp(w.o.TTL / 20)
	if !soon {
		back = w.exp(2 * w.o.TTL)
	}
	h.kill()
	if machine {
		w.note(h.i, "loses power, back after", back, -1)
		h.boot()
	} else {
		w.note(h.i, "is killed, back after", back, -1)
	}
	life := h.life
	w.queue.add(w.now+back, func() {
		if h.life == life {
			h.start()
		}
	})
}

// transfer hands a group over as `hbagent switchover` does. The run id of the
// target is what gossip says, which may be of its last boot.
func (w *world) transfer(h, to *host, g int) {
	run := to.run
	if run == 0 || w.rng.IntN(20) == 0 {
		run = lease.RunID(w.rng.Uint64())
	}
	w.handOver(h, to, run, g)
}

func (w *world) handOver(h, to *host, run lease.RunID, g int) {
	h.offer(input{what: "hands over", do: func(m *lease.Machine, now lease.Time) any {
		why := m.Transfer(now, w.groupNames[g], lease.Target{Node: to.name, RunID: run})
		return fmt.Sprintf("%s to %s %v", w.groupNames[g], to.name, why)
	}})
}

func (w *world) release(h *host, g int) {
	h.offer(input{what: "gives up", do: func(m *lease.Machine, now lease.Time) any {
		m.Release(now, w.groupNames[g], lease.ReasonReleased)
		return w.groupNames[g]
	}})
}

// planWitness lets one of two machines probe the witness, and the floating
// addresses when it wants to, every quarter of a ttl.
func (w *world) planWitness(h *host) {
	if !w.witnessed() {
		return
	}
	w.queue.add(w.now+w.o.TTL/4, func() {
		w.planWitness(h)
		if h.m == nil || h.paused {
			return
		}
		life, sent := h.life, h.clock.local(w.now)
		answer := func(after instant, in input) {
			w.queue.add(w.now+after, func() {
				if h.life == life {
					h.offer(in)
				}
			})
		}
		if !w.net.witness[h.i] && !w.chance(w.net.drop) {
			answer(w.exp(w.net.quick), input{what: "hears the witness", do: func(m *lease.Machine, now lease.Time) any {
				m.WitnessAnswered(now, sent)
				return nil
			}})
		}
		peer := w.hosts[1-h.i]
		for g, name := range w.groupNames {
			lower := h.i > peer.i
			if !h.m.WantsAddressProbe(sent, name) || lower && w.now-h.heardProbe[g] < w.o.TTL {
				continue
			}
			probed := w.now
			arp := !w.net.wire[h.i][peer.i]
			if arp {
				peer.heardProbe[g] = w.now
			}
			if arp && peer.isOpen(g) {
				continue // answered
			}
			answer(w.o.TTL/20, input{what: "hears nobody answer for", do: func(m *lease.Machine, now lease.Time) any {
				if h.heardProbe[g] >= probed-w.o.TTL/2 {
					return name + ", but the peer asks too"
				}
				m.AddressSilent(now, name, sent)
				return name
			}})
		}
	})
}
