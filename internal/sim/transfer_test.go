package sim

import (
	"fmt"
	"testing"
	"time"
)

// TestPlannedMoves hands groups around in a world where nothing fails except
// that the wall clocks disagree by up to an hour and that some packets are
// lost: each move must be over within ttl/4, with no other node in between.
func TestPlannedMoves(t *testing.T) {
	for seed := uint64(1); seed <= 40; seed++ {
		for _, drop := range []float64{0, 0.1} {
			t.Run(fmt.Sprintf("seed=%d/drop=%v", seed, drop), func(t *testing.T) {
				planMoves(t, seed, drop)
			})
		}
	}
}

func planMoves(t *testing.T, seed uint64, drop float64) {
	o := Options{Nodes: 3 + int(seed%3), Groups: 2, TTL: time.Second, Faults: &Faults{Drift: 10_000, Wall: 3600}}
	w := calmWorld(seed, o)
	w.net.drop = drop
	for move := range 20 {
		g := move % o.Groups
		from := w.owner(g)
		if from < 0 {
			t.Fatalf("move %d: nobody owns %s", move, w.groupNames[g])
		}
		to := w.hosts[(from+1+w.rng.IntN(o.Nodes-1))%o.Nodes]
		opens := w.groups[g].opens
		w.handOver(w.hosts[from], to, to.run, g)
		w.run(w.now + o.TTL/4)
		if got := w.owner(g); w.err != nil || got != to.i || w.groups[g].opens != opens+1 {
			t.Fatalf("move %d of %s from %d to %d: owner %d, %d opened, %v\n%s", move, w.groupNames[g], from, to.i, got, w.groups[g].opens-opens, w.err, w.trace.text())
		}
		w.run(w.now + w.below(2*o.TTL))
	}
}
