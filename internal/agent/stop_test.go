package agent

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hbagent/hbagent/pkg/checks"
)

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

// systemd kills an agent that takes longer to stop than the unit allows, and then nobody has let go of anything.
func TestStopFitsIntoTheUnit(t *testing.T) {
	unit, err := os.ReadFile("../../deploy/systemd/hbagent.service")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(unit), "\nTimeoutStopSec=")
	text, _, _ := strings.Cut(rest, "\n")
	allowed, err := time.ParseDuration(text)
	if !ok || err != nil {
		t.Fatalf("TimeoutStopSec: %q, %v", text, err)
	}
	if moves := stopMoveLimit + stopOpenLimit + stopWait; moves >= stopBudget {
		t.Errorf("giving everything away may take %v, which leaves nothing of %v for open connections", moves, stopBudget)
	}
	withRole := stopRoleLimit + stopRoleOpenLimit + stopServiceLimit + stopWait + goodbyeLimit + stopServiceLimit + hooksLimit + goodbyeLimit
	if withRole >= allowed {
		t.Errorf("a stop with a service to hand over may take %v, the unit allows %v", withRole, allowed)
	}
	// The drains that are ended at the end of the budget, the hooks, and the goodbye to the cluster follow it.
	if most := stopBudget + goodbyeLimit + hooksLimit + goodbyeLimit + templatesLimit; most >= allowed {
		t.Errorf("a stop may take %v, the unit allows %v", most, allowed)
	}
}

// One group's target hangs: the others are given away all the same.
func TestStopWithATargetThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, _ := settled(t, drainConfig(t))
		web2.onCall = func(method string) {
			if method == methodPrepare {
				time.Sleep(20 * time.Second) // fake time (testing/synctest): the target hangs
			}
		}
		a := &agent{loop: web1.loop, log: web1.log}
		began := time.Now()
		a.standDown()
		if took := time.Since(began); took > stopBudget+stopMoveLimit+stopOpenLimit {
			t.Errorf("it took %v", took)
		}
		synctest.Wait()
		diff(t, "web1 has", slices.Contains(w.holders("web"), "web1"), false)
		w.wait(2 * testTTL)
		w.owned("web2")
		w.wait(20 * time.Second) // the answer that nobody waits for
	})
}
