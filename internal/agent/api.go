package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/checks"
)

// api answers the control socket and the peers' calls. Its methods run in the
// goroutines of the askers and reach state through the loop only.
type api struct {
	loop   *loop
	runner *checks.Runner
	opts   Options
	log    *slog.Logger
	reload func(ctx context.Context, force bool) (control.ReloadResult, error)

	maintaining  sync.Mutex    // one at a time
	rotating     sync.Mutex    // one at a time
	historyWaits chan struct{} // one for each call that waits for an event
	followers    atomic.Int64  // readers that follow other nodes' events

	peerProber peerProber
	probing    chan struct{} // one at a time
}

func newAPI(l *loop, log *slog.Logger) *api {
	return &api{loop: l, log: log, historyWaits: make(chan struct{}, historyWaits), probing: make(chan struct{}, 1)}
}

var _ control.Agent = (*api)(nil)

// RunChecks implements control.Agent.
func (a *api) RunChecks(ctx context.Context, name string) ([]control.CheckRun, error) {
	states := a.runner.States()
	if name != "" {
		i := slices.IndexFunc(states, func(s checks.State) bool { return s.Name == name })
		if i < 0 {
			return nil, control.Errorf(control.CodeNotFound, "no check %q runs on this node; there are: %s", name, names(states))
		}
		states = states[i : i+1]
	}
	runs := make([]control.CheckRun, len(states))
	done := make(chan struct{})
	for i, s := range states {
		go func() {
			defer func() { done <- struct{}{} }()
			r, err := a.runner.Now(ctx, s.Name)
			runs[i] = control.CheckRun{
				Name: s.Name, Type: s.Type, Required: s.Required, OK: err == nil && r.OK, Message: r.Message,
				TookMs: float64(r.Took.Microseconds()) / 1000,
			}
			if err != nil {
				runs[i].Message = err.Error()
			}
		}()
	}
	for range states {
		<-done
	}
	return runs, nil
}

func names(states []checks.State) string {
	if len(states) == 0 {
		return "none"
	}
	out := states[0].Name
	for _, s := range states[1:] {
		out += ", " + s.Name
	}
	return out
}

// Reload implements control.Agent.
func (a *api) Reload(ctx context.Context, force bool) (control.ReloadResult, error) {
	return a.reload(ctx, force)
}

// failingNow runs the checks of a group once and says which required one fails.
func (a *api) failingNow(ctx context.Context, required []string) error {
	for _, name := range required {
		r, err := a.runner.Now(ctx, name)
		switch {
		case errors.Is(err, checks.ErrUnknownCheck):
			continue // it does not run here: eligibility has judged that
		case err != nil:
			return fmt.Errorf("check %s: %w", name, err)
		case !r.OK:
			return errors.New(failing(name, r.Message))
		}
	}
	return nil
}
