package lease

import (
	"testing"
	"time"
)

// early is a candidate that asks two voters a moment before their promise to a dead
// holder ends.
type early struct{ *lone }

// asked returns the request that node is sent now, if there is one.
func (c *early) asked(node string) (m Message, ok bool) {
	for _, e := range c.Effects() {
		if s, is := e.(Send); is && s.To == node && len(s.Message.Entries) > 0 && s.Message.Entries[0].Kind == KindRequest {
			m, ok = s.Message, true
		}
	}
	return m, ok
}

// answers has a and b give the same answer to the request m.
func (c *early) answers(m Message, e Entry) {
	for _, from := range []string{"a", "b"} {
		e.Group, e.Epoch, e.Ref = "web", m.Entries[0].Epoch, m.Seq
		c.seq++
		// b was sent the message after a's.
		if from == "b" {
			e.Ref.Counter++
		}
		c.Step(c.time(), Message{Cluster: "shop", From: from, RunID: RunID(from[0]), Generation: 5, Voters: ListHash([]string{"a", "b", "v"}),
			TTL: time.Second, Seq: Seq{1, c.seq}, Entries: []Entry{e}})
	}
}

func (c *early) phase() string {
	v, _ := c.Group(c.now, "web")
	return v.Phase
}

// newEarly asks for the first time and is told that left is left.
func newEarly(t *testing.T, left time.Duration) *early {
	t.Helper()
	c := &early{newLone(t, nil)}
	c.SetEligible(c.time(), "web", true, 0)
	c.Tick(c.time())
	m, ok := c.asked("a")
	if !ok {
		t.Fatal("nobody is asked")
	}
	c.answers(m, Entry{Kind: KindRefuse, Reason: ReasonHeld, Holder: "c", Left: left})
	return c
}

// TestAskedTooEarly: who comes a moment too early keeps its own vote, and asks again
// at the moment that the voters name.
func TestAskedTooEarly(t *testing.T) {
	for _, left := range []time.Duration{time.Microsecond, 3 * time.Millisecond, 20 * time.Millisecond} {
		c := newEarly(t, left)
		wait := max(left, soonest)
		c.now = c.now.Add(wait - 1)
		c.Tick(c.time())
		if _, ok := c.asked("a"); ok || c.phase() != "acquiring" {
			t.Errorf("%v left: %s after %v, asked again: %t", left, c.phase(), wait-1, ok)
		}
		c.now++
		c.Tick(c.time())
		m, ok := c.asked("a")
		if !ok {
			t.Fatalf("%v left: not asked again after %v", left, wait)
		}
		c.answers(m, Entry{Kind: KindGrant})
		if c.phase() != "holding" {
			t.Errorf("%v left: %s after a majority has granted", left, c.phase())
		}
	}
}

// TestRefusedForGood: what is further away, or said a second time, is a refusal. The
// votes are given back, for others may need them.
func TestRefusedForGood(t *testing.T) {
	if c := newEarly(t, 21*time.Millisecond); c.phase() != "idle" {
		t.Errorf("%s after a majority has refused for more than ttl/50", c.phase())
	}
	c := newEarly(t, 3*time.Millisecond)
	c.now = c.now.Add(3 * time.Millisecond)
	c.Tick(c.time())
	m, ok := c.asked("a")
	if !ok {
		t.Fatal("not asked again")
	}
	c.answers(m, Entry{Kind: KindRefuse, Reason: ReasonHeld, Holder: "c", Left: 3 * time.Millisecond})
	if c.phase() != "idle" {
		t.Errorf("%s after a majority has refused twice", c.phase())
	}
}
