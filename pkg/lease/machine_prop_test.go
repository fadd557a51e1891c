package lease

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(7, seed)) }

// abused is one Machine that is told anything at all, sometimes what its peers
// would say.
type abused struct {
	*lone
	witness  bool
	groups   []string
	voters   []string
	gen      uint64
	sent     []Send
	record   *Record
	restarts uint64
	batches  int // of effects that the last call may have made
}

var (
	someNode  = rapid.SampledFrom([]string{"a", "b", "c", "v", "stranger", ""})
	someGroup = rapid.SampledFrom([]string{"web", "db", "mail", ""})
	someEpoch = rapid.OneOf(
		rapid.Map(rapid.IntRange(995, 1010), func(n int) Epoch { return Epoch(n) }),
		// At the very end, 1<<62, no higher one is left to ask for.
		rapid.Map(rapid.Uint64Range(0, 1<<61), func(n uint64) Epoch { return Epoch(n) }))
)

func (a *abused) start(t *rapid.T) {
	a.restarts++
	m, err := New(a.time(), Config{
		Cluster: "shop", Node: "v", RunID: 118, Nodes: []string{"a", "b", "c", "v"}, Voters: a.voters, Generation: a.gen, TTL: time.Second,
		Groups: a.groups, Incarnation: a.restarts, Record: a.record, Witness: a.witness, Rand: newRand(a.restarts),
	})
	if err != nil {
		t.Fatal(err)
	}
	a.Machine = m
}

// someMessage is hostile: only its form is right.
func (a *abused) someMessage(t *rapid.T) Message {
	m := Message{
		Cluster: rapid.SampledFrom([]string{"shop", "shop", "shop", "other"}).Draw(t, "cluster"), From: someNode.Draw(t, "from"),
		RunID: RunID(rapid.SampledFrom([]uint64{97, 98, 118}).Draw(t, "run")), Generation: uint64(rapid.IntRange(4, 8).Draw(t, "generation")),
		Voters: rapid.SampledFrom([]uint64{0, ListHash(a.voters), ListHash(a.voters)}).Draw(t, "list"),
		TTL:    rapid.SampledFrom([]time.Duration{time.Second, time.Second, 2 * time.Second}).Draw(t, "ttl"),
		Seq:    Seq{uint64(rapid.IntRange(0, 2).Draw(t, "incarnation")), rapid.Uint64Range(0, 200).Draw(t, "counter")}, Heard: time.Duration(rapid.Int64().Draw(t, "heard")),
	}
	for range rapid.IntRange(0, 5).Draw(t, "entries") {
		e := anyEntry.Draw(t, "entry")
		e.Group, e.Epoch = someGroup.Draw(t, "group"), someEpoch.Draw(t, "epoch")
		e.Ref = Seq{uint64(rapid.IntRange(0, 3).Draw(t, "ref incarnation")), rapid.Uint64Range(0, 200).Draw(t, "ref")}
		if rapid.Bool().Draw(t, "for us") {
			e.To, e.ToRun = "v", 118
			e.Ticket.From, e.Ticket.RunID = m.From, m.RunID
			e.ToEpoch = someEpoch.Draw(t, "to epoch")
		}
		e.Highest = min(e.Highest, 1<<61)
		e.ToEpoch = min(e.ToEpoch, 1<<61)
		m.Entries = append(m.Entries, e)
	}
	return m
}

// reply answers something that the Machine asked, as a voter would.
func (a *abused) reply(t *rapid.T) {
	if len(a.sent) == 0 {
		return
	}
	q := rapid.SampledFrom(a.sent).Draw(t, "question")
	a.seq++
	m := Message{Cluster: "shop", From: q.To, RunID: RunID(q.To[0]), Generation: a.gen, Voters: ListHash(a.voters), TTL: time.Second, Seq: Seq{9, a.seq}}
	for _, e := range q.Message.Entries {
		if e.Kind != KindRequest {
			continue
		}
		r := Entry{Group: e.Group, Kind: KindGrant, Epoch: e.Epoch, Ref: q.Message.Seq}
		if rapid.IntRange(0, 4).Draw(t, "refuse") == 0 {
			r.Kind, r.Reason = KindRefuse, Reason(rapid.IntRange(1, int(reasonEnd)+3).Draw(t, "reason"))
			r.Left, r.Highest = time.Duration(rapid.IntRange(0, 3000).Draw(t, "left"))*time.Millisecond, someEpoch.Draw(t, "highest")
		}
		m.Entries = append(m.Entries, r)
	}
	a.step(t, m)
}

// luck lets the Machine win what it asks for.
func (a *abused) luck(t *rapid.T) {
	for _, g := range a.groups {
		a.SetEligible(a.time(), g, true, 0)
		a.carryOut(t)
	}
	for range 4 {
		if next, ok := a.NextDeadline(); ok {
			a.now = max(a.now, next)
		}
		a.Tick(a.time())
		a.carryOut(t)
		for _, q := range a.sent {
			a.seq++
			m := Message{Cluster: "shop", From: q.To, RunID: RunID(q.To[0]), Generation: a.gen, Voters: ListHash(a.voters), TTL: time.Second, Seq: Seq{9, a.seq}}
			for _, e := range q.Message.Entries {
				if e.Kind == KindRequest {
					m.Entries = append(m.Entries, Entry{Group: e.Group, Kind: KindGrant, Epoch: e.Epoch, Ref: q.Message.Seq})
				}
			}
			a.step(t, m)
		}
	}
}

func (a *abused) step(t *rapid.T, m Message) {
	for _, b := range Encode(m) {
		got, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		a.Step(a.time(), got)
		a.carryOut(t)
	}
}

// carryOut checks the order in which one call's effects are handed out.
func (a *abused) carryOut(t *rapid.T) {
	last := 0
	for _, e := range a.Effects() {
		var rank int
		switch e := e.(type) {
		case Shut:
			rank = 1
		case Persist:
			rank, a.record = 2, &e.Record
		case Open:
			rank = 3
			if e.Until <= a.now {
				t.Fatalf("opens %s until %d at %d", e.Group, e.Until, a.now)
			}
		case Renew:
			rank = 3
		case Send:
			rank = 4
			a.sent = append(a.sent[max(0, len(a.sent)-11):], e)
			for _, b := range Encode(e.Message) {
				if _, err := Decode(b); err != nil {
					t.Fatalf("it sends what nobody understands: %v", err)
				}
			}
		}
		if rank < last && a.batches > 1 {
			a.batches--
		} else if rank < last {
			t.Fatalf("%T comes too late", e)
		}
		last = rank
	}
	a.batches = 1
}

// TestMachine: in whatever state a Machine has been brought, it does not panic,
// holds its own invariants, hands its effects out in order, and never asks for
// a Tick that is already due.
func TestMachine(t *testing.T) {
	for _, witness := range []bool{false, true} {
		t.Run(fmt.Sprintf("witness=%v", witness), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { abuse(t, witness) })
		})
	}
}

func abuse(t *rapid.T, witness bool) {
	a := &abused{lone: &lone{now: Instant(time.Hour)}, witness: witness, groups: []string{"db", "web"}, voters: []string{"a", "b", "v"}, gen: 5}
	if witness {
		a.voters = []string{"a", "v"}
	}
	a.start(t)
	t.Repeat(map[string]func(*rapid.T){
		"": func(t *rapid.T) {
			a.Check()
			a.carryOut(t)
			if n := len(a.repeats); n > maxRepeats*4 {
				t.Fatalf("%d repeats", n)
			}
			a.Tick(a.time())
			if next, ok := a.NextDeadline(); ok && next <= a.now {
				t.Fatalf("ticked at %d, wants to tick again at %d", a.now, next)
			}
			a.Check()
			a.carryOut(t)
		},
		"message": func(t *rapid.T) { a.step(t, a.someMessage(t)) },
		"reply":   a.reply,
		"luck":    a.luck,
		"time passes": func(t *rapid.T) {
			a.now = a.now.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "ms")) * time.Millisecond)
		},
		"due": func(t *rapid.T) {
			if next, ok := a.NextDeadline(); ok {
				a.now = max(a.now, next)
			}
		},
		"eligible": func(t *rapid.T) {
			a.SetEligible(a.time(), someGroup.Draw(t, "group"), rapid.IntRange(0, 3).Draw(t, "eligible") > 0, rapid.IntRange(-1, 3).Draw(t, "rank"))
		},
		"release": func(t *rapid.T) { a.Release(a.time(), someGroup.Draw(t, "group"), ReasonReleased) },
		"transfer": func(t *rapid.T) {
			a.Transfer(a.time(), someGroup.Draw(t, "group"), Target{Node: someNode.Draw(t, "to"), RunID: 1, Note: anyName.Draw(t, "note")})
		},
		"paused":  func(t *rapid.T) { a.Paused(a.time(), rapid.Bool().Draw(t, "reverted")) },
		"restart": func(t *rapid.T) { a.start(t) },
		"groups": func(t *rapid.T) {
			a.groups = rapid.SampledFrom([][]string{{"web"}, {"db", "web"}, {"db", "mail", "web"}, nil}).Draw(t, "groups")
			a.batches = 2 // what is gone is released before the rest is known
			if err := a.SetGroups(a.time(), a.groups); err != nil {
				t.Fatal(err)
			}
		},
		"voters": func(t *rapid.T) {
			voters := rapid.SampledFrom([][]string{{"a", "b", "v"}, {"a", "b"}, {"a", "b", "c", "v"}, {"a", "v"}, {"v"}}).Draw(t, "voters")
			if a.Reconfigure(a.time(), []string{"a", "b", "c", "v"}, voters, a.gen+1) == nil {
				a.voters = voters
				a.gen++
			}
		},
		"witness": func(t *rapid.T) {
			a.WitnessAnswered(a.time(), a.now.Add(-time.Millisecond))
			a.carryOut(t)
			a.AddressSilent(a.time(), someGroup.Draw(t, "group"), a.now.Add(-time.Millisecond))
		},
		"conflict": func(t *rapid.T) {
			a.AddressConflict(a.time(), someGroup.Draw(t, "group"), rapid.Bool().Draw(t, "lower"))
		},
	})
}
