package cli

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/control/controltest"
)

func TestSwitchover(t *testing.T) {
	steps := []control.SwitchoverStep{
		{Step: "preflight", State: control.StepOK, Detail: "web2 is alive and eligible"},
		{Step: "transfer", State: control.StepRunning},
		{Step: "transfer", State: control.StepOK, Detail: "epoch 1773457300"},
	}
	tests := []struct {
		name   string
		steps  []control.SwitchoverStep
		result control.SwitchoverResult
		code   int
		stdout string
	}{
		{"moved", steps,
			control.SwitchoverResult{Group: "web", From: "web1", To: "web2", Outcome: control.OutcomeMoved, NoOwnerMs: 3.04},
			exitOK, "ok  preflight: web2 is alive and eligible\n..  transfer\nok  transfer: epoch 1773457300\n" +
				"web moved from web1 to web2; nobody owned it for 3 ms\n"},
		{"from nobody", nil,
			control.SwitchoverResult{Group: "web", To: "web2", Outcome: control.OutcomeMoved, NoOwnerMs: 12345},
			exitOK, "web moved from nobody to web2; nobody owned it for 12.3 s\n"},
		{"refused", []control.SwitchoverStep{{Step: "preflight", State: control.StepFailed, Detail: "check apache fails on web2"}},
			control.SwitchoverResult{Group: "web", From: "web1", To: "web2", Outcome: control.OutcomeRefused, Reason: "web2 is not eligible"},
			exitFailed, "no  preflight: check apache fails on web2\nrefused, nothing has changed: web2 is not eligible\n"},
		{"rolled back", nil,
			control.SwitchoverResult{Group: "web", From: "web1", To: "web2", Outcome: control.OutcomeRolledBack, Reason: "web2 did not open", NoOwnerMs: 42},
			exitFailed, "rolled back, web stays on web1: web2 did not open; nobody owned it for 42 ms\n"},
		{"failed", nil,
			control.SwitchoverResult{Group: "web", From: "web1", To: "web2", Outcome: control.OutcomeFailed, Reason: "web2 died"},
			exitFailed, "failed: web2 died; look at `hbagent status web`\n"},
		{"of a newer agent", nil,
			control.SwitchoverResult{Group: "web", Outcome: "postponed", Reason: "night"},
			exitFailed, "ended as \"postponed\", which this version does not know: night\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.result.Steps = []control.SwitchoverStep{{Step: "preflight", State: control.StepOK, At: controltest.Now}}
			dir := controltest.Serve(t, controltest.Agent{
				OnSwitchover: func(_ context.Context, req control.SwitchoverRequest, progress func(control.SwitchoverStep)) (control.SwitchoverResult, error) {
					if diff := cmp.Diff(control.SwitchoverRequest{Group: "web", To: "web2"}, req); diff != "" {
						return control.SwitchoverResult{}, errors.New(diff)
					}
					for _, s := range tt.steps {
						progress(s)
					}
					return tt.result, nil
				},
			})
			got := run(t, "switchover", "web", "--to", "web2", "--run-dir", dir)
			if diff := cmp.Diff(tt.stdout, got.stdout); diff != "" || got.code != tt.code {
				t.Errorf("code %d, want %d; stderr %q; stdout (-want +got):\n%s", got.code, tt.code, got.stderr, diff)
			}
			got = run(t, "switchover", "web", "--to", "web2", "--json", "--run-dir", dir)
			var back control.SwitchoverResult
			if err := json.Unmarshal([]byte(got.stdout), &back); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.result, back); diff != "" || got.code != tt.code {
				t.Errorf("--json: code %d, want %d; (-want +got):\n%s", got.code, tt.code, diff)
			}
		})
	}
}

func TestSwitchoverInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	dir := controltest.Serve(t, controltest.Agent{
		OnSwitchover: func(agentCtx context.Context, _ control.SwitchoverRequest, _ func(control.SwitchoverStep)) (control.SwitchoverResult, error) {
			cancel()
			<-agentCtx.Done() // the end of the server
			return control.SwitchoverResult{}, agentCtx.Err()
		},
	})
	a, _ := testApp(t)
	var stderr strings.Builder
	a.stderr = &stderr
	code := a.run(ctx, []string{"switchover", "web", "--run-dir", dir})
	if want := "the agent goes on with the move"; code != exitFailed || !strings.Contains(stderr.String(), want) {
		t.Errorf("code %d, stderr %q; want 1 and %q", code, stderr.String(), want)
	}
}

// onWrite calls do when it sees a text.
type onWrite struct {
	strings.Builder
	when string
	do   func()
}

func (w *onWrite) Write(b []byte) (int, error) {
	if strings.Contains(string(b), w.when) {
		w.do()
	}
	return w.Builder.Write(b)
}

func TestCheck(t *testing.T) {
	runs := []control.CheckRun{
		{Name: "apache", Type: "apache", OK: true, Required: true, Message: "7 of 10 workers idle", TookMs: 1.84},
		{Name: "memcached", Type: "memcached", OK: false, Message: "connect 127.0.0.1:11211: connection refused", TookMs: 0.21},
	}
	dir := controltest.Serve(t, controltest.Agent{OnRunChecks: func(_ context.Context, name string) ([]control.CheckRun, error) {
		switch name {
		case "":
			return runs, nil
		case "apache":
			return runs[:1], nil
		}
		return nil, control.Errorf(control.CodeNotFound, "no check %q: there is apache, memcached", name)
	}})
	t.Run("all", func(t *testing.T) {
		got := run(t, "check", "--run-dir", dir)
		if got.code != exitFailed || got.stderr != "" {
			t.Errorf("code %d, stderr %q; want 1 because one fails", got.code, got.stderr)
		}
		golden(t, "check.txt", got.stdout)
	})
	t.Run("one", func(t *testing.T) {
		if got := run(t, "check", "apache", "--run-dir", dir); got.code != exitOK {
			t.Errorf("got %+v, want code 0", got)
		}
	})
	t.Run("unknown", func(t *testing.T) {
		got := run(t, "check", "apahce", "--run-dir", dir)
		if want := "hbagent: no check \"apahce\": there is apache, memcached\n"; got.code != exitFailed || got.stderr != want {
			t.Errorf("got %+v, want %q", got, want)
		}
	})
}

func TestReload(t *testing.T) {
	answer := control.ReloadResult{}
	var fail error
	dir := controltest.Serve(t, controltest.Agent{OnReload: func(context.Context, bool) (control.ReloadResult, error) { return answer, fail }})
	if got := run(t, "reload", "--run-dir", dir); got != (result{exitOK, "nothing has changed\n", ""}) {
		t.Errorf("got %+v", got)
	}
	answer = control.ReloadResult{Changed: []string{"group web: hold 10s -> 20s"}, NeedsRestart: []string{"cluster: port"}, Warnings: []string{"drain is ignored"}}
	want := result{exitFailed, "changed: group web: hold 10s -> 20s\nafter a restart: cluster: port\n`systemctl restart hbagent` moves no group\n", "hbagent: warning: drain is ignored\n"}
	if got := run(t, "reload", "--run-dir", dir); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	fail = control.Errorf(control.CodeInvalid, "hbagent.toml:3:1: unknown key")
	if got := run(t, "reload", "--run-dir", dir); got != (result{exitFailed, "", "hbagent: hbagent.toml:3:1: unknown key\n"}) {
		t.Errorf("got %+v", got)
	}
}

func TestMaintenance(t *testing.T) {
	moved := control.SwitchoverResult{Group: "web", From: "web1", To: "web2", Outcome: control.OutcomeMoved, NoOwnerMs: 3.04, Steps: []control.SwitchoverStep{}}
	for _, tt := range []struct {
		args   []string
		want   control.MaintenanceRequest
		result control.MaintenanceResult
		code   int
		stdout string
	}{
		{[]string{"on", "--reason", "new kernel"}, control.MaintenanceRequest{On: true, Reason: "new kernel"},
			control.MaintenanceResult{Node: "web1", On: true, Done: true, Reason: "new kernel", Groups: []control.SwitchoverResult{moved}}, exitOK,
			"web moved from web1 to web2; nobody owned it for 3 ms\nweb1 is in maintenance: new kernel; `hbagent maintenance off` ends it\n"},
		{[]string{"on", "--force", "--node", "web2"}, control.MaintenanceRequest{Node: "web2", On: true, Force: true},
			control.MaintenanceResult{Node: "web2", Reason: "nobody else can take web: web1 is down"}, exitFailed,
			"web2 is not in maintenance: nobody else can take web: web1 is down\n"},
		{[]string{"off"}, control.MaintenanceRequest{}, control.MaintenanceResult{Node: "web1", Done: true}, exitOK, "web1 is not in maintenance\n"},
	} {
		dir := controltest.Serve(t, controltest.Agent{OnMaintenance: func(_ context.Context, req control.MaintenanceRequest) (control.MaintenanceResult, error) {
			if diff := cmp.Diff(tt.want, req); diff != "" {
				return control.MaintenanceResult{}, errors.New(diff)
			}
			return tt.result, nil
		}})
		args := append([]string{"maintenance", "--run-dir", dir}, tt.args...)
		if got := run(t, args...); got != (result{tt.code, tt.stdout, ""}) {
			t.Errorf("%v: got %+v, want %q", tt.args, got, tt.stdout)
		}
		var back control.MaintenanceResult
		if got := run(t, append(args, "--json")...); got.code != tt.code || json.Unmarshal([]byte(got.stdout), &back) != nil || back.Node != tt.result.Node || back.Groups == nil {
			t.Errorf("%v --json: got %+v", tt.args, got)
		}
	}
	for _, args := range [][]string{{}, {"maybe"}, {"on", "off"}, {"off", "--reason", "x"}, {"off", "--force"}} {
		if got := run(t, append([]string{"maintenance"}, args...)...); got.code != exitUsage {
			t.Errorf("%v: got %+v, want exit code 2", args, got)
		}
	}
}

// The old owner's connections are shown going down; the command ends with them.
func TestSwitchoverWatchesTheDrain(t *testing.T) {
	left := []control.NodeGroup{
		{State: control.StateActive},
		{State: control.StateDraining, Draining: &control.Draining{Connections: -1, LeftMs: 30_000}},
		{State: control.StateDraining, Draining: &control.Draining{Connections: 2, LeftMs: 29_000}},
		{State: control.StateDraining, Draining: &control.Draining{Connections: 0, LeftMs: 28_000}},
		{State: control.StateStandby, Reason: "drained: every connection has finished"},
	}
	asked := 0
	dir := controltest.Serve(t, controltest.Agent{
		OnSwitchover: func(context.Context, control.SwitchoverRequest, func(control.SwitchoverStep)) (control.SwitchoverResult, error) {
			return control.SwitchoverResult{Group: "web", From: "web1", To: "web2", Outcome: control.OutcomeMoved, NoOwnerMs: 3, Drains: true}, nil
		},
		OnStatus: func(context.Context) (control.Status, error) {
			s := controltest.AllWell()
			s.Nodes[0].Groups["web"] = left[min(asked, len(left)-1)]
			asked++
			return s, nil
		},
	})
	run := func(args ...string) result {
		a, run := testApp(t)
		tick := make(chan time.Time)
		close(tick) // no waiting
		a.tick = func(time.Duration) <-chan time.Time { return tick }
		asked = 0
		return run(append(args, "--run-dir", dir)...)
	}
	want := "web moved from web1 to web2; nobody owned it for 3 ms\n" +
		"..  web1 finishes its open connections, for 30s at most\n" +
		"..  web1 finishes 2 connections, for 29s at most\n" +
		"..  web1 has no connection left, and waits a moment for clients that still come\n" +
		"ok  web1: drained: every connection has finished\n"
	if got := run("switchover", "web"); got != (result{exitOK, want, ""}) {
		t.Errorf("got %+v, want %q", got, want)
	}
	if got := run("switchover", "web", "--no-wait"); got.code != exitOK || asked != 0 {
		t.Errorf("--no-wait: got %+v, asked for the status %d times", got, asked)
	}
	var back control.SwitchoverResult
	if got := run("switchover", "web", "--json"); json.Unmarshal([]byte(got.stdout), &back) != nil || !back.Drains || asked < len(left) {
		t.Errorf("--json: got %+v, asked for the status %d times", got, asked)
	}
}
