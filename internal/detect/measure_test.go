package detect

import (
	"context"
	"net/netip"
	"os"
	"testing"
	"time"
)

func TestStall(t *testing.T) {
	const d = 50 * time.Millisecond
	began := time.Now()
	got := Stall(t.Context(), d)
	if took := time.Since(began); took < d || got < 0 || got > took {
		t.Errorf("stalled for %v of %v", got, took)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	Stall(ended, time.Hour)
}

func TestRoundTrips(t *testing.T) {
	local := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")}
	for i, trip := range RoundTrips(t.Context(), local) {
		if trip.Err != nil && os.Geteuid() != 0 {
			t.Logf("%v: %v", trip.Addr, trip.Err) // an ordinary user may not ask everywhere
			continue
		}
		if trip.Addr != local[i] || trip.Err != nil || trip.Answers != pings || trip.Longest <= 0 {
			t.Errorf("got %+v, want %d answers", trip, pings)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	RoundTrips(ended, []netip.Addr{netip.MustParseAddr("127.0.0.1")})
}

func TestProposeTTL(t *testing.T) {
	for _, tt := range []struct{ trip, stall, want time.Duration }{
		{0, 0, 50 * time.Millisecond},
		{300 * time.Microsecond, 2 * time.Millisecond, 50 * time.Millisecond},
		{300 * time.Microsecond, 100 * time.Millisecond, time.Second},
		{40 * time.Millisecond, 0, time.Second},
		{60 * time.Millisecond, 0, 2 * time.Second},
		{time.Minute, 0, 30 * time.Second},
	} {
		if got := ProposeTTL(tt.trip, tt.stall); got != tt.want {
			t.Errorf("ProposeTTL(%v, %v) = %v, want %v", tt.trip, tt.stall, got, tt.want)
		}
	}
}
