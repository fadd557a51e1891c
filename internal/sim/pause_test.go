package sim

import (
	"math/rand/v2"
	"testing"
	"time"
)

// calmWorld is a cluster with owners, in which nothing fails, and whose packets
// are as quick as on one segment.
func calmWorld(seed uint64, o Options) *world {
	w := &world{seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), hash: newHash()}
	w.o = drawOptions(w.rng, o)
	w.build()
	w.net.quick = w.o.TTL / 1000
	for g := range w.configs {
		w.configs[g].Hold, w.configs[g].Failback, w.configs[g].Nodes = 0, false, w.names
	}
	w.run(5 * w.o.TTL)
	w.calm()
	w.run(w.now + 5*w.o.TTL)
	return w
}

// TestClocksThatStand freezes an owner for long enough that another one takes
// over, and looks at how long both answer when it goes on.
//
// With clocks that run there is no such time. After a suspend it ends when the
// agent next wakes up, since CLOCK_BOOTTIME tells it. After a pause from outside
// it ends with the first round that a majority refuses: a renewal interval and a
// round trip.
func TestClocksThatStand(t *testing.T) {
	const renewal, slack = 1.0 / 3, 1.0 / 50 // in ttl; slack: packets, timers
	for _, tt := range []struct {
		how   freeze
		bound float64 // in ttl
		min   int     // how often it must have been seen, of 300
	}{
		{freezeRunning, 0, 0},
		{freezeSuspend, renewal + slack, 30},
		{freezeOutside, renewal + slack, 30},
	} {
		t.Run(tt.how.String(), func(t *testing.T) {
			longest, sum, seen := 0.0, 0.0, 0
			for seed := uint64(1); seed <= 300; seed++ {
				w := calmWorld(seed, Options{Nodes: 3 + int(seed%3), Groups: 1, TTL: time.Second, Faults: &Faults{Drift: 20_000, Wall: 3600}})
				h := w.hosts[w.owner(0)]
				h.freeze(tt.how, 2*w.o.TTL+w.below(w.o.TTL))
				w.run(w.now + 6*w.o.TTL)
				r, err := w.finish()
				if err != nil {
					t.Fatal(err)
				}
				if w.owner(0) == h.i {
					t.Fatalf("seed %d: nobody took over", seed)
				}
				if r.Overlaps > 0 {
					seen, sum, longest = seen+1, sum+r.Overlap, max(longest, r.Overlap)
				}
			}
			t.Logf("%v: two owners after %d of 300 pauses, for %.3f ttl on average, %.3f ttl at most (bound %.3f)", tt.how, seen, sum/max(1, float64(seen)), longest, tt.bound)
			if longest > tt.bound || seen < tt.min {
				t.Errorf("two owners for %.3f ttl, at most %.3f are allowed; seen %d times, %d expected", longest, tt.bound, seen, tt.min)
			}
		})
	}
}

// TestWhatEndsIt: refusals and the later owner's renewals each end a lease from before the pause, and without both
// it is used up, which the bound above must not allow.
func TestWhatEndsIt(t *testing.T) {
	for mistake, used := range map[Breakage]bool{RefusalsUnread: false, OwnersUnread: false, NewsUnread: true} {
		longest := 0.0
		for seed := uint64(1); seed <= 20; seed++ {
			w := calmWorld(seed, Options{Nodes: 3, Groups: 1, TTL: time.Second, Break: mistake, Faults: &Faults{}})
			w.hosts[w.owner(0)].freeze(freezeOutside, 3*w.o.TTL)
			w.run(w.now + 6*w.o.TTL)
			longest = max(longest, w.report.Overlap)
		}
		if longest == 0 || used != (longest > 0.5) {
			t.Errorf("%s: two owners for %.3f ttl at most, used up: want %v", mistake, longest, used)
		}
		t.Logf("%s: two owners for %.3f ttl", mistake, longest)
	}
}
