package agent

import (
	"context"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/checks"
	"github.com/hbagent/hbagent/pkg/cluster"
	"github.com/hbagent/hbagent/pkg/vip"
)

func diff(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestElection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testConfig)
		web1, web2, db1 := w.bootAll()
		w.owned("") // every voter is in quarantine
		w.wait(3 * testTTL)
		w.owned("web1")
		for _, n := range []*testNode{web1, web2, db1} {
			diff(t, n.node+": owner events", n.events(kindOwner), []string{">web1: nobody had it"})
		}
		diff(t, "states on web1", web1.events(kindState), []string{"standby>active: nobody had it"})
		diff(t, "states on db1", db1.events(kindState), []string(nil))
		w.wait(10 * testTTL)
		w.owned("web1")
		diff(t, "calls on web1", web1.addrs.said(), []string{"open web"})
		diff(t, "calls on web2", web2.addrs.said(), []string(nil))
	})
}

func TestNobodyStandsBeforeItsChecksHaveAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testConfig)
		w.boot("web1")
		web2 := w.boot("web2")
		w.boot("db1")
		w.wait(5 * testTTL)
		w.owned("")
		web2.check("web", checks.Passing, "")
		w.wait(testTTL / 2)
		w.owned("web2")
	})
}

func TestOwnerDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, db1 := settled(t, testConfig)
		web1.isolate(true)
		w.wait(testTTL)
		if got := w.holders("web"); len(got) > 1 {
			t.Fatalf("two holders: %v", got)
		}
		w.wait(testTTL / 2)
		w.owned("web2")
		for _, n := range []*testNode{web2, db1} {
			diff(t, n.node, n.events(kindOwner)[1:], []string{"web1>web2: the last owner was not heard for one ttl"})
		}
		if !slices.Contains(web1.events(kindState), "active>standby: no majority answered within the ttl") {
			t.Errorf("web1 does not say why it let go: %v", web1.events(kindState))
		}
		web1.isolate(false)
		w.wait(5 * testTTL)
		w.owned("web2")
	})
}

func TestFailingCheckMovesTheGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, db1 := settled(t, testConfig)
		web1.check("web", checks.Failing, "connection refused")
		w.wait(10 * time.Millisecond)
		w.owned("web2")
		const why = "check web fails: connection refused"
		for _, n := range []*testNode{web1, web2, db1} {
			diff(t, n.node, n.events(kindOwner)[1:], []string{"web1>web2: " + why})
			n.look(func() {
				if got := n.groups["web"].recentMoves(time.Now()); got != 1 {
					t.Errorf("%s counts %d moves, want 1", n.node, got)
				}
			})
		}
		diff(t, "states on web1", web1.events(kindState)[1:], []string{"active>fault: " + why})

		web1.check("web", checks.Passing, "")
		w.wait(testHold / 2)
		diff(t, "states on web1", web1.events(kindState)[2:], []string{"fault>standby: healthy again, but not yet for 10s"})
		web2.check("web", checks.Failing, "")
		w.wait(testTTL)
		w.owned("web2") // web1 is not fit yet: shared fate
		web2.look(func() {
			if got, want := web2.groups["web"].reason(), "check web fails; stays here: web1: healthy again, but not yet for 10s"; got != want {
				t.Errorf("reason %q, want %q", got, want)
			}
		})
		w.wait(testHold / 2)
		w.owned("web1")
	})
}

func TestMovesHaveABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, _ := settled(t, edited(t, `max_moves = "4/10m"`, `max_moves = "2/10m"`, `hold = "10s"`, `hold = "0s"`))
		swap := func(from, to *testNode) {
			to.check("web", checks.Passing, "")
			from.check("web", checks.Failing, "")
			w.wait(testTTL)
		}
		swap(web1, web2)
		w.owned("web2")
		swap(web2, web1)
		w.owned("web1")
		swap(web1, web2)
		w.owned("web1") // both have counted both moves
		web1.look(func() {
			if got, want := web1.groups["web"].reason(), "check web fails; stays here: moved 2 times in 10m0s already (max_moves)"; got != want {
				t.Errorf("reason %q, want %q", got, want)
			}
		})
		web1.isolate(true) // a dead owner is always replaced
		w.wait(2 * testTTL)
		w.owned("web2")
		web1.isolate(false)
		w.wait(10 * time.Minute)
		web1.check("web", checks.Passing, "")
		web2.check("web", checks.Failing, "")
		w.wait(testTTL)
		w.owned("web1")
	})
}

func TestFailback(t *testing.T) {
	text := edited(t, "failback = false", "failback = true")
	t.Run("to a machine that has booted", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, web1, _, _ := settled(t, text)
			web1.isolate(true)
			w.wait(3 * testTTL)
			web1.isolate(false)
			w.wait(testHold - testTTL)
			w.owned("web2") // it must stay up for hold first
			w.wait(2 * testTTL)
			w.owned("web1")
			diff(t, "owners", web1.events(kindOwner)[2:], []string{"web2>web1: web1 is preferred and healthy again"})
		})
	})
	t.Run("not to one that has just died", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, web1, web2, _ := settled(t, text)
			w.wait(2 * testHold)
			web1.unplug() // the membership notices seconds after the lease has run out
			w.wait(3 * testTTL)
			diff(t, "holders", w.holders("web"), []string{"web2"})
			diff(t, "calls on web2", web2.addrs.said(), []string{"open web"})
		})
	})
	t.Run("to a service that is back", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, web1, _, _ := settled(t, text)
			web1.check("web", checks.Failing, "")
			w.wait(testHold)
			w.owned("web2")
			web1.check("web", checks.Passing, "")
			w.wait(testHold - testTTL)
			w.owned("web2")
			w.wait(2 * testTTL)
			w.owned("web1")
		})
	})
	t.Run("not after a switchover, and not after a restart after that", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, web1, web2, _ := settled(t, text)
			res, err := web1.api.Switchover(t.Context(), control.SwitchoverRequest{Group: "web", To: "web2"}, func(control.SwitchoverStep) {})
			if err != nil || res.Outcome != control.OutcomeMoved {
				t.Fatalf("%+v, %v", res, err)
			}
			w.wait(3 * testHold)
			w.owned("web2")

			web2.kill(context.Canceled)
			web2 = w.boot("web2")
			web2.check("web", checks.Passing, "")
			w.wait(3 * testHold)
			w.owned("web2")

			web1.check("web", checks.Failing, "") // what becomes healthy later counts again
			web1.check("web", checks.Passing, "")
			w.wait(testHold + testTTL)
			w.owned("web1")
		})
	})
}

func TestLinkDownMovesTheGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, _, _ := settled(t, testConfig)
		web1.look(func() { web1.vipEvent(vip.Event{Kind: vip.LinkDown, Interface: "eth0"}) })
		w.wait(testTTL / 10)
		w.owned("web2")
		diff(t, "states", web1.events(kindState)[1:], []string{"active>fault: interface eth0 has no link"})
		web1.look(func() { web1.vipEvent(vip.Event{Kind: vip.LinkUp, Interface: "eth0"}) })
		w.wait(testHold + testTTL)
		web1.look(func() { diff(t, "eligible", web1.groups["web"].fitness.Eligible, true) })
	})
}

func TestConflictIsAnsweredAfterTheLeaseIsConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, _ := settled(t, testConfig)
		web1.addrs.said()
		mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
		claim := vip.Event{Kind: vip.Conflict, Group: "web", MAC: mac, Detail: "claims 10.0.0.50"}
		web2.look(func() { web2.vipEvent(claim) }) // it does not have the group
		web1.look(func() { web1.vipEvent(claim) })
		diff(t, "at once", web1.addrs.said(), []string(nil))
		w.wait(testTTL)
		diff(t, "after a round", web1.addrs.said(), []string{"defend web"})
		diff(t, "web2", slices.Contains(web2.addrs.said(), "defend web"), false)
		diff(t, "history", web1.events(kindConflict), []string{mac.String() + ">: conflict"})
	})
}

func TestPeerReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, _, db1 := settled(t, testConfig)
		web1.addrs.said()
		db1.isolate(true)
		w.wait(testTTL)
		db1.isolate(false)
		diff(t, "calls", web1.addrs.said(), []string{"reannounce web"})
		diff(t, "nodes", web1.events(kindNode)[len(web1.events(kindNode))-2:], []string{">down: " + cluster.ReasonFailed, ">up: " + cluster.ReasonJoined})
	})
}
