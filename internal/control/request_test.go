package control_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/control/controltest"
)

// TestStrangeRequests: a command that is not understood in full is not carried out.
func TestStrangeRequests(t *testing.T) {
	dir := controltest.Serve(t, controltest.Agent{
		OnReload: func(context.Context, bool) (control.ReloadResult, error) {
			t.Error("the agent was asked to reload")
			return control.ReloadResult{}, nil
		},
		OnSwitchover: func(context.Context, control.SwitchoverRequest, func(control.SwitchoverStep)) (control.SwitchoverResult, error) {
			t.Error("the agent was asked to move a group")
			return control.SwitchoverResult{}, nil
		},
	})
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", control.SocketPath(dir))
	}}}
	tests := []struct {
		name, method, path, body string
		status                   int
		code                     control.Code
	}{
		{"an option of a newer program", "POST", "/v1/reload", `{"force":true,"gently":true}`, 400, control.CodeBadRequest},
		{"no JSON", "POST", "/v1/reload", `force`, 400, control.CodeBadRequest},
		{"two requests in one", "POST", "/v1/reload", `{}{}`, 400, control.CodeBadRequest},
		{"nothing", "POST", "/v1/reload", ``, 400, control.CodeBadRequest},
		{"too much", "POST", "/v1/reload", `{"force":` + strings.Repeat(" ", 1<<20) + `true}`, 400, control.CodeBadRequest},
		{"no group", "POST", "/v1/switchover", `{"to":"web1"}`, 400, control.CodeBadRequest},
		{"a command as a question", "GET", "/v1/reload", ``, 405, ""},
		{"another version", "GET", "/v2/status", ``, 404, ""},
		{"since when?", "GET", "/v1/events?since=yesterday", ``, 400, control.CodeBadRequest},
		{"how many?", "GET", "/v1/events?max=-1", ``, 400, control.CodeBadRequest},
		{"follow what?", "GET", "/v1/events?follow=perhaps", ``, 400, control.CodeBadRequest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(testContext(t), tt.method, "http://hbagent"+tt.path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != tt.status {
				t.Errorf("status %d, want %d", resp.StatusCode, tt.status)
			}
			if tt.code == "" {
				return
			}
			var answer struct{ Error control.Error }
			if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Error.Code != tt.code {
				t.Errorf("got %+v (%v), want code %s", answer, err, tt.code)
			}
		})
	}
}

// TestNoNull: an agent that has nothing to say says it with empty arrays.
func TestNoNull(t *testing.T) {
	dir := controltest.Serve(t, controltest.Agent{OnStatus: func(context.Context) (control.Status, error) {
		return control.Status{Groups: make([]control.Group, 1), Nodes: make([]control.Node, 1)}, nil
	}, OnPlan: func(context.Context, control.PlanRequest) (control.Plan, error) {
		return control.Plan{Cases: make([]control.PlanCase, 1)}, nil
	}})
	client, ctx := control.NewClient(dir), testContext(t)
	status, err1 := client.Status(ctx)
	runs, err2 := client.RunChecks(ctx, "")
	reload, err3 := client.Reload(ctx, false)
	move, err4 := client.Switchover(ctx, control.SwitchoverRequest{Group: "web"}, nil)
	plan, err5 := client.Plan(ctx, control.PlanRequest{})
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{status, runs, reload, move, plan} {
		b, err := json.Marshal(v)
		if err != nil || strings.Contains(string(b), "null") {
			t.Errorf("%T (%v): %s", v, err, b)
		}
	}
}
