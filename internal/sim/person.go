package sim

import (
	"fmt"

	"github.com/hbagent/hbagent/internal/agent"
	"github.com/hbagent/hbagent/pkg/lease"
)

// switchover moves a group as `hbagent switchover` does: the owner looks whether
// it can be, the target is asked, the owner hands over. Each step is an input of
// its own, and anything may happen in between.
func (w *world) switchover(owner, to *host, g int, force bool) {
	wanted := w.rng.IntN(2) == 0
	owner.offer(input{what: "is to move", do: func(m *lease.Machine, now lease.Time) any {
		if !wanted {
			name, _ := agent.BestTarget(owner.situation(g))
			if name == "" {
				return "it nowhere"
			}
			to = w.host(name)
		}
		c := &owner.claims[g]
		v, _ := m.Group(now.Boot, w.groupNames[g])
		if needed, _ := m.Quorum(); c.moving || to == owner || !c.open || !owner.peers[to.i].alive || len(v.Granted) < needed && !w.witnessed() {
			return w.groupNames[g] + ", but may not"
		}
		c.moving = true
		w.after(to, func() { w.prepare(owner, to, g, force) })
		life := owner.life
		w.queue.add(w.now+2*w.o.TTL, func() { // whatever becomes of it
			if owner.life == life {
				owner.claims[g].moving, owner.dirty = false, true
			}
		})
		return w.groupNames[g] + " to " + to.name
	}})
}

// prepare asks the target whether it can take the group.
func (w *world) prepare(owner, to *host, g int, force bool) {
	to.offer(input{what: "prepares for", do: func(*lease.Machine, lease.Time) any {
		c := &to.claims[g]
		if force {
			c.forcedUntil, to.dirty = to.clockTime().Add(forcedValid*w.o.TTL), true
		} else if !c.fitness.Eligible {
			return w.groupNames[g] + ", but " + c.fitness.Reason
		}
		w.after(owner, func() {
			owner.offer(input{what: "moves", do: func(*lease.Machine, lease.Time) any {
				done := owner.claims[g].open && owner.handOver(g, to, agent.Note(agent.CauseSwitchover, "asked for"))
				if done {
					w.report.Switchovers++
				}
				return fmt.Sprint(w.groupNames[g], " ", done)
			}})
		})
		return w.groupNames[g]
	}})
}

// after lets a call between agents take its time, if it arrives at all.
func (w *world) after(to *host, do func()) {
	life := to.life
	w.queue.add(w.now+w.exp(2*w.net.quick), func() {
		if to.life == life && !w.chance(w.net.drop*w.net.drop) {
			do()
		}
	})
}

// stopAgent is `systemctl stop` (or restart, under another supervisor): every
// group is handed over or let go of, then the agent ends.
func (w *world) stopAgent(h *host) {
	if h.m == nil || h.stopping {
		return
	}
	h.offer(input{what: "is stopped", do: func(m *lease.Machine, now lease.Time) any {
		h.stopping = true
		h.decide()
		for g, name := range w.groupNames {
			to, _ := agent.BestTarget(h.situation(g))
			if to != "" && h.claims[g].open && h.handOver(g, w.host(to), agent.Note(agent.CauseStop, "stopped")) {
				continue
			}
			m.Release(now, name, lease.ReasonReleased)
		}
		return nil
	}})
	life := h.life
	w.queue.add(w.now+w.below(2*w.o.TTL), func() {
		if h.life == life && !h.frozen {
			w.stop(h, false, false)
		}
	})
}

// transfer hands a group over without looking at anything, perhaps to a run of
// the target that is over: what the policy never does, pkg/lease must stand.
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

// setHealth lets a service fail, or work again.
func (h *host) setHealth(g int, healthy bool) {
	if h.healthy[g] == healthy {
		return
	}
	h.healthy[g] = healthy
	if h.m != nil {
		h.runCheck(g)
	}
}
