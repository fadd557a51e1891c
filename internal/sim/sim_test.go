package sim

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// TestSimulation runs one seed after the other until it has simulated enough.
//
//	HBAGENT_SIM_SECONDS  how much: cluster time, default 20000
//	HBAGENT_SIM_FROM     the first seed, default 1
//	HBAGENT_SIM_NODES    clusters of that size only
//	HBAGENT_SIM_SEED     that seed alone, and everything that happens is printed
func TestSimulation(t *testing.T) {
	o := Options{Nodes: int(number(t, "HBAGENT_SIM_NODES", 0))}
	if os.Getenv("HBAGENT_SIM_SEED") != "" {
		o.Trace = os.Stdout
		report, err := Run(number(t, "HBAGENT_SIM_SEED", 0), o)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", report)
		return
	}
	want := time.Duration(number(t, "HBAGENT_SIM_SECONDS", 20_000)) * time.Second
	var sum Report
	nodes, runs := map[string]int{}, 0
	start := time.Now()
	for seed := number(t, "HBAGENT_SIM_FROM", 1); sum.Simulated < want; seed++ {
		r, err := Run(seed, o)
		if err != nil {
			t.Fatal(err)
		}
		if r.Opens == 0 {
			t.Errorf("seed %d: no gate was ever opened", seed)
		}
		sum.add(r)
		nodes[r.Shape[:1]]++
		runs++
	}
	t.Logf("no violation: %d runs, %.0f s simulated in %v: %d events, %d datagrams, %d faults, %d gates opened, %d moves, groups owned %.0f %% of the time under faults; by number of nodes: %v",
		runs, sum.Simulated.Seconds(), time.Since(start).Round(time.Millisecond), sum.Events, sum.Datagrams, sum.Faults, sum.Opens, sum.Moves,
		100*float64(sum.Owned)/float64(sum.Samples), nodes)
	t.Logf("%d switchovers, %d voter lists loaded, %d machines stood still, %d gates refused by the kernel, %d pairs of owners excused by clocks that stood (%.2f ttl at most), %d leases revived below a later epoch, an owner within %.1f ttl after healing",
		sum.Switchovers, sum.Reloads, sum.Freezes, sum.Refused, sum.Overlaps, sum.Overlap, sum.Revived, sum.HealedTTLs)
	for _, n := range []string{"2", "3", "4", "5", "7"} {
		if nodes[n] == 0 && o.Nodes == 0 {
			t.Errorf("no run with %s nodes", n)
		}
	}
}

func (r *Report) add(o Report) {
	r.Simulated += o.Simulated
	r.Events += o.Events
	r.Datagrams += o.Datagrams
	r.Faults += o.Faults
	r.Opens += o.Opens
	r.Moves += o.Moves
	r.Switchovers += o.Switchovers
	r.Reloads += o.Reloads
	r.Freezes += o.Freezes
	r.Refused += o.Refused
	r.Revived += o.Revived
	r.Overlaps += o.Overlaps
	r.Overlap = max(r.Overlap, o.Overlap)
	r.HealedTTLs = max(r.HealedTTLs, o.HealedTTLs)
	r.Samples += o.Samples
	r.Owned += o.Owned
}

func number(t *testing.T, env string, otherwise uint64) uint64 {
	s := os.Getenv(env)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", env, err)
	}
	return n
}
