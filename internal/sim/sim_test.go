package sim

import (
	"errors"
	"os"
	"strconv"
	"testing"
	"time"
)

// TestSimulation runs one seed after the other until it has simulated
// HBAGENT_SIM_SECONDS of cluster time, from HBAGENT_SIM_FROM on. With
// HBAGENT_SIM_SEED it runs that seed alone and prints everything that happens.
func TestSimulation(t *testing.T) {
	if s := os.Getenv("HBAGENT_SIM_SEED"); s != "" {
		report, err := Run(number(t, "HBAGENT_SIM_SEED", 0), Options{Nodes: int(number(t, "HBAGENT_SIM_NODES", 0)), Trace: os.Stdout})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", report)
		return
	}
	want := time.Duration(number(t, "HBAGENT_SIM_SECONDS", 6000)) * time.Second
	seed := number(t, "HBAGENT_SIM_FROM", 1)
	var sum Report
	nodes, runs := map[string]int{}, 0
	start := time.Now()
	for sum.Simulated < want {
		r, err := Run(seed, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if r.Opens == 0 {
			t.Errorf("seed %d: no gate was ever opened", seed)
		}
		sum.Simulated += r.Simulated
		sum.Events += r.Events
		sum.Datagrams += r.Datagrams
		sum.Faults += r.Faults
		sum.Opens += r.Opens
		sum.Moves += r.Moves
		sum.Samples += r.Samples
		sum.Owned += r.Owned
		sum.Healed = max(sum.Healed, r.Healed)
		nodes[r.Shape[:1]]++
		seed++
		runs++
	}
	took := time.Since(start)
	t.Logf("%d runs, %v simulated in %v: %d events, %d datagrams, %d faults, %d gates opened, %d moves, groups owned %.0f %% of the time under faults; by number of nodes: %v",
		runs, sum.Simulated.Round(time.Second), took.Round(time.Millisecond), sum.Events, sum.Datagrams, sum.Faults, sum.Opens, sum.Moves, 100*float64(sum.Owned)/float64(sum.Samples), nodes)
	for _, n := range []string{"2", "3", "4", "5", "7"} {
		if nodes[n] == 0 {
			t.Errorf("no run with %s nodes", n)
		}
	}
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

var _ = errors.Is
