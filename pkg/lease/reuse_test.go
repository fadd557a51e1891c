package lease

import (
	"math/rand/v2"
	"testing"
	"time"
)

// b asks for an epoch in vain and gives it up; its release to c is late. a, which has heard of none of it, hands the
// group to b at that very epoch. c's agent restarts, and the late release comes: it must not free what b holds by then,
// or c could win next to it. (Found by docs/model.)
func TestTicketForAnEpochThatWasAskedFor(t *testing.T) {
	w := newTrio(t)
	w.m["a"].SetEligible(w.at(), "web", true, 0)
	w.m["a"].Tick(w.at())
	w.deliver("a", "c")
	w.deliver("c", "a")
	w.lose()
	w.unix++
	w.now = w.now.Add(10 * time.Millisecond)
	w.m["b"].SetEligible(w.at(), "web", true, 0)
	w.m["b"].Tick(w.at())
	w.collect()
	asked, _ := w.m["b"].Group(w.now, "web")
	w.lose()
	w.m["b"].SetEligible(w.at(), "web", false, 0)
	w.m["b"].SetEligible(w.at(), "web", true, 0)
	w.collect()
	var late []Message
	for _, p := range w.net {
		if p.to == "c" && len(p.msg.Entries) == 1 && p.msg.Entries[0].Kind == KindRelease && p.msg.Entries[0].Epoch == asked.Epoch {
			late = append(late, p.msg)
		}
	}
	w.lose()
	if len(late) == 0 {
		t.Fatal("b did not give its votes back")
	}

	if why := w.m["a"].Transfer(w.at(), "web", Target{Node: "b", RunID: RunID('b')}); why != ReasonNone {
		t.Fatal(why)
	}
	w.collect()
	for _, p := range w.net {
		for _, e := range p.msg.Entries {
			if e.Kind == KindTicket && e.ToEpoch != asked.Epoch {
				t.Fatalf("the ticket is for %d, b had asked for %d: this shows nothing", e.ToEpoch, asked.Epoch)
			}
		}
	}
	for _, way := range [][2]string{{"a", "b"}, {"b", "c"}, {"c", "b"}, {"b", "a"}, {"a", "b"}} {
		w.deliver(way[0], way[1])
	}
	w.lose()
	w.now = w.now.Add(20 * time.Millisecond)
	w.start("c", 10)
	for _, msg := range late {
		w.m["c"].Step(w.at(), msg)
	}
	w.m["c"].SetEligible(w.at(), "web", true, 0)
	w.m["c"].Tick(w.at())
	w.deliver("c", "b")
	w.deliver("b", "c")
	if w.m["b"].Valid(w.now, "web") && w.m["c"].Valid(w.now, "web") {
		t.Error("b and c hold the group at once")
	}
}

// b takes a group by a ticket, hands it on, and its agent restarts before anybody has heard of that. a, which has not heard
// of the ticket's use either, repeats it: b's lease of that epoch must not come again. (Found by internal/sim.)
func TestTicketOfAnEarlierRun(t *testing.T) {
	w := newTrio(t)
	w.m["a"].SetEligible(w.at(), "web", true, 0)
	w.m["b"].SetEligible(w.at(), "web", true, 1)
	w.m["a"].Tick(w.at())
	w.deliver("a", "c")
	w.deliver("c", "a")
	w.lose()
	if why := w.m["a"].Transfer(w.at(), "web", Target{Node: "b", RunID: RunID('b')}); why != ReasonNone {
		t.Fatal(why)
	}
	w.collect()
	var again []Message
	for _, p := range w.net {
		if p.to == "b" {
			again = append(again, p.msg)
		}
	}
	for _, way := range [][2]string{{"a", "b"}, {"a", "c"}, {"b", "c"}, {"c", "b"}} {
		w.deliver(way[0], way[1])
	}
	used, _ := w.m["b"].Group(w.now, "web")
	if !w.m["b"].Valid(w.now, "web") {
		t.Fatal("the ticket did not do: this shows nothing")
	}
	if why := w.m["b"].Transfer(w.at(), "web", Target{Node: "c", RunID: RunID('c')}); why != ReasonNone {
		t.Fatal(why)
	}
	w.lose()
	w.now = w.now.Add(20 * time.Millisecond)
	w.start("b", 10)
	w.m["b"].SetEligible(w.at(), "web", true, 1)
	for _, msg := range again {
		msg.Seq.Counter += 100
		w.m["b"].Step(w.at(), msg)
	}
	for _, way := range [][2]string{{"b", "a"}, {"b", "c"}, {"a", "b"}, {"c", "b"}} {
		w.deliver(way[0], way[1])
	}
	if v, _ := w.m["b"].Group(w.now, "web"); w.m["b"].Valid(w.now, "web") && v.Epoch == used.Epoch {
		t.Errorf("b holds epoch %d again", v.Epoch)
	}
}

// trio is three machines with a network that delivers what it is told to.
type trio struct {
	t      *testing.T
	now    Instant
	unix   int64
	m      map[string]*Machine
	record map[string]*Record
	net    []parcel
}

type parcel struct {
	from, to string
	msg      Message
}

func newTrio(t *testing.T) *trio {
	w := &trio{t: t, now: Instant(time.Hour), unix: 1000, m: make(map[string]*Machine), record: make(map[string]*Record)}
	for i, n := range []string{"a", "b", "c"} {
		w.record[n] = &Record{Generation: 1, TTL: time.Second} // no quarantine
		w.start(n, uint64(i+1))
	}
	return w
}

func (w *trio) at() Time { return Time{Boot: w.now, Unix: w.unix} }

func (w *trio) start(n string, incarnation uint64) {
	w.t.Helper()
	names := []string{"a", "b", "c"}
	var err error
	w.m[n], err = New(w.at(), Config{Cluster: "s", Node: n, RunID: RunID(n[0]), Nodes: names, Voters: names, Generation: 1, TTL: time.Second,
		Groups: []string{"web"}, Incarnation: incarnation, Rand: rand.New(rand.NewPCG(1, 2)), Record: w.record[n]})
	if err != nil {
		w.t.Fatal(err)
	}
	w.collect()
}

// collect carries out everybody's effects.
func (w *trio) collect() {
	for _, n := range []string{"a", "b", "c"} {
		if w.m[n] == nil {
			continue
		}
		for _, e := range w.m[n].Effects() {
			switch e := e.(type) {
			case Send:
				w.net = append(w.net, parcel{n, e.To, e.Message})
			case Persist:
				w.record[n] = &e.Record
			}
		}
	}
}

// deliver brings what is under way from one to another.
func (w *trio) deliver(from, to string) {
	w.collect()
	net := w.net
	w.net = nil
	for _, p := range net {
		if p.from == from && p.to == to {
			w.m[to].Step(w.at(), p.msg)
		} else {
			w.net = append(w.net, p)
		}
	}
	w.collect()
}

// lose drops everything that is under way.
func (w *trio) lose() {
	w.collect()
	w.net = nil
}
