// Package controltest has an agent that does as it is told, behind the real socket, and statuses of
// clusters in the situations that matter, for the tests of whatever asks an agent.
package controltest

import (
	"context"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/control"
)

// Agent is a [control.Agent] made of functions. A nil one answers with the zero value, and Subscribe
// and Follow with a channel that stays silent.
type Agent struct {
	OnStatus      func(context.Context) (control.Status, error)
	OnPlan        func(context.Context, control.PlanRequest) (control.Plan, error)
	OnEvents      func(context.Context, control.EventQuery) (control.History, error)
	OnSubscribe   func(context.Context) (<-chan control.Event, error)
	OnFollow      func(context.Context) (<-chan control.Event, error) // what comes after OnEvents
	OnSwitchover  func(context.Context, control.SwitchoverRequest, func(control.SwitchoverStep)) (control.SwitchoverResult, error)
	OnMaintenance func(context.Context, control.MaintenanceRequest) (control.MaintenanceResult, error)
	OnProcess     func(context.Context) (control.AgentProcess, error)
	OnProbe       func(context.Context, control.ProbeRequest) (control.ProbeResult, error)
	OnRunChecks   func(context.Context, string) ([]control.CheckRun, error)
	OnKeyStatus   func(context.Context) (control.KeyStatus, error)
	OnKeyRotate   func(context.Context, control.KeyRotateRequest, func(control.SwitchoverStep)) (control.KeyRotation, error)
	OnRender      func(context.Context, string) ([]control.TemplateRender, error)
	OnReload      func(context.Context, bool) (control.ReloadResult, error)
}

var _ control.Agent = Agent{}

// Status implements control.Agent.
func (a Agent) Status(ctx context.Context) (control.Status, error) {
	if a.OnStatus == nil {
		return control.Status{}, nil
	}
	return a.OnStatus(ctx)
}

// Plan implements control.Agent.
func (a Agent) Plan(ctx context.Context, req control.PlanRequest) (control.Plan, error) {
	if a.OnPlan == nil {
		return control.Plan{}, nil
	}
	return a.OnPlan(ctx, req)
}

// Events implements control.Agent.
func (a Agent) Events(ctx context.Context, q control.EventQuery) (control.History, error) {
	if a.OnEvents == nil {
		return control.History{}, nil
	}
	return a.OnEvents(ctx, q)
}

// Subscribe implements control.Agent.
func (a Agent) Subscribe(ctx context.Context) (<-chan control.Event, error) {
	if a.OnSubscribe == nil {
		return make(chan control.Event), nil
	}
	return a.OnSubscribe(ctx)
}

// Follow implements control.Agent.
func (a Agent) Follow(ctx context.Context, q control.EventQuery) (control.History, <-chan control.Event, error) {
	past, err := a.Events(ctx, q)
	if err != nil || a.OnFollow == nil {
		return past, make(chan control.Event), err
	}
	live, err := a.OnFollow(ctx)
	return past, live, err
}

// Switchover implements control.Agent.
func (a Agent) Switchover(ctx context.Context, req control.SwitchoverRequest, progress func(control.SwitchoverStep)) (control.SwitchoverResult, error) {
	if a.OnSwitchover == nil {
		return control.SwitchoverResult{}, nil
	}
	return a.OnSwitchover(ctx, req, progress)
}

// Maintenance implements control.Agent.
func (a Agent) Maintenance(ctx context.Context, req control.MaintenanceRequest) (control.MaintenanceResult, error) {
	if a.OnMaintenance == nil {
		return control.MaintenanceResult{}, nil
	}
	return a.OnMaintenance(ctx, req)
}

// KeyStatus implements control.Agent.
func (a Agent) KeyStatus(ctx context.Context) (control.KeyStatus, error) {
	if a.OnKeyStatus == nil {
		return control.KeyStatus{}, nil
	}
	return a.OnKeyStatus(ctx)
}

// KeyRotate implements control.Agent.
func (a Agent) KeyRotate(ctx context.Context, req control.KeyRotateRequest, progress func(control.SwitchoverStep)) (control.KeyRotation, error) {
	if a.OnKeyRotate == nil {
		return control.KeyRotation{}, nil
	}
	return a.OnKeyRotate(ctx, req, progress)
}

// Process implements control.Agent.
func (a Agent) Process(ctx context.Context) (control.AgentProcess, error) {
	if a.OnProcess == nil {
		return control.AgentProcess{}, nil
	}
	return a.OnProcess(ctx)
}

// Probe implements control.Agent.
func (a Agent) Probe(ctx context.Context, req control.ProbeRequest) (control.ProbeResult, error) {
	if a.OnProbe == nil {
		return control.ProbeResult{}, nil
	}
	return a.OnProbe(ctx, req)
}

// RunChecks implements control.Agent.
func (a Agent) RunChecks(ctx context.Context, name string) ([]control.CheckRun, error) {
	if a.OnRunChecks == nil {
		return nil, nil
	}
	return a.OnRunChecks(ctx, name)
}

// RenderTemplates implements control.Agent.
func (a Agent) RenderTemplates(ctx context.Context, name string) ([]control.TemplateRender, error) {
	if a.OnRender == nil {
		return nil, nil
	}
	return a.OnRender(ctx, name)
}

// Reload implements control.Agent.
func (a Agent) Reload(ctx context.Context, force bool) (control.ReloadResult, error) {
	if a.OnReload == nil {
		return control.ReloadResult{}, nil
	}
	return a.OnReload(ctx, force)
}

// Serve runs the real server for a until the test ends, and returns its run directory.
func Serve(t testing.TB, a control.Agent) (runDir string) {
	t.Helper()
	runDir = t.TempDir()
	ServeIn(t, control.ServerOptions{RunDir: runDir, Agent: a})
	return runDir
}

// ServeIn runs the real server until stop is called or the test ends, and waits for its end.
func ServeIn(t testing.TB, o control.ServerOptions) (stop func()) {
	t.Helper()
	s, err := control.Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the server ended with: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("the server did not end")
		}
	}
	t.Cleanup(stop)
	return stop
}
