package lease

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// voterModel is what the world may conclude from what a voter said, without
// looking into it: whoever was granted the group may count on it for one ttl,
// unless it gave it up itself.
type voterModel struct {
	*lone
	record *Record
	boots  uint64

	holder  string
	run     RunID
	epoch   Epoch
	until   Instant
	quiet   Instant // before it nothing may be granted
	highest Epoch   // that was ever granted
	shown   Epoch   // highest epoch that the voter itself told of
}

func (v *voterModel) start(t *rapid.T, record *Record) {
	cfg := Config{
		Cluster: "shop", Node: "v", RunID: 99, Nodes: []string{"a", "b", "c", "v"}, Voters: []string{"a", "b", "v"}, Generation: 5,
		TTL: time.Second, Groups: []string{"web"}, Incarnation: v.boots, Record: record, Rand: newRand(v.boots),
	}
	m, err := New(v.time(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	v.Machine = m
	v.carryOut()
}

func (v *voterModel) carryOut() []Entry {
	var said []Entry
	for _, e := range v.Effects() {
		switch e := e.(type) {
		case Persist:
			v.record = &e.Record
		case Send:
			said = append(said, e.Message.Entries...)
		}
	}
	return said
}

func (v *voterModel) tell(t *rapid.T, from string, run RunID, e Entry) {
	v.seq++
	msg := Message{Cluster: "shop", From: from, RunID: run, Generation: 5, Voters: ListHash([]string{"a", "b", "v"}), TTL: time.Second, Seq: Seq{1, v.seq}, Entries: []Entry{e}}
	v.Step(v.time(), msg)
	for _, a := range v.carryOut() {
		switch a.Kind {
		case KindGrant:
			v.granted(t, from, run, e)
		case KindRefuse:
			if a.Highest != 0 && a.Highest < v.shown {
				t.Fatalf("the highest epoch fell from %d to %d", v.shown, a.Highest)
			}
			v.shown = max(v.shown, a.Highest)
		}
	}
}

func (v *voterModel) granted(t *rapid.T, from string, run RunID, e Entry) {
	same := from == v.holder && run == v.run && e.Epoch == v.epoch
	byTicket := e.Ticket.From == v.holder && e.Ticket.RunID == v.run && e.Ticket.Epoch == v.epoch
	switch {
	case v.now < v.quiet:
		t.Fatalf("granted %s epoch %d in quarantine", from, e.Epoch)
	case v.now < v.until && !same && !byTicket:
		t.Fatalf("granted %s epoch %d while %s epoch %d has %v left", from, e.Epoch, v.holder, v.epoch, v.until.Sub(v.now))
	case !same && e.Epoch <= v.highest && !e.Valid:
		t.Fatalf("granted %s epoch %d, but %d was granted before", from, e.Epoch, v.highest)
	}
	v.promised(from, run, e.Epoch)
}

func (v *voterModel) promised(holder string, run RunID, epoch Epoch) {
	v.holder, v.run, v.epoch, v.until = holder, run, epoch, v.now.Add(time.Second)
	v.highest = max(v.highest, epoch)
}

// TestVoter: whatever is asked, told and restarted, in whatever order, a voter
// keeps its word.
func TestVoter(t *testing.T) {
	node := rapid.SampledFrom([]string{"a", "b", "c"})
	run := rapid.Map(rapid.IntRange(1, 2), func(n int) RunID { return RunID(n) })
	rapid.Check(t, func(t *rapid.T) {
		v := &voterModel{lone: &lone{now: Instant(time.Hour)}}
		epoch := rapid.Custom(func(t *rapid.T) Epoch {
			return Epoch(rapid.IntRange(max(0, int(v.highest)-3), int(v.highest)+3).Draw(t, "epoch"))
		})
		boot := func() {
			v.boots++
			v.record, v.until, v.highest, v.shown = nil, 0, 0, 0
			v.quiet = v.now.Add(time.Second)
			v.start(t, nil)
		}
		boot()
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				v.Check()
				view, _ := v.Group(v.now, "web")
				if v.now < v.until && v.now >= v.quiet && (view.Holder != v.holder || view.HolderEpoch != v.epoch) {
					t.Fatalf("it promised %s epoch %d, and says %v", v.holder, v.epoch, view)
				}
			},
			"request": func(t *rapid.T) {
				e := Entry{Group: "web", Kind: KindRequest, Epoch: epoch.Draw(t, "epoch"), Valid: rapid.Bool().Draw(t, "valid")}
				if rapid.IntRange(0, 3).Draw(t, "ticket") == 0 {
					e.Ticket = Ticket{From: node.Draw(t, "from"), RunID: run.Draw(t, "run"), Epoch: epoch.Draw(t, "of")}
				}
				v.tell(t, node.Draw(t, "node"), run.Draw(t, "run"), e)
			},
			"renew": func(t *rapid.T) {
				if v.holder != "" {
					v.tell(t, v.holder, v.run, Entry{Group: "web", Kind: KindRequest, Epoch: v.epoch, Valid: true})
				}
			},
			"release": func(t *rapid.T) {
				n, r, e := node.Draw(t, "node"), run.Draw(t, "run"), epoch.Draw(t, "epoch")
				if n == v.holder && r == v.run && e == v.epoch {
					v.holder, v.until = "", 0
				}
				v.tell(t, n, r, Entry{Group: "web", Kind: KindRelease, Epoch: e})
			},
			"transfer": func(t *rapid.T) {
				n, r := v.holder, v.run
				e := Entry{Group: "web", Kind: KindTransfer, Epoch: v.epoch, To: node.Draw(t, "to"), ToRun: run.Draw(t, "to run"), ToEpoch: epoch.Draw(t, "to epoch")}
				if rapid.Bool().Draw(t, "by somebody else") {
					n, r = node.Draw(t, "node"), run.Draw(t, "run")
				}
				if n == "" {
					return
				}
				own := n == v.holder && r == v.run
				v.tell(t, n, r, e)
				// Who hands over has let go: it does not matter to it whether the
				// voter could follow.
				if view, _ := v.Group(v.now, "web"); own && e.ToEpoch > v.epoch && view.Holder == e.To && view.HolderEpoch == e.ToEpoch {
					v.promised(e.To, e.ToRun, e.ToEpoch)
				} else if own {
					v.until = 0
				}
			},
			"time passes": func(t *rapid.T) {
				v.now = v.now.Add(time.Duration(rapid.IntRange(1, 1200).Draw(t, "ms")) * time.Millisecond)
				v.Tick(v.time())
				v.carryOut()
			},
			"restart": func(t *rapid.T) {
				v.boots++
				v.start(t, v.record)
				if v.record == nil {
					v.quiet = v.now.Add(time.Second)
				}
			},
			"boot": func(t *rapid.T) {
				if rapid.IntRange(0, 4).Draw(t, "rarely") == 0 {
					boot()
				}
			},
			"snapshot": func(t *rapid.T) {
				v.Paused(v.time(), true)
				v.quiet = max(v.quiet, v.now.Add(time.Second))
				v.carryOut()
			},
		})
	})
}

// TestVoterForgetsNothing is the short form of the above: a record is written
// before the grant leaves.
func TestVoterForgetsNothing(t *testing.T) {
	l := newLone(t, nil)
	l.Effects()
	l.Step(l.time(), Message{Cluster: "shop", From: "a", RunID: 1, Generation: 5, Voters: ListHash([]string{"a", "b", "v"}), TTL: time.Second, Seq: Seq{1, 1}, Entries: []Entry{request("web", 2000)}})
	var order []string
	for _, e := range l.Effects() {
		order = append(order, fmt.Sprintf("%T", e))
	}
	if len(order) != 2 || order[0] != "lease.Persist" || order[1] != "lease.Send" {
		t.Errorf("effects %v, want the record and then the grant", order)
	}
}
