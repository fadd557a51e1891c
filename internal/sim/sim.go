package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"time"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/pkg/lease"
)

// world is one run: everything in it happens on one goroutine, in the order of
// the queue.
type world struct {
	o          Options
	seed       uint64
	rng        *rand.Rand
	now        instant
	unix       int64
	queue      queue
	hosts      []*host
	names      []string
	groupNames []string
	groups     []groupState
	configs    []config.Group // by group
	lists      []voterList    // of the config file, by version
	net        *network
	stall      float64
	stallMax   time.Duration
	quiet      instant // when the last interruption of a batch ends
	ended      bool    // no more faults
	trace      trace
	hash       hash
	report     Report
	err        error
}

// ErrViolation is wrapped by every error of Run that says that the code under
// test, and not the Options, is wrong.
var ErrViolation = errors.New("sim: violation")

// Run simulates one cluster: faults for Options.Chaos, then a healed world. The
// error names what was violated and the seed, and ends with the last events.
// Runs share nothing, and may go on in parallel.
func Run(seed uint64, o Options) (report Report, err error) {
	w := &world{seed: seed, rng: rand.New(rand.NewPCG(seed, 0x6862)), hash: newHash()}
	w.o = drawOptions(w.rng, o)
	if err := w.o.validate(); err != nil {
		return Report{Seed: seed}, err
	}
	defer func() {
		if r := recover(); r != nil {
			var v *lease.Violation
			if e, ok := r.(error); ok && errors.As(e, &v) {
				w.fail(v)
			} else {
				w.fail(fmt.Errorf("invariant 5: panic: %v\n%s", r, debug.Stack()))
			}
		}
		report, err = w.finish()
	}()
	w.build()
	w.planFault()
	w.sample()
	w.run(w.o.Chaos)
	w.heal()
	return
}

func (w *world) build() {
	f := w.o.Faults
	if w.o.Break == WildClocks {
		wild := *f
		wild.Drift = 200_000
		w.o.Faults, f = &wild, &wild
	}
	w.trace = trace{keep: w.o.Last, out: w.o.Trace, world: w}
	w.unix = 1_700_000_000
	w.stall, w.stallMax = f.Stall, w.ttls(f.StallMax)
	for i := range w.o.Nodes {
		w.names = append(w.names, string(rune('a'+i)))
	}
	w.drawGroups()
	w.lists = []voterList{{1, w.names[:w.o.Voters]}}
	w.net = newNetwork(w)
	for i, name := range w.names {
		h := &host{w: w, i: i, name: name, gates: make([]gate, w.o.Groups), healthy: make([]bool, w.o.Groups), heardProbe: make([]instant, w.o.Groups)}
		w.hosts = append(w.hosts, h)
		for g := range h.healthy {
			h.heardProbe[g] = -time.Hour
			h.healthy[g] = w.rng.IntN(8) > 0
		}
	}
	for _, h := range w.hosts {
		w.queue.add(w.below(w.o.TTL), func() {
			h.boot()
			h.start()
		})
		w.planWitness(h)
		w.planGossip(h)
	}
}

// run lets the world go on until end.
func (w *world) run(end instant) {
	for w.err == nil {
		e, ok := w.queue.next(end)
		if !ok {
			w.now = max(w.now, end)
			return
		}
		w.now = e.at
		w.report.Events++
		e.do()
	}
}

// fail ends the run; the first failure is the one that counts.
func (w *world) fail(err error) {
	if w.err == nil {
		w.err = err
		w.note(-1, "!!! "+err.Error(), nil, -1)
	}
}

func (w *world) finish() (Report, error) {
	w.report.Seed, w.report.Simulated, w.report.Hash = w.seed, w.now, w.hash.sum
	w.report.Shape = fmt.Sprintf("%d nodes, %d voters, %d groups, ttl %v", w.o.Nodes, w.o.Voters, w.o.Groups, w.o.TTL)
	if w.err == nil {
		return w.report, nil
	}
	return w.report, fmt.Errorf("%w: seed %d (%s): %w\nthe last events:\n%s", ErrViolation, w.seed, w.report.Shape, w.err, w.trace.text())
}

func (w *world) host(name string) *host { return w.hosts[slices.Index(w.names, name)] }

func (w *world) witnessed() bool { return w.o.Nodes == 2 }

// The draws. All come from the one source, in the order of events.

func (w *world) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

func (w *world) below(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(w.rng.Int64N(int64(d)))
}

// within returns a number from -n to n.
func (w *world) within(n int64) int64 { return w.rng.Int64N(2*n+1) - n }

func (w *world) exp(mean time.Duration) time.Duration {
	return time.Duration(w.rng.ExpFloat64() * float64(mean))
}

func (w *world) ttls(x float64) time.Duration { return time.Duration(x * float64(w.o.TTL)) }
