package sim

import (
	"errors"
	"strings"
	"testing"
)

// TestBreakages shows that the simulator can fail: each mistake of the driver
// must be found within the stated number of seeds.
func TestBreakages(t *testing.T) {
	for _, tt := range []struct {
		mistake Breakage
		within  uint64
		want    string
	}{
		{NoQuarantine, 200, "invariant 1"},
		{PromisesLost, 200, "invariant 1"},
		{RecordStale, 300, "invariant 1"},
		{PersistLate, 300, "invariant 1"},
		{CountFromReply, 200, "invariant 1"},
		{ShutAfterSend, 300, "invariant 1"},
		{VisibleQuorum, 50, "invariant 1"},
		{NegativeMargin, 200, "invariant 1"},
		{NoGate, 100, "invariant 1"},
		{WildClocks, 200, "invariant 1"},
		{ShutIgnored, 50, "invariant 1"},
	} {
		t.Run(string(tt.mistake), func(t *testing.T) {
			for n := uint64(1); n <= tt.within; n++ {
				_, err := Run(n, Options{Nodes: 3 + 2*int(n%2), Break: tt.mistake})
				if err == nil {
					continue
				}
				if !errors.Is(err, ErrViolation) || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("seed %d found something else: %v", n, err)
				}
				t.Logf("found by seed %d: %v", n, strings.SplitN(err.Error(), "\n", 2)[0])
				return
			}
			t.Errorf("%d seeds found nothing", tt.within)
		})
	}
}
