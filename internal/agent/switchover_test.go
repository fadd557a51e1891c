package agent

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/checks"
	"github.com/hbagent/hbagent/pkg/lease"
)

// switchover asks a node for a switchover of web, and returns the result without what differs from run to run.
func switchover(t *testing.T, n *testNode, req control.SwitchoverRequest) (control.SwitchoverResult, []string) {
	t.Helper()
	var steps []string
	res, err := n.api.Switchover(t.Context(), req, func(s control.SwitchoverStep) {
		if s.State != control.StepRunning {
			steps = append(steps, s.Step+" "+string(s.State)+": "+s.Detail)
		}
	})
	if err != nil {
		t.Fatalf("switchover on %s: %v", n.node, err)
	}
	res.Steps, res.Epoch = nil, 0
	return res, steps
}

func TestSwitchover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, db1 := settled(t, testConfig)

		// Asked for anywhere, without a target: the owner does it.
		res, steps := switchover(t, db1, control.SwitchoverRequest{Group: "web"})
		diff(t, "result", res, control.SwitchoverResult{Group: "web", From: "web1", To: "web2", Outcome: control.OutcomeMoved, Owner: "web2", NoOwnerMs: res.NoOwnerMs})
		diff(t, "steps", steps, []string{"preflight ok: web2 is ready", "handover ok: web2 is active"})
		if res.NoOwnerMs > 5 {
			t.Errorf("nobody owned it for %v ms", res.NoOwnerMs)
		}
		synctest.Wait()
		w.owned("web2")
		diff(t, "owners", web2.events(kindOwner)[1:], []string{"web1>web2: asked for on db1"})
		web2.look(func() { diff(t, "moves for health", web2.groups["web"].recentMoves(time.Now()), 0) })

		res, _ = switchover(t, web2, control.SwitchoverRequest{Group: "web", To: "web1"})
		diff(t, "outcome", res.Outcome, control.OutcomeMoved)
		synctest.Wait()
		w.owned("web1")
		web1.look(func() { diff(t, "moving", web1.groups["web"].moving, false) })
	})
}

func TestSwitchoverRefused(t *testing.T) {
	for _, tt := range []struct {
		name    string
		arrange func(w *world, web1, web2, db1 *testNode)
		req     control.SwitchoverRequest
		want    string
	}{
		{"to the owner", nil, control.SwitchoverRequest{Group: "web", To: "web1"}, "web1 owns web already"},
		{"target is down", func(_ *world, _, web2, _ *testNode) { web2.isolate(true) },
			control.SwitchoverRequest{Group: "web", To: "web2"}, "web2 is down"},
		{"nobody else", func(_ *world, _, web2, _ *testNode) { web2.isolate(true) },
			control.SwitchoverRequest{Group: "web"}, "no node can take it: web2 is down"},
		{"target is known to fail", func(_ *world, _, web2, _ *testNode) { web2.check("web", checks.Failing, "refused") },
			control.SwitchoverRequest{Group: "web", To: "web2"}, "web2 cannot take web: check web fails: refused"},
		{"target fails now", func(_ *world, _, web2, _ *testNode) { web2.freshFailure = "timed out" },
			control.SwitchoverRequest{Group: "web"}, "web2 cannot take web: check web fails: timed out"},
		{"target does not answer", func(w *world, _, web2, _ *testNode) {
			web2.onCall = func(string) { web2.unplug() }
		}, control.SwitchoverRequest{Group: "web"}, "web2 cannot take web: timeout"},
		{"lost meanwhile", func(w *world, web1, web2, _ *testNode) {
			web2.onAnswer = func(string) { web1.look(func() { web1.machine.Release(web1.now(), "web", lease.ReasonReleased) }) }
		}, control.SwitchoverRequest{Group: "web"}, "this node lost the group meanwhile, or cannot name web2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, web1, web2, db1 := settled(t, testConfig)
				if tt.arrange != nil {
					tt.arrange(w, web1, web2, db1)
				}
				res, steps := switchover(t, web1, tt.req)
				diff(t, "outcome", res.Outcome, control.OutcomeRefused)
				diff(t, "reason", res.Reason, tt.want)
				diff(t, "last step", steps[len(steps)-1], "preflight failed: "+tt.want)
				synctest.Wait()
				if tt.name != "lost meanwhile" {
					diff(t, "holders", w.holders("web"), []string{"web1"})
				}
				web1.look(func() { diff(t, "moving", web1.groups["web"].moving, false) })
			})
		})
	}
}

func TestSwitchoverThatNamesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, web1, _, _ := settled(t, testConfig)
		for req, want := range map[control.SwitchoverRequest]control.Code{
			{Group: "mail"}:              control.CodeNotFound,
			{Group: "web", To: "web9"}:   control.CodeNotFound,
			{Group: "web", To: "db1"}:    control.CodeBadRequest,
			{Group: "moving", To: "db1"}: control.CodeNotFound,
		} {
			_, err := web1.api.Switchover(t.Context(), req, func(control.SwitchoverStep) {})
			var e *control.Error
			if !errors.As(err, &e) || e.Code != want {
				t.Errorf("%+v: %v, want code %s", req, err, want)
			}
		}
		web1.look(func() { web1.groups["web"].moving = true })
		_, err := web1.api.Switchover(t.Context(), control.SwitchoverRequest{Group: "web"}, func(control.SwitchoverStep) {})
		var e *control.Error
		if !errors.As(err, &e) || e.Code != control.CodeConflict {
			t.Errorf("two at once: %v", err)
		}
	})
}

func TestSwitchoverForced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, _ := settled(t, testConfig)
		web2.check("web", checks.Failing, "refused")
		res, _ := switchover(t, web1, control.SwitchoverRequest{Group: "web", To: "web2", Force: true})
		diff(t, "outcome", res.Outcome, control.OutcomeMoved)
		w.wait(forceValid / 2)
		w.owned("web2")
		w.wait(forceValid)
		w.owned("web1") // the checks count again
	})
}

func TestSwitchoverRollsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, _ := settled(t, testConfig)
		web2.addrs.openErr = errors.New("no such device")
		res, steps := switchover(t, web1, control.SwitchoverRequest{Group: "web"})
		diff(t, "outcome", res.Outcome, control.OutcomeRolledBack)
		if !strings.Contains(res.Reason, "no such device") || len(steps) != 3 || steps[2] != "roll back ok: web1 has it" {
			t.Errorf("%+v, %q", res, steps)
		}
		if limit := float64(testTTL.Milliseconds()) / 10; res.NoOwnerMs > limit {
			t.Errorf("nobody owned it for %v ms: it was handed back, and need not run out", res.NoOwnerMs)
		}
		synctest.Wait()
		w.owned("web1")
	})
}

func TestSwitchoverTargetDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, _ := settled(t, testConfig)
		web2.onAnswer = func(method string) {
			if method == methodPrepare {
				web2.unplug() // it never hears of the handover
			}
		}
		res, steps := switchover(t, web1, control.SwitchoverRequest{Group: "web"})
		diff(t, "outcome", res.Outcome, control.OutcomeRolledBack)
		diff(t, "steps", steps, []string{"preflight ok: web2 is ready", "handover failed: web2 did not open: unreachable", "roll back ok: web1 has it"})
		if ms, ttl := res.NoOwnerMs, float64(testTTL.Milliseconds()); ms < ttl || ms > 1.2*ttl {
			t.Errorf("nobody owned it for %v ms, want one ttl", ms)
		}
		synctest.Wait()
		diff(t, "holders", w.holders("web"), []string{"web1"})
	})
}
