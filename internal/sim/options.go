package sim

import (
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/hbagent/hbagent/pkg/lease"
)

// Options shape a run. What is zero is drawn from the seed.
type Options struct {
	Nodes  int           // 2 means two machines and a witness
	Voters int           // at most Nodes; the first ones vote
	Groups int           // 1 to 3
	TTL    time.Duration // of the lease
	Chaos  time.Duration // how long faults happen, before everything heals
	Faults *Faults       // nil: a mix drawn from the seed
	Break  Breakage      // a deliberate mistake of the driver; None outside tests of the simulator
	Trace  io.Writer     // every event is written here as it happens
	Last   int           // events kept for the error of a failed run; 0 means 120
}

// Faults says how bad the world is. Probabilities are from 0 to 1, durations in
// units of the ttl unless they say otherwise.
type Faults struct {
	Every    float64 // mean time between two faults, in ttl; 0: none
	Burst    float64 // share of faults that follow another at once
	Drop     float64 // the worst share of datagrams that a bad spell drops
	Dup      float64 // share of datagrams that arrive twice
	Slow     float64 // share of datagrams that take up to SlowMax, in any order
	SlowMax  float64 // in ttl
	Stall    float64 // share of batches that are interrupted between two effects
	StallMax float64 // in ttl
	Fatal    float64 // share of interruptions during which the agent is killed
	Drift    int64   // clocks' rate error, +- parts per million
	Wall     int64   // wall clocks' offset, +- seconds
	Unseen   float64 // share of pauses that the agent does not notice
	Weight   [faultKinds]int
}

// Report tells what a run did.
type Report struct {
	Seed        uint64
	Shape       string        // of the cluster, for people
	Simulated   time.Duration // world time
	Events      int
	Datagrams   int // sent, including those that got lost
	Faults      int
	Opens       int     // gates opened
	Moves       int     // of those, by another node than before
	Switchovers int     // planned moves that were begun
	Reloads     int     // voter lists loaded
	Freezes     int     // whole machines that stood still
	Refused     int     // gates that the kernel refused
	Revived     int     // leases that a machine whose clocks stood brought back below a later epoch
	Overlaps    int     // times that two machines owned a group, excused by clocks that stood
	Overlap     float64 // the longest of them, in ttl
	Samples     int     // how often each group was looked at while faults happened
	Owned       int     // how often it had an owner then
	HealedTTLs  float64 // from the end of the faults, and of what the policy waits for, until each group had its lasting owner
	Hash        uint64  // of everything that happened
}

// drawOptions fills what is zero from the seed's randomness. It always draws
// everything, so that setting one field does not change the others.
func drawOptions(rng *rand.Rand, o Options) Options {
	nodes := []int{2, 3, 3, 3, 4, 5, 5, 7}[rng.IntN(8)]
	ttl := []time.Duration{100 * time.Millisecond, 300 * time.Millisecond, time.Second, time.Second, 3 * time.Second}[rng.IntN(5)]
	groups := 1 + rng.IntN(3)
	fewer := rng.IntN(4) == 0
	chaos := 20 + rng.IntN(60)
	faults := drawFaults(rng)
	if o.Nodes == 0 {
		o.Nodes = nodes
	}
	if o.Voters == 0 {
		o.Voters = o.Nodes
		if fewer && o.Nodes > 3 {
			o.Voters = 3
		}
	}
	if o.Groups == 0 {
		o.Groups = groups
	}
	if o.TTL == 0 {
		o.TTL = ttl
	}
	if o.Chaos == 0 {
		o.Chaos = time.Duration(chaos) * o.TTL
	}
	if o.Faults == nil {
		o.Faults = &faults
	}
	if o.Last == 0 {
		o.Last = 120
	}
	return o
}

func (o Options) validate() error {
	switch {
	case o.Nodes < 2 || o.Nodes > 16 || o.Groups < 1 || o.Groups > 16:
		return fmt.Errorf("sim: %d nodes and %d groups: 2 to 16 and 1 to 16 are supported", o.Nodes, o.Groups)
	case o.Voters < 2 || o.Voters > o.Nodes || o.Voters == 2 && o.Nodes != 2:
		return fmt.Errorf("sim: %d voters of %d nodes cannot fail over", o.Voters, o.Nodes)
	case o.TTL < lease.MinTTL || o.TTL > lease.MaxTTL:
		return fmt.Errorf("sim: ttl %v is outside %v to %v", o.TTL, lease.MinTTL, lease.MaxTTL)
	}
	return nil
}
