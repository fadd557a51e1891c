package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/checks"
)

func (n *testNode) ask(t *testing.T, q control.EventQuery) control.History {
	t.Helper()
	h, err := n.api.Events(t.Context(), q)
	if err != nil {
		t.Fatalf("events of %s: %v", n.node, err)
	}
	return h
}

// only keeps the events of a kind.
func only(kind string, events []control.Event) (out []control.Event) {
	for _, e := range events {
		if e.Kind == kind {
			out = append(out, e)
		}
	}
	return out
}

// moves writes the moves of a history, "web1 by web1", in order.
func moves(events []control.Event) string {
	var out []string
	for _, e := range only(kindOwner, events) {
		out = append(out, e.To+" by "+e.Node)
	}
	return strings.Join(out, ", ")
}

// errorsOf are the nodes that are missing, and why.
func errorsOf(h control.History) string {
	var out []string
	for _, s := range h.Sources {
		if s.Error != "" {
			out = append(out, s.Node+" "+s.Error)
		}
	}
	return strings.Join(out, "; ")
}

func TestEventsOfTheCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, db1 := settled(t, testConfig)
		switchover(t, db1, control.SwitchoverRequest{Group: "web"})
		w.wait(testTTL)
		switchover(t, web1, control.SwitchoverRequest{Group: "web"})
		w.wait(testTTL)
		w.owned("web1")
		var first string
		for _, n := range w.alive() {
			h := n.ask(t, control.EventQuery{Cluster: true})
			diff(t, n.node+": moves", moves(h.Events), "web1 by web1, web2 by web2, web1 by web1")
			diff(t, n.node+": missing", errorsOf(h), "")
			diff(t, n.node+": asked first", h.Sources[0].Node, n.node)
			for _, e := range only(kindOwner, h.Events)[1:] {
				diff(t, n.node+": accounts", len(e.Accounts), 2)
			}
			if got := lines(h.Events); first == "" {
				first = got
			} else if len(got) != len(first) { // the order of what is told in the same instant may differ
				t.Errorf("%s tells\n%s\n\nanother one\n%s", n.node, got, first)
			}
		}
		h := db1.ask(t, control.EventQuery{Cluster: true, Max: 3})
		diff(t, "the newest", len(h.Events), 3)
		h = db1.ask(t, control.EventQuery{Node: "web2"})
		diff(t, "of web2", moves(h.Events), "web1 by web2, web2 by web2, web1 by web2")
		diff(t, "of this node", moves(db1.ask(t, control.EventQuery{}).Events), "web1 by db1, web2 by db1, web1 by db1")
		h = db1.ask(t, control.EventQuery{Cluster: true, Since: time.Now().Add(-3 * testTTL / 2)})
		diff(t, "young ones", moves(h.Events), "web1 by web1")
		var e *control.Error
		if _, err := db1.api.Events(t.Context(), control.EventQuery{Node: "web9"}); !errors.As(err, &e) || e.Code != control.CodeNotFound {
			t.Errorf("a node that is not configured: %v", err)
		}

		// One that is known to be down is not waited for, one that has just fallen silent for a bound.
		web2.unplug()
		began := time.Now()
		h = db1.ask(t, control.EventQuery{Cluster: true})
		diff(t, "missing", errorsOf(h), "web2 unreachable")
		diff(t, "moves", moves(h.Events), "web1 by web1, web2 by web1, web1 by web1")
		web2.isolate(true)
		h = db1.ask(t, control.EventQuery{Cluster: true})
		diff(t, "missing", errorsOf(h), "web2 is down")
		diff(t, "waited", time.Since(began), time.Duration(0))
		diff(t, "only the missing one", errorsOf(db1.ask(t, control.EventQuery{Node: "web2"})), "web2 is down")
	})
}

func TestEventsOfAFrozenPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, web2, db1 := settled(t, testConfig)
		thaw := make(chan struct{})
		web2.mu.Lock()
		web2.onCall = func(string) { <-thaw }
		web2.mu.Unlock()
		began := time.Now()
		h := db1.ask(t, control.EventQuery{Cluster: true})
		close(thaw)
		diff(t, "waited", time.Since(began), historyPeerWait)
		diff(t, "missing", errorsOf(h), "web2 did not answer within 2s")
		diff(t, "moves", moves(h.Events), "web1 by web1")
	})
}

// A peer that has more than a page holds is asked for all of them; and no more than that are ever asked for.
func TestEventsInPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, web2, db1 := settled(t, testConfig)
		web2.look(func() {
			for i := range 2*historyPage + 10 {
				web2.history.add(control.Event{Kind: kindHook, Reason: fmt.Sprint(i)})
			}
		})
		calls := 0
		web2.mu.Lock()
		web2.onCall = func(string) { calls++ }
		web2.mu.Unlock()
		for _, tt := range []struct{ max, want, calls int }{{0, 2*historyPage + 10, 3}, {historyPage + 1, historyPage + 1, 2}, {5, 5, 1}} {
			calls = 0
			h := db1.ask(t, control.EventQuery{Node: "web2", Max: tt.max})
			got := only(kindHook, h.Events)
			diff(t, "events", len(got), tt.want)
			diff(t, "the last one", got[len(got)-1].Reason, fmt.Sprint(2*historyPage+9))
			diff(t, "calls", calls, tt.calls)
		}
	})
}

func TestFollowTheCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, db1 := settled(t, testConfig)
		ctx, cancel := context.WithCancel(t.Context())
		past, live, err := db1.api.Follow(ctx, control.EventQuery{Cluster: true})
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "the past", moves(past.Events), "web1 by web1")
		var got []control.Event
		done := make(chan struct{})
		go func() {
			defer close(done)
			for e := range live {
				got = append(got, e)
			}
		}()
		look := func(what, want string) {
			t.Helper()
			w.wait(2 * moveSettle)
			diff(t, what, moves(got), want)
			got = nil
		}
		switchover(t, web1, control.SwitchoverRequest{Group: "web"})
		look("a move once, by its new owner", "web2 by web2")

		thaw := make(chan struct{})
		web2.mu.Lock() // it does what it does, and does not answer for its history
		web2.onCall = func(method string) {
			if method == methodHistory {
				<-thaw
			}
		}
		web2.mu.Unlock()
		switchover(t, web1, control.SwitchoverRequest{Group: "web"})
		look("from web2, which is silent", "web1 by web1")
		web1.check("web", checks.Failing, "refused")
		look("to web2, which is silent: by who else saw it", "web2 by web1")
		close(thaw)
		look("told late: nothing twice", "")
		cancel()
		<-done
		synctest.Wait()
		diff(t, "followers", db1.api.followers.Load(), int64(0))
		w.wait(historyWait + historyPeerWait)
	})
}

// A peer that was away when the reader began tells what it has recorded since, once it is there.
func TestFollowOneThatComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _, web2, db1 := settled(t, testConfig)
		web2.isolate(true)
		ctx, cancel := context.WithCancel(t.Context())
		past, live, err := db1.api.Follow(ctx, control.EventQuery{Cluster: true})
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "missing", errorsOf(past), "web2 is down")
		var got []string
		done := make(chan struct{})
		go func() {
			defer close(done)
			for e := range live {
				if e.Kind == kindHook {
					got = append(got, e.Reason)
				}
			}
		}()
		web2.look(func() { web2.history.add(control.Event{Kind: kindHook, Reason: "while it was away"}) })
		w.wait(5 * time.Second)
		web2.isolate(false)
		w.wait(2 * followRetry)
		web2.look(func() { web2.history.add(control.Event{Kind: kindHook, Reason: "back"}) })
		w.wait(time.Millisecond)
		diff(t, "told", got, []string{"while it was away", "back"})
		cancel()
		<-done
	})
}

func TestFollowersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, _, db1 := settled(t, testConfig)
		ctx, cancel := context.WithCancel(t.Context())
		var lives []<-chan control.Event
		for range followCalls / 2 { // two peers each
			_, live, err := db1.api.Follow(ctx, control.EventQuery{Cluster: true})
			if err != nil {
				t.Fatal(err)
			}
			lives = append(lives, live)
		}
		if _, _, err := db1.api.Follow(ctx, control.EventQuery{Cluster: true}); err == nil || !strings.Contains(err.Error(), "--local") {
			t.Errorf("one more: %v", err)
		}
		_, local, err := db1.api.Follow(ctx, control.EventQuery{})
		if err != nil {
			t.Errorf("of this node: %v", err)
		}
		db1.look(func() {
			for range 2 * subscriberQueue { // nobody reads
				db1.history.add(control.Event{Kind: kindHook})
			}
		})
		n := 0
		for range local {
			n++
		}
		if n == 0 || n > 2*subscriberQueue-1 {
			t.Errorf("a reader that fell behind got %d events before the end", n)
		}
		cancel()
		for _, live := range lives {
			for range live {
			}
		}
		diff(t, "followers", db1.api.followers.Load(), int64(0))
	})
}
