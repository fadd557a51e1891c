package sim

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestBreakages shows that the simulator can fail: each mistake of the driver
// must be found within the stated number of seeds.
func TestBreakages(t *testing.T) {
	for _, tt := range []struct {
		mistake Breakage
		within  uint64
		theme   []faultKind // instead of the seed's own mix
	}{
		{NoQuarantine, 200, nil},
		{PromisesLost, 200, nil},
		{RecordStale, 300, nil},
		{PersistLate, 300, []faultKind{releaseGroup, releaseGroup, releaseGroup, cutOneWay, losePackets, losePackets}},
		{CountFromReply, 200, nil},
		{ShutAfterSend, 100, []faultKind{transferGroup, releaseGroup, losePackets}},
		{VisibleQuorum, 50, nil},
		{NegativeMargin, 200, nil},
		{NoGate, 100, nil},
		{WildClocks, 200, nil},
		{ShutIgnored, 50, nil},
	} {
		t.Run(string(tt.mistake), func(t *testing.T) {
			for n := uint64(1); n <= tt.within; n++ {
				o := Options{Nodes: 3 + 2*int(n%2), Break: tt.mistake}
				if tt.theme != nil {
					rng := rand.New(rand.NewPCG(n, 1))
					o.Nodes, o.Voters = 3, 3 // two quorums share one voter: the smallest slip shows
					o.Faults = &Faults{Drop: 0.7, StallMax: 1, Fatal: 0.1}
					o.Faults.follow(theme{kinds: tt.theme}, rng)
				}
				_, err := Run(n, o)
				if err == nil {
					continue
				}
				if !errors.Is(err, ErrViolation) || !strings.Contains(err.Error(), "invariant 1") {
					t.Fatalf("seed %d found something else: %v", n, err)
				}
				t.Logf("found by seed %d: %v", n, strings.SplitN(err.Error(), "\n", 2)[0])
				return
			}
			t.Errorf("%d seeds found nothing", tt.within)
		})
	}
}
