package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hbagent/hbagent/pkg/lease"
)

// host is a machine: its kernel (clock, gates), its disks, and the agent that
// runs on it, which drives one lease.Machine as the real agent does.
type host struct {
	w          *world
	i          int
	name       string
	clock      clock
	gates      []gate    // per group; the kernel's, so they outlive the agent
	heardProbe []instant // per group: when the peer last asked for its addresses; two machines only

	// Kept over a restart of the agent, lost by a boot.
	record *lease.Record
	old    []*lease.Record // earlier ones, oldest first, for RecordStale
	run    lease.RunID
	booted instant
	// Kept over a boot.
	lastTTL time.Duration
	starts  uint64

	// The agent; m is nil while it is down. life tells events for an earlier
	// run from those for this one.
	m        *lease.Machine
	life     uint64
	eligible []bool
	inbox    []input
	pending  []lease.Effect
	slow     bool // this batch is interrupted between any two effects
	waiting  bool // an interruption is under way
	paused   bool
	pausedAt instant
	planned  lease.Instant // the deadline for which a wake-up is planned
	plan     uint64
}

// input is something that the agent's one goroutine will take up. What do
// returns is shown in the trace.
type input struct {
	what string
	do   func(m *lease.Machine, now lease.Time) any
}

// maxInbox bounds what waits for a stalled agent, as a socket buffer does.
const maxInbox = 1024

func (h *host) now() lease.Time { return h.clock.time(h.w.now) }

// boot gives the machine a new kernel: new clock, shut gates, empty /run.
func (h *host) boot() {
	h.booted = h.w.now
	h.clock = clock{
		booted: h.w.now, base: lease.Instant(time.Second) + lease.Instant(h.w.below(time.Minute)),
		ppm: h.w.within(h.w.o.Faults.Drift), unix: h.w.unix + h.w.within(h.w.o.Faults.Wall),
	}
	for g := range h.gates {
		h.gates[g] = gate{}
	}
	h.record, h.old, h.run = nil, nil, 0
}

// start runs the agent, after boot or again in the same boot.
func (h *host) start() {
	h.starts++
	h.life++
	record := h.record
	if record == nil {
		h.run = lease.RunID(h.w.rng.Uint64() | 1) // it is kept in the record
	}
	cfg := lease.Config{
		Cluster: "shop", Node: h.name, RunID: h.run, Nodes: h.w.names, Voters: h.w.names[:h.w.o.Voters], Generation: 1,
		TTL: h.w.o.TTL, Groups: h.w.groupNames, Incarnation: h.starts, Record: record, LastTTL: h.lastTTL,
		Witness: h.w.witnessed(), Rand: rand.New(rand.NewPCG(h.w.rng.Uint64(), h.starts)),
	}
	h.breakConfig(&cfg)
	m, err := lease.New(h.now(), cfg)
	if err != nil {
		h.w.fail(err)
		return
	}
	h.m, h.lastTTL = m, h.w.o.TTL
	h.w.note(h.i, "starts", h.clock, boolInt(record != nil))
	h.pending = m.Effects()
	for g := range h.eligible {
		h.tellEligible(g)
	}
	h.work()
}

// kill ends the agent. Its kernel keeps the gates, until their deadline.
func (h *host) kill() {
	h.life++
	h.m, h.inbox, h.pending, h.waiting, h.paused, h.planned = nil, nil, nil, false, false, 0
}

// offer hands the agent an input; it waits while the agent stands still.
func (h *host) offer(in input) {
	if h.m == nil || len(h.inbox) >= maxInbox {
		return
	}
	h.inbox = append(h.inbox, in)
	h.work()
}

// work is the agent's loop: an input, then its effects in order, then the next.
func (h *host) work() {
	for h.m != nil && !h.paused && !h.waiting && h.w.err == nil {
		switch {
		case len(h.pending) > 0 && h.slow:
			h.interrupt()
			return
		case len(h.pending) > 0:
			h.effect()
		case len(h.inbox) > 0:
			in := h.inbox[0]
			h.inbox = h.inbox[1:]
			h.handle(in)
		default:
			h.planTick()
			return
		}
	}
}

func (h *host) handle(in input) {
	arg := in.do(h.m, h.now())
	h.w.note(h.i, in.what, arg, -1)
	h.m.Check()
	h.pending = h.m.Effects()
	broken := h.breakOrder(h.pending)
	h.slow = len(h.pending) > 0 && (h.w.chance(h.w.stall) || broken)
}

// effect carries out the next one.
func (h *host) effect() {
	e := h.pending[0]
	h.pending = h.pending[1:]
	switch e := e.(type) {
	case lease.Shut:
		h.shut(e)
	case lease.Persist:
		h.w.note(h.i, "writes", e.Record, -1)
		h.old = append(h.old[max(0, len(h.old)-2):], h.record)
		h.record = &e.Record
	case lease.Open:
		h.open(e)
	case lease.Renew:
		h.renew(e)
	case lease.Send:
		h.w.checkSend(h, e.Message)
		h.w.net.send(h, slices.Index(h.w.names, e.To), e.Message)
	}
}

// interrupt lets time pass before the next effect: the process was scheduled
// away, or a system call took its time.
func (h *host) interrupt() {
	d := h.w.exp(h.w.o.TTL / 500)
	if h.w.chance(0.2) {
		d += h.w.below(h.w.stallMax)
	}
	h.waiting = true
	life := h.life
	h.w.quiet = max(h.w.quiet, h.w.now+d)
	if !h.w.ended && h.w.chance(h.breakFatal()) {
		h.w.stop(h, false, h.w.chance(0.7))
		return
	}
	h.w.queue.add(h.w.now+d, func() {
		if h.life != life {
			return
		}
		h.waiting = false
		if h.paused {
			return
		}
		h.effect()
		h.work()
	})
}

// planTick wakes the agent at its next deadline, a little late as timers are.
func (h *host) planTick() {
	at, ok := h.m.NextDeadline()
	if !ok || at == h.planned {
		return
	}
	h.planned = at
	h.plan++
	plan, life := h.plan, h.life
	late := h.w.exp(100 * time.Microsecond)
	h.w.queue.add(max(h.clock.world(at), h.w.now)+late, func() {
		if h.life != life || h.plan != plan {
			return
		}
		h.planned = 0
		h.offer(input{what: "ticks", do: h.tick})
	})
}

func (h *host) tick(m *lease.Machine, now lease.Time) any {
	m.Tick(now)
	if next, ok := m.NextDeadline(); ok && next <= now.Boot {
		h.w.fail(fmt.Errorf("invariant 5: %s ticked at %d and wants to tick again at %d", h.name, now.Boot, next))
	}
	return nil
}

// pause stops the agent, not its kernel.
func (h *host) pause(d time.Duration) {
	if h.m == nil || h.paused {
		return
	}
	h.paused, h.pausedAt = true, h.w.now
	h.w.note(h.i, "stands still", d, -1)
	life := h.life
	h.w.queue.add(h.w.now+d, func() {
		if h.life == life {
			h.unpause()
		}
	})
}

func (h *host) unpause() {
	if !h.paused {
		return
	}
	h.paused = false
	h.w.note(h.i, "goes on", nil, -1)
	// What interrupted batches still hold is carried out first, and then,
	// whatever is next, the loop sees its clocks.
	if gap := h.w.now - h.pausedAt; gap > h.w.o.TTL/4 && !h.w.chance(h.w.o.Faults.Unseen) {
		h.inbox = slices.Insert(h.inbox, 0, input{what: "was paused", do: func(m *lease.Machine, now lease.Time) any {
			m.Paused(now, false)
			return nil
		}})
	}
	h.work()
}

// tellEligible passes a node's health on, with the number of better ones.
func (h *host) tellEligible(g int) {
	rank := 0
	for _, o := range h.w.hosts[:h.i] {
		if o.m != nil && o.eligible[g] {
			rank++
		}
	}
	eligible := h.eligible[g]
	h.offer(input{what: "is eligible", do: func(m *lease.Machine, now lease.Time) any {
		m.SetEligible(now, h.w.groupNames[g], eligible, rank)
		return fmt.Sprint(h.w.groupNames[g], " ", eligible, " rank ", rank)
	}})
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
