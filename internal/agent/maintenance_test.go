package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/checks"
)

func maintain(t *testing.T, n *testNode, req control.MaintenanceRequest) control.MaintenanceResult {
	t.Helper()
	res, err := n.api.Maintenance(t.Context(), req)
	if err != nil {
		t.Fatalf("maintenance on %s: %v", n.node, err)
	}
	synctest.Wait()
	for i := range res.Groups {
		res.Groups[i].Steps, res.Groups[i].Epoch, res.Groups[i].NoOwnerMs = nil, 0, 0
	}
	return res
}

func TestMaintenance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, db1 := settled(t, testConfig)

		res := maintain(t, db1, control.MaintenanceRequest{Node: "web1", On: true, Reason: "new kernel"})
		diff(t, "result", res, control.MaintenanceResult{Node: "web1", On: true, Done: true, Reason: "new kernel", Groups: []control.SwitchoverResult{
			{Group: "web", From: "web1", To: "web2", Owner: "web2", Outcome: control.OutcomeMoved}}})
		w.owned("web2")
		for _, n := range w.alive() { // the move says why it was made
			moves := n.events(kindOwner)
			diff(t, n.node+": history", moves[len(moves)-1], "web1>web2: in maintenance: new kernel")
			for _, e := range n.history.since(time.Time{}, 0) {
				if e.Kind == kindOwner && e.To == "web2" {
					diff(t, n.node+": cause", e.Detail, string(CauseMaintenance))
				}
			}
			n.look(func() {
				s := n.status()
				diff(t, n.node+": maintenance", s.Nodes[0].Maintenance, "new kernel")
				diff(t, n.node+": state", s.Nodes[0].Groups["web"].State, control.StateMaintenance)
				diff(t, n.node+": severity", s.Severity(), control.SeverityDegraded)
				diff(t, n.node+": next owner", s.Groups[0].NextOwner, "")
			})
		}

		// It stays off: whatever happens to the other one, over a restart, and even by force.
		web2.check("web", checks.Failing, "refused")
		w.wait(3 * testTTL)
		w.owned("web2")
		web2.check("web", checks.Passing, "")
		refused, _ := switchover(t, web2, control.SwitchoverRequest{Group: "web", To: "web1", Force: true})
		diff(t, "forced", refused.Reason, "web1 cannot take web: in maintenance: new kernel")
		web1.kill(context.Canceled)
		web1 = w.boot("web1")
		web1.check("web", checks.Passing, "")
		web2.isolate(true)
		w.wait(5 * testTTL)
		diff(t, "holders", w.holders("web"), []string(nil))
		web1.look(func() { diff(t, "maintenance after a restart", web1.maintenance, "new kernel") })

		res = maintain(t, web1, control.MaintenanceRequest{})
		diff(t, "result", res, control.MaintenanceResult{Node: "web1", Done: true})
		w.wait(3 * testTTL)
		diff(t, "holders", w.holders("web"), []string{"web1"})
		diff(t, "history", web1.events(kindMaintenance), []string{">on: new kernel", ">off: it may own groups again"})
	})
}

func TestMaintenanceWithoutATarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, _ := settled(t, testConfig)
		web2.check("web", checks.Failing, "refused")

		res := maintain(t, web1, control.MaintenanceRequest{On: true})
		diff(t, "result", res, control.MaintenanceResult{Node: "web1",
			Reason: "nobody else can take web: web2: check web fails: refused; --force leaves it without an owner"})
		w.wait(2 * testTTL)
		w.owned("web1")

		res = maintain(t, web1, control.MaintenanceRequest{On: true, Force: true})
		diff(t, "forced", res, control.MaintenanceResult{Node: "web1", On: true, Done: true, Reason: maintenanceNoReason})
		w.wait(2 * testTTL)
		w.owned("")
		web2.check("web", checks.Passing, "")
		w.wait(testHold + testTTL)
		w.owned("web2")
	})
}

func TestMaintenanceMoveFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, _ := settled(t, testConfig)
		web2.addrs.openErr = errors.New("no such device")
		res := maintain(t, web1, control.MaintenanceRequest{On: true})
		if res.Done || res.On || len(res.Groups) != 1 || res.Groups[0].Outcome != control.OutcomeRolledBack {
			t.Errorf("%+v", res)
		}
		w.wait(testTTL)
		w.owned("web1")
	})
}

func TestMaintenanceCannotBeRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, _, _ := settled(t, testConfig)
		web1.maintenanceStore.path = filepath.Join(t.TempDir(), "none", "m.json")
		if _, err := web1.api.Maintenance(t.Context(), control.MaintenanceRequest{On: true}); err == nil {
			t.Error("no error")
		}
		synctest.Wait()
		w.owned("web2") // it was moved by then, and nothing else has changed
		web1.look(func() { diff(t, "maintenance", web1.maintenance, "") })
		if _, err := web1.api.Maintenance(t.Context(), control.MaintenanceRequest{Node: "web9", On: true}); err == nil {
			t.Error("a node that is not configured: no error")
		}
	})
}

// A node whose file is damaged stays off: that is what was asked for last.
func TestMaintenanceFileDamaged(t *testing.T) {
	f := maintenanceFile{path: filepath.Join(t.TempDir(), maintenanceName)}
	if reason, err := f.read(); reason != "" || err != nil {
		t.Errorf("no file: %q, %v", reason, err)
	}
	for _, text := range []string{"", "{", "[]", `{"reason": ""}`} {
		if err := os.WriteFile(f.path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if reason, err := f.read(); reason == "" || err != nil {
			t.Errorf("%q: %q, %v", text, reason, err)
		}
	}
	if err := f.write(""); err != nil {
		t.Error(err)
	}
	if err := f.write(""); err != nil {
		t.Errorf("twice: %v", err)
	}
}
