package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/checks"
)

// planned asks every node for a plan, which must be the same, and returns the
// group web of its only case.
func planned(t *testing.T, w *world, req control.PlanRequest) control.PlanGroup {
	t.Helper()
	var first control.PlanCase
	for i, n := range w.alive() {
		p, err := n.api.Plan(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "cases", len(p.Cases), 1)
		if i == 0 {
			first = p.Cases[0]
		}
		diff(t, "as "+n.node+" sees it", p.Cases[0], first)
	}
	return first.Groups[0]
}

func down(nodes ...string) control.PlanRequest { return control.PlanRequest{Down: nodes} }

func failingOn(nodes ...string) control.PlanRequest {
	var req control.PlanRequest
	for _, n := range nodes {
		req.Fail = append(req.Fail, control.PlanCheck{Check: "web", Node: n})
	}
	return req
}

func TestPlan(t *testing.T) {
	const ttlGap = "about one ttl (1s)"
	const later, noQuorum = "until one of its nodes can own it", "until enough voters are back"
	moves := func(cause Cause, reason, gap string, ms int64, next string) control.PlanGroup {
		return control.PlanGroup{Name: "web", Owner: "web1", After: "web2", Outcome: control.PlanMoves, Cause: string(cause), Reason: reason, Gap: gap, GapMs: ms, NextOwner: next}
	}
	stays := func(reason, next string) control.PlanGroup {
		return control.PlanGroup{Name: "web", Owner: "web1", After: "web1", Outcome: control.PlanStays, Reason: reason, Gap: "none", NextOwner: next}
	}
	nobody := func(owner, reason, gap string) control.PlanGroup {
		return control.PlanGroup{Name: "web", Owner: owner, Outcome: control.PlanNobody, Reason: reason, Gap: gap, GapMs: control.GapOpen}
	}
	usedUp := func(_ *testing.T, web1, _ *testNode) {
		web1.look(func() {
			for i := range uint64(4) {
				web1.groups["web"].noteMove(i, time.Now())
			}
			web1.dirty = true
		})
	}
	for _, tt := range []struct {
		name string
		edit []string
		prep func(t *testing.T, web1, web2 *testNode)
		req  control.PlanRequest
		want control.PlanGroup
	}{
		{name: "owner down", req: down("web1"),
			want: moves(CauseDeadOwner, "the last owner was not heard for one ttl", ttlGap, 1000, "")},
		{name: "standby down", req: down("web2"), want: stays("", "")},
		{name: "a node that owns nothing", req: down("db1"), want: stays("", "web2")},
		{name: "two nodes down", req: down("web2", "db1"),
			want: nobody("web1", "no quorum: 1 of 3 voters would be left, 2 are needed", noQuorum)},
		{name: "one node down, twice said", req: down("web2", "web2"), want: stays("", "")},
		{name: "check fails on the owner", req: failingOn("web1"),
			want: moves(CauseHealth, "check web fails", "about 2s until the check counts as failing (interval x fall), then milliseconds", 2010, "")},
		{name: "check fails on the standby", req: failingOn("web2"), want: stays("", "")},
		{name: "check fails on both", req: failingOn("web1", "web2"),
			want: stays("check web fails; stays here: web2: check web fails", "")},
		{name: "check fails on the owner, standby down",
			req:  control.PlanRequest{Down: []string{"web2"}, Fail: failingOn("web1").Fail},
			want: stays("check web fails; stays here: web2 is down", "")},
		{name: "owner down, check fails on the standby",
			req:  control.PlanRequest{Down: []string{"web1"}, Fail: failingOn("web2").Fail},
			want: nobody("web1", "web1 is down; web2: check web fails", later)},
		{name: "check is not required", edit: []string{`type = "tcp"`, "type = \"tcp\"\nrequired = false"}, req: failingOn("web1"), want: stays("", "web2")},
		{name: "no move left", prep: usedUp, req: failingOn("web1"),
			want: stays("check web fails; stays here: moved 4 times in 10m0s already (max_moves)", "web2")},
		{name: "no move left, but the owner is dead", prep: usedUp, req: down("web1"),
			want: moves(CauseDeadOwner, "the last owner was not heard for one ttl", ttlGap, 1000, "")},
		{name: "standby in maintenance, owner down", prep: func(t *testing.T, _, web2 *testNode) {
			maintain(t, web2, control.MaintenanceRequest{On: true, Reason: "new kernel"})
		}, req: down("web1"),
			want: nobody("web1", "web1 is down; web2: in maintenance: new kernel", later)},
		{name: "standby in maintenance, check fails on the owner", prep: func(t *testing.T, _, web2 *testNode) {
			maintain(t, web2, control.MaintenanceRequest{On: true, Reason: "new kernel"})
		}, req: failingOn("web1"),
			want: stays("check web fails; stays here: web2: in maintenance: new kernel", "")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, web1, web2, _ := settled(t, edited(t, tt.edit...))
				if tt.prep != nil {
					tt.prep(t, web1, web2)
					w.wait(testTTL)
				}
				diff(t, "plan", planned(t, w, tt.req), tt.want)
				w.wait(5 * testTTL)
				w.owned("web1") // nothing was done
			})
		})
	}
}

// What the plan says is what happens.
func TestPlanComesTrue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, _ := settled(t, testConfig)
		after := planned(t, w, failingOn("web1")).After
		web1.check("web", checks.Failing, "")
		w.wait(testTTL)
		w.owned(after)
		web1.check("web", checks.Passing, "")
		// It waits for hold, and is better than none.
		after = planned(t, w, down("web2")).After
		diff(t, "in hold", after, "web1")
		web2.unplug()
		web2.kill(context.Canceled)
		w.part(web2)
		w.wait(3 * testTTL)
		w.owned(after)
		g := planned(t, w, down("web1"))
		diff(t, "with one node down already", string(g.Outcome)+": "+g.Reason, "nobody: no quorum: 1 of 3 voters would be left, 2 are needed")
	})
}

// Nobody owns it, and what keeps it from the others is what the plan says.
func TestPlanWithoutOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testConfig)
		w.boot("web1")
		w.boot("web2")
		w.boot("db1")
		w.wait(3 * testTTL)
		diff(t, "plan", planned(t, w, down("db1")), control.PlanGroup{
			Name: "web", Outcome: control.PlanNobody, Gap: "until one of its nodes can own it", GapMs: control.GapOpen,
			Reason: "web1: check web has not answered yet; web2: check web has not answered yet",
		})
	})
}

func TestPlanOfEachNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, _, db1 := settled(t, testConfig)
		p, err := db1.api.Plan(t.Context(), control.PlanRequest{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range p.Cases {
			got = append(got, c.Down[0]+": "+c.Groups[0].After)
			diff(t, "left", c.Left, 2)
		}
		diff(t, "cases", got, []string{"web1: web2", "web2: web1", "db1: web1"})
	})
}

func TestPlanNotes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, db1 := settled(t, testConfig)
		web2.check("web", checks.Failing, "")
		db1.unplug()
		db1.kill(context.Canceled)
		w.part(db1)
		w.wait(testTTL)
		req := failingOn("web2")
		req.Down = []string{"db1"}
		p, err := web1.api.Plan(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "notes", p.Cases[0].Notes, []string{"db1 is down already", "check web fails on web2 already"})
	})
}

func TestPlanOfWhatDoesNotExist(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, web1, _, _ := settled(t, testConfig)
		for _, tt := range []struct {
			req  control.PlanRequest
			want string
		}{
			{down("web9"), `no node "web9" in the config; there are: web1, web2, db1`},
			{failingOn("web9"), `no node "web9" in the config; there are: web1, web2, db1`},
			{failingOn("db1"), `check web does not run on db1; it runs on: web1, web2`},
			{control.PlanRequest{Fail: []control.PlanCheck{{Check: "wbe", Node: "web1"}}}, `no check "wbe" in the config; there are: web`},
		} {
			_, err := web1.api.Plan(t.Context(), tt.req)
			var e *control.Error
			if !errors.As(err, &e) || e.Code != control.CodeNotFound || e.Message != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		}
	})
}

// Two machines and a witness: one of them is enough, with its help, and the plan says so.
func TestPlanWithWitness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, `
[cluster]
name = "shop"
insecure = true
[lease]
ttl = "1s"
witness = "10.0.0.1"
[[node]]
name = "web1"
address = "10.0.0.11"
[[node]]
name = "web2"
address = "10.0.0.12"
[[group]]
name = "web"
addresses = ["10.0.0.50/24"]
interface = "eth0"
nodes = ["web1", "web2"]
`)
		_, web2 := w.boot("web1"), w.boot("web2")
		w.wait(5 * testTTL)
		w.owned("web1")
		p, err := web2.api.Plan(t.Context(), down("web1"))
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "after", p.Cases[0].Groups[0].After, "web2")
		diff(t, "notes", p.Cases[0].Notes, []string{"one of two machines is left: only if the witness 10.0.0.1 answers"})
		diff(t, "both down", planned(t, w, down("web1", "web2")).Reason, "no quorum: 0 of 2 voters would be left, 2 are needed")
	})
}
