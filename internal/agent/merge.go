package agent

import (
	"slices"
	"time"

	"github.com/hbagent/hbagent/internal/control"
)

// This file makes one history of those of several nodes. It is pure.

// told is what one node has recorded, in the order in which it did.
type told struct {
	skew   time.Duration // how far its clock is ahead of this node's; 0: not told apart
	events []control.Event
}

// moveKey names a move: an epoch belongs to one owner of one group.
type moveKey struct {
	group string
	epoch uint64
	to    string
}

// moveOf returns which move an event tells of; ok is false for whatever is no move.
func moveOf(e control.Event) (k moveKey, ok bool) {
	return moveKey{e.Group, e.Epoch, e.To}, e.Kind == kindOwner && e.Epoch != 0 && e.To != ""
}

// better says whether a is a better account of one move than b: that of the new owner is, which
// knows why it took the group; then that of the old one; then the earlier.
func better(a, b control.Event) bool {
	rank := func(e control.Event) int {
		switch e.Node {
		case e.To:
			return 0
		case e.From:
			return 1
		}
		return 2
	}
	if ra, rb := rank(a), rank(b); ra != rb {
		return ra < rb
	}
	return a.At.Before(b.At)
}

func account(e control.Event) control.Account {
	return control.Account{At: e.At, Node: e.Node, Seq: e.Seq, From: e.From, Reason: e.Reason, Detail: e.Detail}
}

// fold puts accounts of one move into the best of them. A new owner that was away does not know whom it
// follows; one who was there does.
func fold(accounts []control.Event) control.Event {
	best := accounts[0]
	for _, e := range accounts[1:] {
		if better(e, best) {
			best = e
		}
	}
	best.Accounts = nil
	for _, e := range accounts {
		if e.Node == best.Node && e.Seq == best.Seq {
			continue
		}
		best.Accounts = append(best.Accounts, account(e))
		if best.From == "" {
			best.From = e.From
		}
	}
	return best
}

// foldMoves leaves each move once, where the node with the best account has it.
func foldMoves(all []told) []told {
	accounts := make(map[moveKey][]control.Event)
	for _, t := range all {
		for _, e := range t.events {
			if k, ok := moveOf(e); ok {
				accounts[k] = append(accounts[k], e)
			}
		}
	}
	out := make([]told, len(all))
	for i, t := range all {
		out[i].skew = t.skew
		for _, e := range t.events {
			if k, ok := moveOf(e); ok {
				best := fold(accounts[k])
				if best.Node != e.Node || best.Seq != e.Seq {
					continue
				}
				e = best
			}
			out[i].events = append(out[i].events, e)
		}
	}
	return out
}

// merge makes one list of several: by time, with the differences between the clocks taken out as far as they
// are known; what one node has recorded stays in its order, and moves of one group are in the order of
// their epochs, whatever the clocks say.
func merge(all []told) []control.Event {
	all = foldMoves(all)
	waiting := make(map[string][]uint64) // epochs of moves that are not placed yet, by group
	total := 0
	for _, t := range all {
		total += len(t.events)
		for _, e := range t.events {
			if _, ok := moveOf(e); ok {
				waiting[e.Group] = append(waiting[e.Group], e.Epoch)
			}
		}
	}
	for g := range waiting {
		slices.Sort(waiting[g])
	}
	next := make([]int, len(all))
	out := make([]control.Event, 0, total)
	for len(out) < total {
		i := pick(all, next, waiting)
		e := all[i].events[next[i]]
		next[i]++
		if _, ok := moveOf(e); ok {
			w := waiting[e.Group]
			at, _ := slices.BinarySearch(w, e.Epoch)
			waiting[e.Group] = slices.Delete(w, at, at+1)
		}
		out = append(out, e)
	}
	return out
}

// pick returns the list whose next event comes first. A move waits for those of lower epochs. Where everything waits (a
// node noted an old move late, which only a restart makes it do), time alone decides.
func pick(all []told, next []int, waiting map[string][]uint64) int {
	first := func(mayWait bool) int {
		best, at := -1, time.Time{}
		for i, t := range all {
			if next[i] == len(t.events) {
				continue
			}
			e := t.events[next[i]]
			if _, move := moveOf(e); move && !mayWait && waiting[e.Group][0] < e.Epoch {
				continue
			}
			if when := e.At.Add(-t.skew); best < 0 || when.Before(at) {
				best, at = i, when
			}
		}
		return best
	}
	if i := first(false); i >= 0 {
		return i
	}
	return first(true)
}

// newestOf keeps the last n events; 0 keeps all.
func newestOf(events []control.Event, n int) []control.Event {
	if n > 0 && len(events) > n {
		return events[len(events)-n:]
	}
	return events
}
