package agent

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/checks"
	"github.com/hbagent/hbagent/pkg/cluster"
	"github.com/hbagent/hbagent/pkg/lease"
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

func TestStopHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, _ := settled(t, testConfig)
		web1.addrs.said()
		a := &agent{loop: web1.loop, log: web1.log}
		a.standDown()
		w.owned("web2")
		diff(t, "calls on web1", web1.addrs.said(), []string{"shut web: transferred"})
		diff(t, "owners", web2.events(kindOwner)[1:], []string{"web1>web2: the agent on web1 was stopped"})
		w.wait(5 * testTTL)
		w.owned("web2") // one that is stopping takes nothing
		record, err := web1.store.load()
		if err != nil || len(record.Holds) != 0 {
			t.Errorf("after the handover the record is %+v, %v: a restart would resume", record, err)
		}
	})
}

func TestStopWithoutATarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, db1 := settled(t, testConfig)
		web2.check("web", checks.Failing, "")
		a := &agent{loop: web1.loop, log: web1.log}
		began := time.Now()
		a.standDown()
		synctest.Wait()
		w.owned("")
		if took := time.Since(began); took > 0 {
			t.Errorf("it waited %v for an owner that cannot come", took)
		}
		web2.check("web", checks.Passing, "")
		w.wait(testHold + testTTL)
		w.owned("web2")
		diff(t, "owners", db1.events(kindOwner)[1:], []string{"web1>web2: web1 let go of it"})
	})
}

func TestRestartResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, db1 := settled(t, testConfig)
		var before, after uint64
		web1.look(func() { before = web1.groups["web"].epoch })
		web1.kill(context.Canceled) // SIGUSR2, SIGKILL, or a restart by systemd
		diff(t, "shut at the end", slices.ContainsFunc(web1.addrs.said(), func(s string) bool { return strings.HasPrefix(s, "shut") }), false)

		again := w.boot("web1")
		w.wait(testTTL / 2)
		w.owned("web1")
		again.look(func() { after = again.groups["web"].epoch })
		diff(t, "epoch", after, before)
		diff(t, "run id", again.runID(), web1.runID())
		for _, n := range []*testNode{again, web2, db1} {
			diff(t, n.node+": owners", len(n.events(kindOwner)), 1)
		}
		diff(t, "states on web1: no hook is run again", len(again.events(kindState)), 1)
		again.look(func() { diff(t, "reason", again.groups["web"].reason(), "resumed after a restart of the agent") })

		// Its check is failing by now, and web2 is healthy.
		again.check("web", checks.Failing, "")
		w.wait(testTTL)
		w.owned("web2")
	})
}

func TestRestartTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, _, _ := settled(t, testConfig)
		web1.kill(context.Canceled)
		w.part(web1)
		w.wait(2 * testTTL)
		again := w.boot("web1")
		w.wait(2 * testTTL)
		w.owned("web2")
		diff(t, "calls", again.addrs.said()[:1], []string{"shut web: a majority refused the renewal"})
		diff(t, "states: on_standby is told", again.events(kindState)[1:], []string{"active>standby: check web has not answered yet"})
	})
}

func TestRecordThatCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, _, _ := settled(t, testConfig)
		web1.addrs.said()
		web1.look(func() { web1.store.path = w.dir + "/missing/record" })
		web1.check("web", checks.Failing, "")
		<-web1.done
		if !errors.Is(web1.err, os.ErrNotExist) {
			t.Fatalf("the loop ended with %v", web1.err)
		}
		diff(t, "calls", web1.addrs.said(), []string{"shut web: transferred", "shut web: the agent gives up"})
		if err := web1.do(t.Context(), func() {}); !errors.Is(err, errStopped) {
			t.Errorf("asking a loop that has ended: %v", err)
		}
		w.part(web1)
		w.wait(2 * testTTL)
		w.owned("web2") // the transfer was never told: its promise had to run out
	})
}

func TestGateThatDoesNotShut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, web1, _, _ := settled(t, testConfig)
		web1.addrs.mu.Lock()
		web1.addrs.shutErr = errors.New("netlink: no buffer space")
		web1.addrs.mu.Unlock()
		web1.check("web", checks.Failing, "")
		<-web1.done
		if web1.err == nil || !strings.Contains(web1.err.Error(), "cannot shut group web") {
			t.Fatalf("the loop ended with %v", web1.err)
		}
	})
}

func TestBrokenInvariant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, web1, web2, _ := settled(t, testConfig)
		for _, tt := range []struct {
			n    *testNode
			with any
			want string
		}{
			{web1, &lease.Violation{Invariant: 2, Detail: "test"}, "lease: invariant 2 broken: test"},
			{web2, "index out of range", "the agent's loop panicked: index out of range"},
		} {
			tt.n.tell(func() { panic(tt.with) })
			<-tt.n.done
			if tt.n.err == nil || tt.n.err.Error() != tt.want {
				t.Errorf("the loop ended with %v, want %s", tt.n.err, tt.want)
			}
			said := tt.n.addrs.said()
			diff(t, "last call", said[len(said)-1], "shut web: the agent gives up")
			diff(t, "history", tt.n.events(kindAgent), []string{">: gave up"})
		}
		var broken *lease.Violation
		if !errors.As(web1.err, &broken) {
			t.Errorf("%v is no *lease.Violation", web1.err)
		}
	})
}

func TestOtherTaskFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, web1, _, _ := settled(t, testConfig)
		web1.addrs.said()
		cause := errors.New("the socket is gone")
		web1.kill(cause)
		if !errors.Is(web1.err, cause) {
			t.Errorf("the loop ended with %v, want %v", web1.err, cause)
		}
		diff(t, "calls", web1.addrs.said(), []string{"shut web: the agent gives up"})
	})
}

func TestPause(t *testing.T) {
	for _, tt := range []struct {
		name           string
		d, slept       time.Duration
		shut           []string
		quarantined    bool
		wantStoodStill int
	}{
		{"a busy machine", testTTL / 5, 0, nil, false, 0},
		{"late wake-up", testTTL / 3, 0, []string{"shut web: machine or process was paused", "open web"}, false, 1},
		{"suspended", testTTL / 3, testTTL / 3, []string{"shut web: machine or process was paused", "open web"}, true, 1},
		{"longer than the lease, and the voters still promise it", 2 * testTTL, 0, []string{"shut web: machine or process was paused", "open web"}, false, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, web1, _, _ := settled(t, testConfig)
				web1.addrs.said()
				before := web1.events(kindState)
				web1.standStill(tt.d, tt.slept)
				w.wait(testTTL / 2)
				diff(t, "calls", web1.addrs.said(), tt.shut)
				stood := slices.DeleteFunc(web1.events(kindAgent), func(s string) bool { return s != ">: stood still" })
				diff(t, "stood still", len(stood), tt.wantStoodStill)
				web1.look(func() {
					diff(t, "quarantine", web1.machine.Quarantine(web1.now().Boot) > 0, tt.quarantined)
				})
				w.owned("web1")
				diff(t, "states: no hook for a pause that was confirmed", web1.events(kindState), before)
			})
		})
	}
}

func TestStallLongerThanTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, _, _ := settled(t, testConfig)
		web1.addrs.said()
		web1.tell(func() { time.Sleep(2 * testTTL) })
		w.wait(testTTL + testTTL/2)
		diff(t, "holders", w.holders("web"), []string{"web2"}) // web1's own deadline ended its gate
		w.wait(testTTL)
		w.owned("web2")
		diff(t, "calls", web1.addrs.said(), []string{"shut web: no majority answered within the ttl"})
	})
}

func TestLongWorkIsNoPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testConfig)
		web1, _, _ := w.bootAll()
		web1.addrs.mu.Lock()
		web1.addrs.openTook = testTTL / 2
		web1.addrs.mu.Unlock()
		w.wait(5 * testTTL)
		w.owned("web1")
		diff(t, "history", web1.events(kindAgent), []string(nil))
		diff(t, "calls", web1.addrs.said(), []string{"open web"})
	})
}

func TestOpenFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testConfig)
		web1 := w.boot("web1")
		web1.addrs.openErr = errors.New("netlink: operation not permitted")
		web2, db1 := w.boot("web2"), w.boot("db1")
		web1.check("web", checks.Passing, "")
		web2.check("web", checks.Passing, "")
		w.wait(3 * testTTL)
		w.owned("web2")
		diff(t, "calls on web1", web1.addrs.said(), []string{"open web", "shut web: released"})
		const why = "cannot add the addresses: netlink: operation not permitted"
		diff(t, "states on web1", web1.events(kindState), []string{"standby>fault: " + why})
		db1.look(func() {
			s := db1.status()
			diff(t, "web1 in status", s.Nodes[0].Groups["web"].Reason, why)
			diff(t, "next owner", s.Groups[0].NextOwner, "")
		})
		web1.addrs.mu.Lock()
		web1.addrs.openErr = nil
		web1.addrs.mu.Unlock()
		w.wait(openRetry + testHold)
		diff(t, "states on web1", web1.events(kindState)[1:2], []string{"fault>standby: healthy again, but not yet for 10s"})
		web2.check("web", checks.Failing, "")
		w.wait(testTTL)
		w.owned("web1")
	})
}

func TestRenewFails(t *testing.T) {
	// The kernel no longer knows the group: it is opened again, and given up where that fails.
	synctest.Test(t, func(t *testing.T) {
		w, web1, _, _ := settled(t, testConfig)
		web1.addrs.said()
		web1.addrs.mu.Lock()
		web1.addrs.openErr = errors.New("no such interface")
		web1.addrs.mu.Unlock()
		web1.look(func() { web1.vipEvent(vip.Event{Kind: vip.Lapsed, Group: "web"}) })
		w.wait(testTTL / 10)
		w.owned("web2")
		diff(t, "calls on web1", web1.addrs.said(), []string{"open web", "shut web: released"})
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

func TestLeaseQueueFull(t *testing.T) {
	l := newLoop(testLogger(t), parse(t, testConfig), "web1")
	for range leaseQueue + 3 {
		l.leaseMessage([]byte("x"))
	}
	diff(t, "dropped", l.dropped.Load(), uint64(3))
}
