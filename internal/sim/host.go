package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hbagent/hbagent/pkg/lease"
)

// host is a machine: its kernel (clocks, gates), its disks, and the agent that
// runs on it, which drives one lease.Machine as internal/agent does.
type host struct {
	w          *world
	i          int
	name       string
	clock      clock
	gates      []gate    // per group; the kernel's, so they outlive the agent
	heardProbe []instant // per group: when the peer last asked for its addresses; two machines only
	healthy    []bool    // per group: whether its service works here

	// Kept over a restart of the agent, lost by a boot.
	record *lease.Record
	old    []*lease.Record // earlier ones, oldest first, for RecordStale
	run    lease.RunID
	booted instant
	// Kept over a boot.
	lastTTL   time.Duration
	starts    uint64
	gen       int     // version of the list of voters in force
	file      int     // version of the config file: in force, or the next one
	changedAt instant // when a list was last loaded

	// The machine as a whole: see pause.go.
	frozen       bool
	deaf         bool // what arrives meanwhile is lost
	frozenAt     instant
	froze        freeze
	thaws        uint64
	staleUntil   lease.Instant // CLOCK_MONOTONIC: leases up to here may be from before the clocks stood
	outsideUntil lease.Instant // the same, after the last pause from outside

	// The agent; m is nil while it is down. life tells events for an earlier
	// run from those for this one.
	m       *lease.Machine
	life    uint64
	inbox   []input
	pending []lease.Effect
	tx      *transaction
	slow    bool // this batch is interrupted between any two steps
	broken  bool // it is slow because its order is wrong: long stalls would hide what that does
	read    int  // version of the config file when the agent started
	waiting bool // an interruption is under way
	rested  bool // an interruption is over, and the next step is due
	rounds  int  // how often the policy has decided since the last input
	acted   bool // something was done since the timer was set
	paused  bool
	timed   bool          // a wake-up is planned
	planned lease.Instant // CLOCK_BOOTTIME: for which deadline
	wakeAt  lease.Instant // CLOCK_MONOTONIC: when it fires
	plan    uint64
	due     lease.Instant // CLOCK_BOOTTIME at which the agent was to wake up, 0 when unset
	slept   lease.Instant // what the agent has seen of clock.slept
	policy
	mistakes
}

// input is something that the agent's one goroutine will take up. What do
// returns is shown in the trace; what has no name is not shown.
type input struct {
	what string
	do   func(m *lease.Machine, now lease.Time) any
}

// maxInbox bounds what waits for a stalled agent, as a socket buffer does.
const maxInbox = 1024

// maxRounds bounds how often the policy may decide between two inputs: it has
// come to rest by then, in internal/agent's loop too.
const maxRounds = 16

func (h *host) now() lease.Time     { return h.clock.time(h.w.now) }
func (h *host) mono() lease.Instant { return h.clock.mono(h.w.now) }

// boot gives the machine a new kernel: new clocks, shut gates, empty /run.
func (h *host) boot() {
	h.booted = h.w.now
	h.frozen, h.staleUntil, h.outsideUntil = false, 0, 0
	h.thaws++
	h.clock = clock{
		since: h.w.now, boot: lease.Instant(time.Second) + lease.Instant(h.w.below(time.Minute)),
		ppm: h.w.within(h.w.o.Faults.Drift), wall: h.w.unix + h.w.within(h.w.o.Faults.Wall),
	}
	for g := range h.gates {
		h.gates[g] = gate{}
		h.w.countOwners(g)
	}
	if h.breakBoot() {
		return
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
	h.readFile()
	list := h.list()
	cfg := lease.Config{
		Cluster: "shop", Node: h.name, RunID: h.run, Nodes: h.w.names, Voters: list.voters, Generation: list.generation,
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
	h.slept, h.due = h.clock.slept, 0
	h.w.note(h.i, "starts", h.clock, boolInt(record != nil))
	h.resetPolicy()
	h.work()
}

// kill ends the agent. Its kernel keeps the gates, until their deadline.
func (h *host) kill() {
	h.life++
	h.m, h.inbox, h.pending, h.tx, h.waiting, h.rested, h.paused, h.timed = nil, nil, nil, nil, false, false, false, false
	for g := range h.claims {
		h.claims[g].open = false
	}
}

// offer hands the agent an input; it waits while the agent stands still.
func (h *host) offer(in input) {
	if h.m == nil || len(h.inbox) >= maxInbox {
		return
	}
	h.inbox = append(h.inbox, in)
	h.work()
}

// work is the agent's loop: an input, then its effects in order, then what the
// policy makes of it, then the next.
func (h *host) work() {
	for h.m != nil && !h.paused && !h.frozen && !h.waiting && h.w.err == nil {
		acted := true
		switch {
		case h.tx != nil || len(h.pending) > 0:
			if h.slow && !h.rested {
				h.interrupt()
				return
			}
			h.rested = false
			h.act()
		case h.collect():
		case h.dirty:
			h.dirty = false
			h.loadWaiting()
			h.decide()
			if h.rounds++; h.rounds > maxRounds {
				h.w.fail(fmt.Errorf("liveness: the policy of %s does not come to rest", h.name))
			}
		case len(h.inbox) > 0:
			if h.lookAtClock() {
				continue
			}
			h.rounds = 0
			in := h.inbox[0]
			h.inbox = h.inbox[1:]
			arg := in.do(h.m, h.now())
			if in.what != "" {
				h.w.note(h.i, in.what, arg, -1)
			}
		case h.acted:
			h.publish()
			h.planTick()
			acted = false
		default:
			return // it waits as before: what its clocks say is not looked at
		}
		h.acted = acted
	}
}

// collect takes the next batch of effects, and draws whether it is a slow one.
func (h *host) collect() bool {
	h.pending = h.m.Effects()
	if len(h.pending) == 0 {
		return false
	}
	h.m.Check()
	h.broken = h.breakOrder(h.pending)
	h.slow, h.rested = h.w.chance(h.w.stall) || h.broken, false
	return true
}

// lookAtClock does what internal/agent does before each input: a wake-up that
// comes late, or a clock that was suspended, means that gates are shut first
// and the voters asked second. Some pauses are not seen: safety must not rest on
// that.
func (h *host) lookAtClock() bool {
	now, limit := h.now(), lease.Instant(h.w.o.TTL/4)
	late := h.due != 0 && now.Boot-h.due >= limit
	asleep := h.clock.slept-h.slept >= limit
	h.slept = h.clock.slept
	if !late && !asleep {
		return false
	}
	h.due = 0
	if h.w.chance(h.w.o.Faults.Unseen) {
		return false
	}
	h.w.note(h.i, "was paused", asleep, -1)
	h.m.Paused(now, asleep)
	return true
}

// act carries out the next step of the next effect.
func (h *host) act() {
	if h.tx != nil {
		tx := h.tx
		if h.advance(tx) {
			h.tx = nil
		} else if !h.slow {
			h.act() // nothing comes between its steps
		}
		return
	}
	e := h.pending[0]
	h.pending = h.pending[1:]
	switch e := e.(type) {
	case lease.Shut:
		h.shut(e)
	case lease.Persist:
		h.w.note(h.i, "writes", e.Record, -1)
		h.old = append(h.old[max(0, len(h.old)-2):], h.record)
		h.record = &e.Record
		h.dirty = true
	case lease.Open:
		h.tx = &transaction{g: h.group(e.Group), epoch: e.Epoch, until: h.breakUntil(e.Until), open: &e, effect: e}
		h.act()
	case lease.Renew:
		h.tx = &transaction{g: h.group(e.Group), epoch: e.Epoch, until: h.breakUntil(e.Until), effect: e}
		h.act()
	case lease.Send:
		h.w.checkSend(h, &e.Message)
		h.breakSend(&e.Message)
		h.w.net.send(h, slices.Index(h.w.names, e.To), &e.Message)
	}
}

// interrupt lets time pass before the next step: the process was scheduled away,
// or a system call took its time.
func (h *host) interrupt() {
	d := h.w.exp(h.w.o.TTL / 500)
	if h.w.chance(0.2) && !h.broken {
		d += h.w.below(h.w.stallMax)
	}
	if h.w.o.Break == TokenUncounted && h.tx != nil && h.tx.stage == 2 {
		d = h.w.below(tokenLife(h.w.o.TTL)) // the one moment at which it matters
	}
	h.waiting = true
	life := h.life
	h.w.quiet = max(h.w.quiet, h.w.now+d)
	if !h.w.ended && h.w.chance(h.breakFatal()) {
		h.breakDeath()
		h.w.stop(h, false, h.w.chance(0.7))
		return
	}
	h.w.queue.add(h.w.now+d, func() {
		if h.life == life {
			h.waiting, h.rested = false, true
			h.work()
		}
	})
}

// planTick wakes the agent at its next deadline. The timer runs in
// CLOCK_MONOTONIC, as Go's do, whatever clock the deadline is in.
func (h *host) planTick() {
	at, ok := h.m.NextDeadline()
	if !ok {
		h.due, h.timed = 0, false
		h.plan++
		return
	}
	now := h.clock.local(h.w.now)
	h.due = max(at, now)
	if h.timed && at == h.planned {
		return
	}
	h.timed, h.planned = true, at
	h.wakeAt = h.mono() + h.due - now
	h.setTimer()
}

// setTimer sets the timer, a little late as timers are. It is set again when the
// clocks have stood.
func (h *host) setTimer() {
	h.plan++
	plan, life := h.plan, h.life
	late := h.w.exp(100 * time.Microsecond)
	h.w.queue.add(max(h.clock.world(h.wakeAt+h.clock.slept), h.w.now)+late, func() {
		if h.life != life || h.plan != plan {
			return
		}
		h.timed = false
		h.offer(input{what: "ticks", do: h.tick})
	})
}

func (h *host) tick(m *lease.Machine, now lease.Time) any {
	m.Tick(now)
	m.Check()
	if next, ok := m.NextDeadline(); ok && next <= now.Boot {
		h.w.fail(fmt.Errorf("invariant 5: %s ticked at %d and wants to tick again at %d", h.name, now.Boot, next))
	}
	return nil
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
