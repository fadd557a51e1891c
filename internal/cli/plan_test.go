package cli

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/control/controltest"
)

func TestPlan(t *testing.T) {
	moves := control.PlanGroup{Name: "web", Owner: "web1", After: "web2", Outcome: control.PlanMoves, Cause: "health", Reason: "check apache fails",
		Gap: "about 1.5s until the check counts as failing (interval x fall), then milliseconds", GapMs: 1510}
	quick := control.PlanGroup{Name: "mail", Owner: "web1", After: "web2", Outcome: control.PlanMoves, Cause: "maintenance", Reason: "in maintenance: new kernel",
		Gap: "milliseconds", GapMs: 10, NextOwner: "web3"}
	stays := control.PlanGroup{Name: "db", Owner: "db1", After: "db1", Outcome: control.PlanStays, Gap: "none", NextOwner: "db2"}
	nobody := control.PlanGroup{Name: "web", Owner: "web1", Outcome: control.PlanNobody, Reason: "no quorum: 1 of 3 voters would be left, 2 are needed",
		Gap: "until enough voters are back", GapMs: control.GapOpen}
	unowned := control.PlanGroup{Name: "db", Outcome: control.PlanNobody, Reason: "db1 is down; db2: check mysql fails: connection refused",
		Gap: "until one of its nodes can own it", GapMs: control.GapOpen}
	fail := []control.PlanCheck{{Check: "apache", Node: "web1"}}
	for _, tt := range []struct {
		golden string
		args   []string
		req    control.PlanRequest
		c      control.PlanCase
		code   int
	}{
		{"fail.txt", []string{"--fail", "apache@web1"}, control.PlanRequest{Fail: fail},
			control.PlanCase{Down: []string{}, Fail: fail, Voters: 3, Needed: 2, Left: 3, Notes: []string{}, Groups: []control.PlanGroup{moves, quick, stays}}, exitOK},
		{"down.txt", []string{"--down", "web2", "--down", "db1", "--fail", "apache@web1"}, control.PlanRequest{Down: []string{"web2", "db1"}, Fail: fail},
			control.PlanCase{Down: []string{"web2", "db1"}, Fail: fail, Voters: 3, Needed: 2, Left: 1, Notes: []string{"db1 is down already"}, Groups: []control.PlanGroup{nobody, unowned}}, exitFailed},
	} {
		t.Run(tt.golden, func(t *testing.T) {
			plan := control.Plan{Cluster: "shop", Node: "web1", At: controltest.Now, Cases: []control.PlanCase{tt.c}}
			dir := controltest.Serve(t, controltest.Agent{OnPlan: func(_ context.Context, req control.PlanRequest) (control.Plan, error) {
				if diff := cmp.Diff(tt.req, req); diff != "" {
					return control.Plan{}, errors.New(diff)
				}
				return plan, nil
			}})
			args := append([]string{"plan", "--run-dir", dir}, tt.args...)
			got := run(t, args...)
			if got.code != tt.code || got.stderr != "" {
				t.Errorf("got %+v, want code %d", got, tt.code)
			}
			for line := range strings.Lines(got.stdout) {
				if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > defaultWidth {
					t.Errorf("%d columns: %s", n, line)
				}
			}
			golden(t, "plan/"+tt.golden, got.stdout)
			got = run(t, append(args, "--json")...)
			var back control.Plan
			if err := json.Unmarshal([]byte(got.stdout), &back); err != nil || got.code != tt.code {
				t.Fatalf("--json: %v, %+v", err, got)
			}
			if diff := cmp.Diff(plan, back); diff != "" {
				t.Errorf("--json (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlanRefused(t *testing.T) {
	const why = `no node "web9" in the config; there are: web1, web2, db1`
	dir := controltest.Serve(t, controltest.Agent{OnPlan: func(context.Context, control.PlanRequest) (control.Plan, error) {
		return control.Plan{}, control.Errorf(control.CodeNotFound, why)
	}})
	if got := run(t, "plan", "--down", "web9", "--run-dir", dir); got != (result{exitFailed, "", "hbagent: " + why + "\n"}) {
		t.Errorf("got %+v", got)
	}
	for _, args := range [][]string{{"web1"}, {"--fail", "apache"}, {"--fail", "@web1"}, {"--fail", "apache@"}, {"--down", ""}, {"--down"}} {
		if got := run(t, append([]string{"plan", "--run-dir", dir}, args...)...); got.code != exitUsage || got.stdout != "" {
			t.Errorf("%v: got %+v, want exit code 2", args, got)
		}
	}
}
