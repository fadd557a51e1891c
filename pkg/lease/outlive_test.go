package lease

import (
	"testing"
	"time"
)

// TestLaterOwnerIsHeard: a holder whose clocks have stood shuts at the first word of the next owner, not at its own
// next round. What proves nothing shuts nothing.
func TestLaterOwnerIsHeard(t *testing.T) {
	valid := func(epoch Epoch) Entry {
		e := request("web", epoch)
		e.Valid = true
		return e
	}
	for _, tt := range []struct {
		name string
		e    Entry
		shut bool
	}{
		{"a valid lease of a later epoch", valid(2001), true},
		{"one of an earlier epoch: it is that one which is over", valid(1999), false},
		{"a candidate that has no majority", request("web", 2001), false},
		{"an owner of another group", Entry{Group: "db", Kind: KindRequest, Epoch: 2001, Valid: true}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLone(t, func(c *Config) { c.Record.Holds = []HoldRecord{{"web", 2000}} })
			for _, e := range l.Effects() {
				if s, ok := e.(Send); ok && s.To != "v" {
					l.say(s.To, Entry{Group: "web", Kind: KindGrant, Epoch: 2000, Ref: s.Message.Seq}, nil)
				}
			}
			if !l.Valid(l.now, "web") {
				t.Fatal("it holds nothing: the test tests nothing")
			}
			l.now = l.now.Add(10 * time.Millisecond)
			l.say("b", tt.e, nil)
			if shut := !l.Valid(l.now, "web"); shut != tt.shut || l.stats.Superseded != map[bool]uint64{true: 1}[shut] {
				t.Errorf("shut: %v, counted %d", shut, l.stats.Superseded)
			}
		})
	}
}
