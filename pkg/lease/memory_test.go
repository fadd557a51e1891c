package lease

import (
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// holderOf tells who has the group by l's own vote.
func (l *lone) holderOf(group string) string {
	v, _ := l.Group(l.now, group)
	return v.Holder
}

// A voter acts on a message once, and on none that is older than one it has
// acted on, until it has heard nothing of the node for so long that no
// datagram can be left.
func TestSequences(t *testing.T) {
	release := Entry{Group: "web", Kind: KindRelease, Epoch: 2000}
	for _, tt := range []struct {
		name  string
		seq   Seq
		wait  time.Duration
		freed bool
	}{
		{"newer", Seq{3, 11}, 0, true},
		{"newer incarnation, counted from one again", Seq{4, 1}, 0, true},
		{"the same again", Seq{3, 10}, 0, false},
		{"older", Seq{3, 9}, 0, false},
		{"older incarnation, higher counter", Seq{2, 99}, 0, false},
		{"the same, nearly forgotten", Seq{3, 10}, sequenceMemory - 1, false},
		{"the same, forgotten", Seq{3, 10}, sequenceMemory, true},
		{"older incarnation, forgotten, but not its holder's", Seq{2, 99}, sequenceMemory, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLone(t, nil)
			l.say("b", request("web", 2000), func(m *Message) { m.Seq = Seq{3, 10} })
			l.now = l.now.Add(tt.wait)
			l.say("b", release, func(m *Message) { m.Seq = tt.seq })
			if freed := l.voter.group("web").holder == ""; freed != tt.freed {
				t.Errorf("freed %v, want %v", freed, tt.freed)
			}
		})
	}
}

// restarted returns a Machine that remembers what l last wrote.
func restarted(t *testing.T, l *lone, record *Record) *lone {
	t.Helper()
	n := newLone(t, func(c *Config) { c.Record, c.Incarnation = record, 2 })
	n.seq = l.seq
	return n
}

func lastRecord(effects []Effect) *Record {
	var r *Record
	for _, e := range effects {
		if p, ok := e.(Persist); ok {
			r = &p.Record
		}
	}
	return r
}

// An agent restarts with the same run id, takes its group again at the epoch it
// had (a ticket allows that), and then a release of its earlier run arrives at
// a voter that has restarted too, and so knows no sequences.
func TestReleaseOfAnEarlierRun(t *testing.T) {
	l := newLone(t, nil)
	l.Effects()
	l.Step(l.time(), Message{Cluster: "shop", From: "b", RunID: 7, Generation: 5, Voters: ListHash([]string{"a", "b", "v"}), TTL: time.Second, Seq: Seq{8, 1}, Entries: []Entry{request("web", 2000)}})
	n := restarted(t, l, lastRecord(l.Effects()))
	say := func(inc uint64, e Entry) {
		n.say("b", e, func(m *Message) { m.RunID, m.Seq = 7, Seq{inc, 50} })
	}
	say(7, Entry{Group: "web", Kind: KindRelease, Epoch: 2000})
	if got := n.holderOf("web"); got != "b" {
		t.Errorf("after the old release the holder is %q, want b", got)
	}
	say(8, Entry{Group: "web", Kind: KindRelease, Epoch: 2000})
	if got := n.holderOf("web"); got != "" {
		t.Errorf("after the new release the holder is %q, want nobody", got)
	}
}

// b asked at 2020 in vain, gave that up for a ticket, and holds 2016. A voter that
// has restarted knows no sequences: to it, b's old question looks like a newer
// lease of its own holder. If it granted that, b's old release would follow and
// free a promise that b counts on (docs/decisions/0009).
func TestOldQuestionOfItsOwnHolder(t *testing.T) {
	l := newLone(t, nil)
	l.Effects()
	as := func(counter uint64) func(*Message) { return func(m *Message) { m.Seq = Seq{8, counter} } }
	l.Step(l.time(), Message{Cluster: "shop", From: "b", RunID: 'b', Generation: 5, Voters: ListHash([]string{"a", "b", "v"}), TTL: time.Second, Seq: Seq{8, 12}, Entries: []Entry{request("web", 2016)}})
	n := restarted(t, l, lastRecord(l.Effects()))
	if a := n.say("b", request("web", 2020), as(10)); len(a) != 1 || a[0].Kind != KindRefuse {
		t.Errorf("the old question is answered by %v, want a refusal", a)
	}
	n.say("b", Entry{Group: "web", Kind: KindRelease, Epoch: 2020}, as(11))
	if got := n.holderOf("web"); got != "b" {
		t.Errorf("after the old release the holder is %q, want b", got)
	}
}

// The ticket by which a lease was won arrives again after its winner has
// restarted and given the lease up.
func TestTicketAfterRestart(t *testing.T) {
	l := newLone(t, func(c *Config) { c.Record.Holds = []HoldRecord{{"web", 2000}} })
	l.SetEligible(l.time(), "web", true, 0)
	l.Release(l.time(), "web", ReasonReleased)
	l.say("a", Entry{
		Group: "web", Kind: KindTicket, Epoch: 1999, To: "v", ToRun: 99, ToEpoch: 2000, Ticket: Ticket{From: "a", RunID: 'a', Epoch: 1999},
	}, nil)
	if v, _ := l.Group(l.now, "web"); v.Phase != "idle" {
		t.Errorf("the group is %v, want idle", v)
	}
	if n := l.Stats().Rejected[ReasonOldSequence]; n != 1 {
		t.Errorf("%d old messages counted, want the ticket", n)
	}
}

// A ticket is declined, and the release that says so is repeated. The node then
// becomes eligible and asks by itself: at another epoch, or its own repeated
// release would free the lease that it wins, under its feet.
func TestEpochOfADeclinedTicket(t *testing.T) {
	l := newLone(t, nil)
	l.say("a", Entry{
		Group: "web", Kind: KindTicket, Epoch: 999, To: "v", ToRun: 99, ToEpoch: 1000, Ticket: Ticket{From: "a", RunID: 'a', Epoch: 999},
	}, nil)
	l.SetEligible(l.time(), "web", true, 0)
	l.Tick(l.time())
	if v, _ := l.Group(l.now, "web"); v.Phase != "acquiring" || v.Epoch <= 1000 {
		t.Errorf("the group is %v with epoch %d, want acquiring above 1000", v.Phase, v.Epoch)
	}
}

// An acquisition at 1020 is given up for a ticket at 1016, and that is given up,
// too: the next one is above both.
func TestEpochsOfOneRunGrow(t *testing.T) {
	l := newLone(t, func(c *Config) { c.Node, c.Voters = "c", []string{"a", "b", "v"} }) // without a vote: it has only its own memory
	l.Machine.groups["web"].highest = 1019
	l.SetEligible(l.time(), "web", true, 0)
	l.Tick(l.time())
	l.say("a", Entry{
		Group: "web", Kind: KindTicket, Epoch: 1015, To: "c", ToRun: 99, ToEpoch: 1016, Ticket: Ticket{From: "a", RunID: 'a', Epoch: 1015},
	}, nil)
	l.SetEligible(l.time(), "web", false, 0)
	l.SetEligible(l.time(), "web", true, 0)
	l.now = l.now.Add(3 * time.Second)
	l.Tick(l.time())
	if v, _ := l.Group(l.now, "web"); v.Phase != "acquiring" || v.Epoch <= 1020 {
		t.Errorf("the group is %v with epoch %d, want acquiring above 1020", v.Phase, v.Epoch)
	}
}

// a refuses, is asked again when its reason is over, and grants; before that is
// heard, b refuses and the acquisition is given up. The vote of a must be given
// back: its refusal is not its last word.
func TestVoterThatWasAskedAgain(t *testing.T) {
	l := newLone(t, func(c *Config) { c.Node, c.RunID = "c", 'c' })
	l.SetEligible(l.time(), "web", true, 0)
	l.Tick(l.time())
	asked := map[string]Seq{}
	released := map[string]bool{}
	look := func() {
		for _, e := range l.Effects() {
			s, ok := e.(Send)
			for i := 0; ok && i < len(s.Message.Entries); i++ {
				switch s.Message.Entries[i].Kind {
				case KindRequest:
					asked[s.To] = s.Message.Seq
				case KindRelease:
					released[s.To] = true
				}
			}
		}
	}
	refuse := func(from string, ref Seq) {
		l.seq++
		v, _ := l.Group(l.now, "web")
		l.Step(l.time(), Message{Cluster: "shop", From: from, RunID: RunID(from[0]), Generation: 5, Voters: ListHash([]string{"a", "b", "v"}), TTL: time.Second,
			Seq: Seq{1, l.seq}, Entries: []Entry{{Group: "web", Kind: KindRefuse, Epoch: v.Epoch, Ref: ref, Reason: ReasonContested, Holder: "b"}}})
		look()
	}
	look()
	first := asked["a"]
	refuse("a", first)
	l.now = l.now.Add(time.Second / contestedDivisor)
	l.Tick(l.time())
	look()
	if asked["a"] == first {
		t.Fatal("a is not asked again")
	}
	refuse("b", asked["b"])
	if v, _ := l.Group(l.now, "web"); v.Phase != "idle" {
		t.Fatalf("the group is %v, want idle", v.Phase)
	}
	if want := (map[string]bool{"a": true, "v": true}); !maps.Equal(released, want) {
		t.Errorf("released to %v, want %v: b has refused what it was last asked", released, want)
	}
}

// Tickets that are declined cost a release each; a peer that sends them without
// end must not fill the memory, nor bring the machine down.
func TestTicketsWithoutEnd(t *testing.T) {
	l := newLone(t, nil)
	for i := range 1000 {
		l.say("a", Entry{
			Group: "web", Kind: KindTicket, Epoch: 1999, To: "v", ToRun: 99, ToEpoch: Epoch(2000 + i), Ticket: Ticket{From: "a", RunID: 'a', Epoch: 1999},
		}, nil)
		l.Check()
	}
	if n := len(l.repeats); n != maxRepeats {
		t.Errorf("%d releases are being repeated, want %d", n, maxRepeats)
	}
}

// Groups that are released and then taken out of the config leave repeats
// behind, which is no broken invariant.
func TestReleaseThenRemove(t *testing.T) {
	l := newLone(t, func(c *Config) {
		c.Groups = nil
		for _, x := range strings.Split("abcdefghijklmnopqrst", "") {
			c.Groups = append(c.Groups, x)
			c.Record.Holds = append(c.Record.Holds, HoldRecord{x, 7})
		}
	})
	for _, x := range strings.Split("abcdefghijklmnopqrst", "") {
		if !l.Release(l.time(), x, ReasonReleased) {
			t.Fatalf("nothing to release in %s", x)
		}
	}
	if err := l.SetGroups(l.time(), []string{"web"}); err != nil {
		t.Fatal(err)
	}
	l.Check()
}

// A group is released, taken out of the config and put back, all within a
// second of the wall clock: its next epoch is another one, or the repeated
// release would free the new lease under its holder.
func TestGroupComesBack(t *testing.T) {
	l := newLone(t, func(c *Config) { c.Record.Holds = []HoldRecord{{"web", 2000}} })
	l.Release(l.time(), "web", ReasonReleased)
	for _, groups := range [][]string{{"db"}, {"db", "web"}} {
		if err := l.SetGroups(l.time(), groups); err != nil {
			t.Fatal(err)
		}
	}
	l.SetEligible(l.time(), "web", true, 0)
	l.Tick(l.time())
	if v, _ := l.Group(l.now, "web"); v.Phase != "acquiring" || v.Epoch <= 2000 {
		t.Errorf("the group is %v with epoch %d, want acquiring above 2000", v.Phase, v.Epoch)
	}
}

func TestConfigRefused(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"need names":              func(c *Config) { c.Cluster = "" },
		"outside":                 func(c *Config) { c.TTL = MinTTL - 1 },
		"half the ttl":            func(c *Config) { c.Margin = c.TTL / 2 },
		"at least one voter":      func(c *Config) { c.Voters = nil },
		"1025 groups":             func(c *Config) { c.Groups = make([]string, MaxGroups+1) },
		"between two voters":      func(c *Config) { c.Witness = true },
		"no source of randomness": func(c *Config) { c.Rand = nil },
	} {
		cfg := Config{
			Cluster: "shop", Node: "v", Nodes: []string{"a", "b", "v"}, Voters: []string{"a", "b", "v"}, TTL: time.Second,
			Groups: []string{"web"}, Incarnation: 1, Rand: rand.New(rand.NewPCG(1, 2)),
		}
		change(&cfg)
		if _, err := New(Time{Boot: 1}, cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// A lease that was given up before a restart has used its epoch: a voter that was away then would take a request for the same one
// for a renewal. The wall clock need not have gone on.
func TestAnEpochIsUsedOnce(t *testing.T) {
	for _, vote := range []bool{true, false} {
		voters := []string{"a", "b", "c"}
		if vote {
			voters = []string{"a", "b", "v"}
		}
		l := newLone(t, func(c *Config) { c.Voters = voters })
		var record Record
		won := Epoch(0)
		answer := func() {
			for _, e := range l.Effects() {
				switch e := e.(type) {
				case Persist:
					record = e.Record
				case Open:
					won = e.Epoch
				case Send:
					for _, r := range e.Message.Entries {
						if r.Kind != KindRequest {
							continue
						}
						l.seq++
						grant := Entry{Group: r.Group, Kind: KindGrant, Epoch: r.Epoch, Ref: e.Message.Seq}
						l.Step(l.time(), Message{Cluster: "shop", From: e.To, RunID: 1, Generation: 5, Voters: ListHash(voters), TTL: time.Second, Seq: Seq{1, l.seq}, Entries: []Entry{grant}})
					}
				}
			}
		}
		l.SetEligible(l.time(), "web", true, 0)
		l.Tick(l.time())
		for range 3 {
			answer()
		}
		l.SetEligible(l.time(), "web", false, 0)
		l.Release(l.time(), "web", ReasonReleased)
		answer()
		if won == 0 || len(record.Holds) > 0 || record.Claimed != won {
			t.Fatalf("vote %v: won %d, record %+v", vote, won, record)
		}
		record.Promises = nil // the voter's memory is another matter
		again := newLone(t, func(c *Config) { c.Voters, c.Record, c.Incarnation = voters, &record, 2 })
		again.SetEligible(again.time(), "web", true, 0)
		again.Tick(again.time())
		asked := Epoch(0)
		for _, e := range again.Effects() {
			if s, ok := e.(Send); ok {
				asked = s.Message.Entries[0].Epoch
			}
		}
		if asked <= won {
			t.Errorf("vote %v: asked for epoch %d after a lease of epoch %d", vote, asked, won)
		}
	}
}
