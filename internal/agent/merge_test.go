package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hbagent/hbagent/internal/control"
)

// at is an event of a node, so many seconds after noon by its own clock.
func at(node string, seconds float64, text string) control.Event {
	when := noon.Add(time.Duration(seconds * float64(time.Second)))
	return control.Event{At: when, Node: node, Seq: uint64(when.UnixMicro()), Kind: kindCheck, Reason: text}
}

// moveAt is an account of a move.
func moveAt(node string, seconds float64, from, to string, epoch uint64) control.Event {
	e := at(node, seconds, "by "+node)
	e.Kind, e.Group, e.From, e.To, e.Epoch = kindOwner, "web", from, to, epoch
	return e
}

// lines writes events as "web1: text", and moves as "web1: a>b@1 (web2, db1)".
func lines(events []control.Event) string {
	var out []string
	for _, e := range events {
		s := e.Node + ": " + e.Reason
		if e.Kind == kindOwner {
			s = fmt.Sprintf("%s: %s>%s@%d", e.Node, e.From, e.To, e.Epoch)
		}
		var also []string
		for _, a := range e.Accounts {
			also = append(also, a.Node)
		}
		if also != nil {
			s += " (" + strings.Join(also, ", ") + ")"
		}
		out = append(out, s)
	}
	return strings.Join(out, "\n")
}

func TestMerge(t *testing.T) {
	for _, tt := range []struct {
		name string
		all  []told
		want string
	}{
		{"nothing", []told{{}, {}}, ""},
		{"by time", []told{
			{events: []control.Event{at("web1", 1, "a"), at("web1", 3, "c")}},
			{events: []control.Event{at("web2", 2, "b"), at("web2", 4, "d")}},
		}, "web1: a\nweb2: b\nweb1: c\nweb2: d"},
		{"a move once, by the new owner", []told{
			{events: []control.Event{moveAt("web1", 1, "web1", "web2", 7)}},
			{events: []control.Event{moveAt("web2", 1.1, "web1", "web2", 7), at("web2", 2, "later")}},
			{events: []control.Event{moveAt("db1", 1.2, "web1", "web2", 7)}},
		}, "web2: web1>web2@7 (web1, db1)\nweb2: later"},
		{"the new owner cannot be asked: by the old one", []told{
			{events: []control.Event{moveAt("db1", 1, "web1", "web2", 7)}},
			{events: []control.Event{moveAt("web1", 2, "web1", "web2", 7)}},
		}, "web1: web1>web2@7 (db1)"},
		{"nor the old one: by whoever saw it first", []told{
			{events: []control.Event{moveAt("db2", 2, "web1", "web2", 7)}},
			{events: []control.Event{moveAt("db1", 1, "web1", "web2", 7)}},
		}, "db1: web1>web2@7 (db2)"},
		{"a new owner that was away does not know whom it follows", []told{
			{events: []control.Event{moveAt("web2", 1, "", "web2", 7)}},
			{events: []control.Event{moveAt("db1", 2, "web1", "web2", 7)}},
		}, "web2: web1>web2@7 (db1)"},
		{"a node that was started later notes an old move again", []told{
			{events: []control.Event{moveAt("web2", 1, "web1", "web2", 7), at("web2", 50, "x")}},
			{events: []control.Event{at("db1", 99, "started"), moveAt("db1", 100, "", "web2", 7)}},
		}, "web2: web1>web2@7 (db1)\nweb2: x\ndb1: started"},
		{"without an epoch, or an owner, each one counts", []told{
			{events: []control.Event{moveAt("web1", 1, "web1", "", 0), moveAt("web1", 2, "", "web1", 0)}},
			{events: []control.Event{moveAt("web2", 1.5, "", "web1", 0)}},
		}, "web1: web1>@0\nweb2: >web1@0\nweb1: >web1@0"},
		{"a clock that is ahead", []told{
			{events: []control.Event{at("web1", 1, "a"), at("web1", 3, "c")}},
			{skew: 1000 * time.Second, events: []control.Event{at("web2", 1002, "b"), at("web2", 1004, "d")}},
		}, "web1: a\nweb2: b\nweb1: c\nweb2: d"},
		{"epochs order moves, whatever the clocks say", []told{
			{events: []control.Event{moveAt("web1", 1, "web2", "web1", 8), at("web1", 2, "after 8")}},
			{events: []control.Event{moveAt("web2", 500, "web1", "web2", 7), moveAt("web2", 600, "web1", "web2", 9)}},
		}, "web2: web1>web2@7\nweb1: web2>web1@8\nweb1: after 8\nweb2: web1>web2@9"},
		{"what a node recorded stays in its order when its clock goes back", []told{
			{events: []control.Event{at("web1", 100, "a"), at("web1", 5, "b"), at("web1", 6, "c")}},
			{events: []control.Event{at("web2", 50, "x")}},
		}, "web2: x\nweb1: a\nweb1: b\nweb1: c"},
		{"two that wait for each other", []told{
			{events: []control.Event{moveAt("db1", 1, "a", "web2", 9), moveAt("db1", 2, "", "web3", 3)}},
			{events: []control.Event{moveAt("db2", 1, "a", "web4", 10), moveAt("db2", 2, "", "web5", 2)}},
		}, "db1: a>web2@9\ndb2: a>web4@10\ndb2: >web5@2\ndb1: >web3@3"},
	} {
		diff(t, tt.name, lines(merge(tt.all)), tt.want)
	}
}

// Whatever nodes with clocks of their own have seen: nothing is lost or told twice, each node's order stays, and the
// moves of a group are in the order of their epochs.
func TestMergeOfAnything(t *testing.T) {
	nodes := []string{"web1", "web2", "db1"}
	rapid.Check(t, func(t *rapid.T) {
		clocks := rapid.SliceOfN(rapid.IntRange(-1000, 1000), len(nodes), len(nodes)).Draw(t, "clocks")
		all := make([]told, len(nodes))
		var seq uint64
		events, moves := 0, 0
		owner := "web1"
		for second := range rapid.IntRange(0, 30).Draw(t, "seconds") {
			if rapid.Bool().Draw(t, "move") {
				from := owner
				owner = rapid.SampledFrom([]string{"web1", "web2"}).Draw(t, "owner")
				seen := false
				for i, n := range nodes {
					if rapid.Bool().Draw(t, "sees it") || n == owner && !seen {
						seq++
						e := moveAt(n, float64(second+clocks[i]), from, owner, uint64(second+1))
						e.Seq = seq
						all[i].events = append(all[i].events, e)
						seen = true
					}
				}
				if seen {
					moves++
				}
				continue
			}
			i := rapid.IntRange(0, len(nodes)-1).Draw(t, "who")
			seq++
			e := at(nodes[i], float64(second+clocks[i]), "x")
			e.Seq = seq
			all[i].events = append(all[i].events, e)
			events++
		}
		got := merge(all)
		last := make(map[string]uint64)
		var epoch uint64
		for _, e := range got {
			if e.Kind == kindOwner {
				moves--
				if e.Epoch <= epoch {
					t.Fatalf("epoch %d behind %d:\n%s", e.Epoch, epoch, lines(got))
				}
				epoch = e.Epoch
			} else {
				events--
			}
			if e.Seq <= last[e.Node] {
				t.Fatalf("%s's %d behind its %d:\n%s", e.Node, e.Seq, last[e.Node], lines(got))
			}
			last[e.Node] = e.Seq
		}
		if events != 0 || moves != 0 {
			t.Fatalf("%d events and %d moves are missing:\n%s", events, moves, lines(got))
		}
	})
}

func TestSkew(t *testing.T) {
	began := noon
	for _, tt := range []struct{ theirs, took, want time.Duration }{
		{5 * time.Millisecond, 10 * time.Millisecond, 0},
		{0, 10 * time.Millisecond, 0},
		{10 * time.Millisecond, 10 * time.Millisecond, 0},
		{15 * time.Millisecond, 10 * time.Millisecond, 10 * time.Millisecond},
		{-3 * time.Second, 0, -3 * time.Second},
		{time.Second, 4 * time.Second, 0},
	} {
		diff(t, fmt.Sprint(tt), skew(began.Add(tt.theirs), began, began.Add(tt.took)), tt.want)
	}
}
