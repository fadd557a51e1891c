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

// TestAnswersThatTakeLong: a holder that reads answers late, because it has more to read than it can, does not ask for more.
func TestAnswersThatTakeLong(t *testing.T) {
	const ttl, late, rounds = time.Second, 120 * time.Millisecond, 6
	l := newLone(t, func(c *Config) { c.TTL, c.Record.TTL = ttl, ttl })
	began := l.now
	voters := ListHash([]string{"a", "b", "v"})
	type reply struct {
		at  Instant
		msg Message
	}
	var pending []reply
	var asked []time.Duration
	work := func() {
		for effects := l.Effects(); len(effects) > 0; effects = l.Effects() {
			for _, e := range effects {
				s, ok := e.(Send)
				if !ok || s.To != "a" {
					continue
				}
				asked = append(asked, l.now.Sub(began))
				l.seq++
				grant := Entry{Group: "web", Kind: KindGrant, Epoch: s.Message.Entries[0].Epoch, Ref: s.Message.Seq}
				pending = append(pending, reply{l.now.Add(late), Message{Cluster: "shop", From: "a", RunID: 1, Generation: 5, Voters: voters, TTL: ttl, Seq: Seq{1, l.seq}, Entries: []Entry{grant}}})
			}
		}
	}
	l.SetEligible(l.time(), "web", true, 0)
	l.Tick(l.time())
	work()
	for l.now.Sub(began) < rounds*ttl/renewDivisor {
		next, ok := l.NextDeadline()
		if !ok {
			t.Fatal("a holder that waits for nothing")
		}
		if len(pending) > 0 && pending[0].at <= next {
			l.now = pending[0].at
			l.Step(l.time(), pending[0].msg)
			pending = pending[1:]
		} else {
			l.now = max(next, l.now)
			l.Tick(l.time())
		}
		work()
	}
	// Until the first answer nothing is known of what one takes; from then on each round is one question.
	again := 0
	for _, at := range asked {
		if at > 2*late {
			again++
		}
	}
	if again > rounds || again < rounds-2 {
		t.Errorf("%d questions in %d rounds, at %v", again, rounds, asked)
	}
}
