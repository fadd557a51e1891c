package sim

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestReplay: a seed is a run. Nothing else may decide anything, neither the
// order of a map nor whether somebody looks.
func TestReplay(t *testing.T) {
	seen := map[uint64]uint64{}
	for seed := uint64(1); seed <= 40; seed++ {
		first, err := Run(seed, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var trace bytes.Buffer
		again, err := Run(seed, Options{Trace: &trace})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, again); diff != "" {
			t.Errorf("seed %d (-first +again):\n%s", seed, diff)
		}
		if trace.Len() == 0 {
			t.Errorf("seed %d: no trace", seed)
		}
		if other, ok := seen[first.Hash]; ok {
			t.Errorf("seeds %d and %d are the same run", other, seed)
		}
		seen[first.Hash] = seed
	}
}

// TestError: a failure names what is needed to look at it again.
func TestError(t *testing.T) {
	_, err := Run(1, Options{Nodes: 3, Break: ShutIgnored, Chaos: time.Hour, Last: 30})
	if !errors.Is(err, ErrViolation) {
		t.Fatalf("no violation: %v", err)
	}
	text := err.Error()
	for _, want := range []string{"seed 1 (", "invariant 1", "OPENS", "!!!"} {
		if !strings.Contains(text, want) {
			t.Errorf("the error lacks %q:\n%s", want, text)
		}
	}
	if n := strings.Count(text, " ms  "); n != 30 {
		t.Errorf("%d events in the error, want 30", n)
	}
}

// TestOptions: what cannot be simulated is refused, and is no violation.
func TestOptions(t *testing.T) {
	for _, o := range []Options{{Nodes: 1}, {Nodes: 17}, {Nodes: 3, Voters: 4}, {Nodes: 3, Voters: 2}, {Groups: 17}, {TTL: time.Millisecond}} {
		if _, err := Run(1, o); err == nil || errors.Is(err, ErrViolation) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// TestClock: a deadline in a machine's own clock is found to the nanosecond in
// world time, or gates would be judged too early or too late.
func TestClock(t *testing.T) {
	for _, ppm := range []int64{0, 1, -1, 20_000, -20_000, 200_000, -200_000} {
		c := clock{since: 5 * time.Second, boot: 12345, ppm: ppm}
		for at := c.since; at < c.since+10*time.Minute; at += 7*time.Second + 13 {
			l := c.local(at)
			w := c.world(l)
			if c.local(w) < l || w > c.since && c.local(w-1) >= l {
				t.Fatalf("%d ppm: the clock says %d at %v, and world(%d) = %v", ppm, l, at, l, w)
			}
		}
	}
}

// BenchmarkFiveNodes: virtual seconds of a cluster of five with three groups
// and faults, in a real second.
func BenchmarkFiveNodes(b *testing.B) {
	var simulated time.Duration
	var events int
	seed := uint64(0)
	for b.Loop() {
		seed++
		r, err := Run(seed, Options{Nodes: 5, Voters: 5, Groups: 3, TTL: time.Second, Chaos: time.Minute})
		if err != nil {
			b.Fatal(err)
		}
		simulated += r.Simulated
		events += r.Events
	}
	b.ReportMetric(simulated.Seconds()/b.Elapsed().Seconds(), "cluster-s/s")
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
}
