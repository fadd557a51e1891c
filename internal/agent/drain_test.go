package agent

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/checks"
)

func drainConfig(t *testing.T, oldnew ...string) string {
	return edited(t, append([]string{`handover = "strict"`, `handover = "drain"
drain = "10s"`}, oldnew...)...)
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, db1 := settled(t, drainConfig(t))
		web1.addrs.said()
		web2.addrs.said()
		web1.addrs.connect(3)

		res, steps := switchover(t, db1, control.SwitchoverRequest{Group: "web"})
		diff(t, "result", res, control.SwitchoverResult{Group: "web", From: "web1", To: "web2", Outcome: control.OutcomeMoved, Owner: "web2", NoOwnerMs: res.NoOwnerMs, Drains: true})
		diff(t, "steps", steps, []string{"preflight ok: web2 is ready", "handover ok: web2 is active"})
		synctest.Wait()
		w.owned("web2")
		diff(t, "calls on web1", web1.addrs.said(), []string{"drain web"})
		diff(t, "calls on web2", web2.addrs.said(), []string{"steer web", "open web"})

		w.wait(2 * time.Second)
		for _, n := range w.alive() {
			n.look(func() {
				g := n.status().Nodes[0].Groups["web"]
				diff(t, n.node+": state", g.State, control.StateDraining)
				if g.Draining == nil || g.Draining.Connections != 3 || g.Draining.LeftMs < 7000 || g.Draining.LeftMs > 8750 {
					t.Errorf("%s: %+v", n.node, g.Draining)
				}
			})
		}
		web1.addrs.connect(0)
		w.wait(drainIdle / 2)
		web1.addrs.connect(1) // a client that had not heard of it yet
		w.wait(drainIdle)
		diff(t, "calls on web1", web1.addrs.said(), []string(nil))
		web1.addrs.connect(0)
		w.wait(drainIdle + 2*latestPulse)
		diff(t, "calls on web1", web1.addrs.said(), []string{"end drain web"})
		diff(t, "history", web1.events(kindDrain), []string{"web1>web2: drained: every connection has finished"})
		db1.look(func() {
			diff(t, "state", db1.status().Nodes[0].Groups["web"].State, control.StateStandby)
		})

		w.wait(10*time.Second + steerLonger)
		diff(t, "calls on web2", web2.addrs.said(), []string{"unsteer web"})
	})
}

func TestDrainRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, _, _ := settled(t, drainConfig(t))
		web1.addrs.connect(2)
		switchover(t, web1, control.SwitchoverRequest{Group: "web"})
		w.wait(9 * time.Second)
		diff(t, "history", web1.events(kindDrain), []string(nil))
		w.wait(2 * time.Second)
		diff(t, "history", web1.events(kindDrain), []string{"web1>web2: drained: 2 connections still open after 10s, reset"})
	})
}

// A drain whose end resets nothing is not told as one whose connections have finished.
func TestDrainEndsWithoutReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, _, _ := settled(t, drainConfig(t))
		web1.addrs.connect(2)
		web1.addrs.mu.Lock()
		web1.addrs.cannotReset = true
		web1.addrs.mu.Unlock()
		switchover(t, web1, control.SwitchoverRequest{Group: "web"})
		w.wait(11 * time.Second)
		diff(t, "history", web1.events(kindDrain),
			[]string{"web1>web2: drained: over after 10s; 2 connections open when last counted, and none was reset here"})
	})
}

// The group comes back while its connections are being finished, which go on; the other node drains now.
func TestSwitchoverBackDuringADrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, _ := settled(t, drainConfig(t))
		web1.addrs.connect(3)
		web2.addrs.connect(5)
		switchover(t, web1, control.SwitchoverRequest{Group: "web"})
		synctest.Wait()
		web1.addrs.said()
		res, _ := switchover(t, web1, control.SwitchoverRequest{Group: "web", To: "web1"})
		diff(t, "outcome", res.Outcome, control.OutcomeMoved)
		synctest.Wait()
		w.owned("web1")
		diff(t, "calls on web1", web1.addrs.said(), []string{"steer web", "open web"})
		web1.look(func() { diff(t, "state", web1.groups["web"].state, control.StateActive) })
		web2.look(func() { diff(t, "state", web2.groups["web"].state, control.StateDraining) })
		w.wait(20 * time.Second)
		w.owned("web1")
		diff(t, "history of web1", web1.events(kindDrain), []string(nil))
		diff(t, "history of web2", web2.events(kindDrain), []string{"web2>web1: drained: 5 connections still open after 10s, reset"})
	})
}

func TestCannotDrain(t *testing.T) {
	for _, tt := range []struct {
		name    string
		arrange func(web1, web2 *testNode)
		want    string
	}{
		{"spoofing", func(_, web2 *testNode) { web2.addrs.spoofing = true }, "what web2 forwards does not arrive here"},
		{"target cannot steer", func(_, web2 *testNode) { web2.addrs.steerErr = errors.New("no netdev chains") }, "web2 cannot forward to this node: no netdev chains"},
		{"target has no address", func(_, web2 *testNode) { web2.addrs.hopErr = errors.New("no IPv6 address") }, "web2 cannot forward to this node: no IPv6 address"},
		{"owner has no address", func(web1, _ *testNode) { web1.addrs.hopErr = errors.New("no IPv6 address") }, "this node cannot be reached by what the target forwards: no IPv6 address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, web1, web2, _ := settled(t, drainConfig(t))
				tt.arrange(web1, web2)
				web1.addrs.said()
				res, _ := switchover(t, web1, control.SwitchoverRequest{Group: "web"})
				diff(t, "outcome", res.Outcome, control.OutcomeRefused)
				if !strings.Contains(res.Reason, tt.want) || !strings.Contains(res.Reason, "--strict") {
					t.Errorf("reason %q, want %q and what to do", res.Reason, tt.want)
				}
				w.wait(2 * steerUnused)
				w.owned("web1")
				diff(t, "calls on web1", web1.addrs.said(), []string(nil))
				if said := web2.addrs.said(); slices.Contains(said, "steer web") && tt.name != "target cannot steer" && !slices.Contains(said, "unsteer web") {
					t.Errorf("web2 is left steering: %q", said)
				}
				res, _ = switchover(t, web1, control.SwitchoverRequest{Group: "web", Strict: true})
				diff(t, "strict", res, control.SwitchoverResult{Group: "web", From: "web1", To: "web2", Outcome: control.OutcomeMoved, Owner: "web2", NoOwnerMs: res.NoOwnerMs})
				diff(t, "calls on web1", web1.addrs.said(), []string{"shut web: transferred"})

				w.wait(testHold)
				back := maintain(t, web2, control.MaintenanceRequest{On: true, Strict: true})
				if !back.Done {
					t.Errorf("maintenance: %+v", back)
				}
				w.owned("web1")
			})
		})
	}
}

// The kernel does not let the group drain: it is shut, and moves all the same.
func TestDrainFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, _, _ := settled(t, drainConfig(t))
		web1.addrs.drainErr = errors.New("no space left")
		web1.addrs.said()
		res, _ := switchover(t, web1, control.SwitchoverRequest{Group: "web"})
		diff(t, "outcome", res.Outcome, control.OutcomeMoved)
		diff(t, "calls", web1.addrs.said(), []string{"drain web", "shut web: transferred"})
		synctest.Wait()
		w.owned("web2")
		web1.look(func() { diff(t, "state", web1.groups["web"].state, control.StateStandby) })
	})
}

// The target dies before it opens: the group comes back after one ttl, with its connections.
func TestTargetDiesDuringAHandover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, _ := settled(t, drainConfig(t))
		web1.addrs.connect(3)
		web1.addrs.said()
		web2.onAnswer = func(method string) {
			if method == methodSteer {
				web2.unplug()
			}
		}
		res, _ := switchover(t, web1, control.SwitchoverRequest{Group: "web"})
		diff(t, "outcome", res.Outcome, control.OutcomeRolledBack)
		synctest.Wait()
		diff(t, "holders", w.holders("web"), []string{"web1"})
		diff(t, "calls", web1.addrs.said(), []string{"drain web", "open web"})
		web1.look(func() { diff(t, "state", web1.groups["web"].state, control.StateActive) })
		w.wait(15 * time.Second)
		diff(t, "history", web1.events(kindDrain), []string(nil))
	})
}

func TestFailbackDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, _ := settled(t, drainConfig(t, "failback = false", "failback = true"))
		web1.check("web", checks.Failing, "refused")
		w.wait(testTTL)
		w.owned("web2")
		diff(t, "a service that fails is not waited for", slices.Contains(web1.addrs.said(), "drain web"), false)
		web1.check("web", checks.Passing, "")
		w.wait(testHold + testTTL)
		w.owned("web1")
		diff(t, "failback", slices.Contains(web2.addrs.said(), "drain web"), true)
		diff(t, "owners", web1.events(kindOwner)[2:], []string{"web2>web1: web1 is preferred and healthy again"})
	})
}

func TestStopDrains(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ends  time.Duration // of the connections
		took  time.Duration
		reset string
	}{
		{"connections end", 2 * time.Second, 2*time.Second + drainIdle, "every connection has finished"},
		{"connections stay", time.Hour, 10 * time.Second, "1 connection still open"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, web1, _, _ := settled(t, drainConfig(t))
				web1.addrs.connect(1)
				web1.addrs.said()
				time.AfterFunc(tt.ends, func() { web1.addrs.connect(0) })
				a := &agent{loop: web1.loop, log: web1.log}
				began := time.Now()
				a.standDown()
				if took := time.Since(began); took < tt.took || took > tt.took+2*time.Second {
					t.Errorf("it took %v, want %v", took, tt.took)
				}
				w.owned("web2")
				diff(t, "calls", web1.addrs.said(), []string{"drain web", "end drain web"})
				if h := web1.events(kindDrain); len(h) != 1 || !strings.Contains(h[0], tt.reset) {
					t.Errorf("history %q, want %q", h, tt.reset)
				}
			})
		})
	}
}
