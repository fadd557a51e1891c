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
	freezeMachine  // no CPU, clocks run
	suspendMachine // the kernel's timers stand
	pauseMachine   // from outside: all its clocks stand
	jumpWall       // the wall clock is set, forward or back
	killAgent      // back later, same boot
	restartAgent   // back at once, same boot
	stopAgent      // orderly, back later
	resetMachine   // a boot
	resetMachines  // all of them: a power cut
	transferGroup  // without asking anybody
	releaseGroup
	moveGroup // a planned switchover
	forceGroup
	failHealth
	failEverywhere // the same fate for all
	regainHealth
	revertMemory // a false alarm, as far as the machine can know
	changeVoters
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
	case freezeMachine, suspendMachine, pauseMachine:
		h.freeze(freeze(kind-freezeMachine), w.exp(w.ttls([]float64{0.3, 2, 2, 5}[w.rng.IntN(4)])))
	case jumpWall:
		h.clock.wall += w.within([]int64{2, 60, 86_400}[w.rng.IntN(3)])
		w.note(h.i, "has its wall clock set, off by", h.clock.wall-w.unix, -1)
	case stopAgent:
		w.stopAgent(h)
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
	case moveGroup, forceGroup:
		w.switchover(h, o, g, kind == forceGroup)
	case failHealth:
		h.setHealth(g, false)
	case failEverywhere:
		for _, h := range w.hosts {
			h.setHealth(g, false)
		}
	case regainHealth:
		for _, h := range w.hosts {
			h.setHealth(g, h.healthy[g] || w.rng.IntN(2) == 0)
		}
	case changeVoters:
		w.changeVoters()
	case revertMemory:
		h.offer(input{what: "may have been reverted", do: func(m *lease.Machine, now lease.Time) any {
			m.Paused(now, true)
			return nil
		}})
	}
}

// stop ends an agent, or its whole machine, and brings it back.
func (w *world) stop(h *host, machine, soon bool) {
	if h.m == nil || h.frozen && !machine {
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
	w.comeBack(h, back)
}

// comeBack starts an agent again, once its machine runs.
func (w *world) comeBack(h *host, after instant) {
	life := h.life
	w.queue.add(w.now+after, func() {
		switch {
		case h.life != life || h.m != nil:
		case h.frozen:
			w.comeBack(h, w.o.TTL/10)
		default:
			h.start()
		}
	})
}
