package lease

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// pace runs a holder whose voter a answers while answers says so, until its lease
// is over, and returns when requests to a left, counted from the acquisition.
func pace(t *testing.T, ttl, end time.Duration, answers func(time.Duration) bool) (asked []time.Duration, lapsed time.Duration) {
	t.Helper()
	l := newLone(t, func(c *Config) { c.TTL, c.Record.TTL = ttl, ttl })
	began := l.now
	at := func() time.Duration { return l.now.Sub(began) }
	voters := ListHash([]string{"a", "b", "v"})
	work := func() {
		for effects := l.Effects(); len(effects) > 0; effects = l.Effects() {
			for _, e := range effects {
				switch e := e.(type) {
				case Shut:
					lapsed = at()
				case Send:
					if e.To != "a" || e.Message.Entries[0].Kind != KindRequest || lapsed != 0 {
						continue
					}
					asked = append(asked, at())
					if answers(at()) {
						l.seq++
						grant := Entry{Group: "web", Kind: KindGrant, Epoch: e.Message.Entries[0].Epoch, Ref: e.Message.Seq}
						l.Step(l.time(), Message{Cluster: "shop", From: "a", RunID: 1, Generation: 5, Voters: voters, TTL: ttl, Seq: Seq{1, l.seq}, Entries: []Entry{grant}})
					}
				}
			}
		}
	}
	l.SetEligible(l.time(), "web", true, 0)
	l.Tick(l.time())
	work()
	for lapsed == 0 && at() < end {
		next, ok := l.NextDeadline()
		if !ok {
			t.Fatal("a holder that waits for nothing")
		}
		l.now = max(next, l.now)
		l.Tick(l.time())
		work()
	}
	return asked, lapsed
}

// TestRenewals: the heartbeat of a holder, which others are compared with, at the
// shortest ttl, the usual one and the longest.
func TestRenewals(t *testing.T) {
	for _, ttl := range []time.Duration{MinTTL, time.Second, MaxTTL} {
		asked, lapsed := pace(t, ttl, ttl, func(time.Duration) bool { return true })
		step := RenewInterval(ttl)
		if diff := cmp.Diff([]time.Duration{0, step, 2 * step, 3 * step}, asked[:4]); diff != "" || lapsed != 0 {
			t.Errorf("ttl %v: lapsed at %v, requests (-want +got):\n%s", ttl, lapsed, diff)
		}
		if step != ttl/3 {
			t.Errorf("ttl %v: renewed every %v, want ttl/3", ttl, step)
		}
	}
}

// TestTriesBeforeALapse: a voter that falls silent is asked twelve times before the
// lease is over, so that loss does not end it.
func TestTriesBeforeALapse(t *testing.T) {
	const ttl, silent = time.Second, 800 * time.Millisecond
	asked, lapsed := pace(t, ttl, 10*ttl, func(at time.Duration) bool { return at < silent })
	tries := 0
	for _, at := range asked {
		if at > silent {
			tries++
		}
	}
	// The last answered request left at 2/3 ttl.
	if want := 2*RenewInterval(ttl) + ttl - ttl/marginDivisor; tries != 12 || lapsed != want {
		t.Errorf("asked %d times, lapsed at %v, want 12 and %v; all: %v", tries, lapsed, want, asked)
	}
}
