package control_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/control/controltest"
)

func event(second int, kind string) control.Event {
	return control.Event{At: controltest.Now.Add(time.Duration(second) * time.Second), Node: "web1", Kind: kind}
}

func TestEventsPassTheQuestionOn(t *testing.T) {
	since := controltest.Now.Add(123456789)
	want := control.History{
		Events:  []control.Event{event(1, "a"), event(2, "b")},
		Sources: []control.EventSource{{Node: "web1"}, {Node: "web2", Error: "is down"}, {Node: "db1", SkewMs: -3000}},
	}
	want.Events[1].Accounts = []control.Account{{Node: "web2", At: controltest.Now, Seq: 3, Reason: "saw it"}}
	var asked control.EventQuery
	dir := controltest.Serve(t, controltest.Agent{
		OnEvents: func(_ context.Context, q control.EventQuery) (control.History, error) {
			asked = q
			return want, nil
		},
	})
	for _, q := range []control.EventQuery{
		{Since: since, Max: 7}, {Since: since, Max: 7, Cluster: true}, {Since: since, Max: 7, Node: "web2"},
	} {
		got, err := control.NewClient(dir).History(testContext(t), q)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(q, asked); diff != "" {
			t.Errorf("the question has changed on the way (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("history (-want +got):\n%s", diff)
		}
	}
	_, err := control.NewClient(dir).History(testContext(t), control.EventQuery{Cluster: true, Node: "web2"})
	if e := (*control.Error)(nil); !errors.As(err, &e) || e.Code != control.CodeBadRequest {
		t.Errorf("one node and the whole cluster: %v, want CodeBadRequest", err)
	}
}

func TestFollow(t *testing.T) {
	live := make(chan control.Event, 3)
	live <- event(2, "in between")
	live <- event(3, "new")
	dir := controltest.Serve(t, controltest.Agent{
		OnEvents: func(context.Context, control.EventQuery) (control.History, error) {
			return control.History{Events: []control.Event{event(1, "old")}, Sources: []control.EventSource{{Node: "web2", Error: "is down"}}}, nil
		},
		OnFollow: func(context.Context) (<-chan control.Event, error) { return live, nil },
	})
	ctx, cancel := context.WithCancel(testContext(t))
	var got []string
	err := control.NewClient(dir).Follow(ctx, control.EventQuery{}, func(s control.EventSource) error {
		got = append(got, s.Node+" "+s.Error)
		return nil
	}, func(e control.Event) error {
		got = append(got, e.Kind)
		if e.Kind == "new" {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the caller's cancellation", err)
	}
	if diff := cmp.Diff([]string{"web2 is down", "old", "in between", "new"}, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestFollowEnds(t *testing.T) {
	t.Run("when the reader fell behind", func(t *testing.T) {
		live := make(chan control.Event)
		close(live)
		dir := controltest.Serve(t, controltest.Agent{
			OnFollow: func(context.Context) (<-chan control.Event, error) { return live, nil },
		})
		wantUnavailable(t, control.NewClient(dir).Follow(testContext(t), control.EventQuery{}, nil, nil))
	})
	t.Run("when the agent stops", func(t *testing.T) {
		dir := t.TempDir()
		stop := controltest.ServeIn(t, control.ServerOptions{RunDir: dir, Agent: controltest.Agent{
			OnEvents: func(context.Context, control.EventQuery) (control.History, error) {
				return control.History{Events: []control.Event{event(1, "first")}}, nil
			},
		}})
		started, ended := make(chan struct{}), make(chan error, 1)
		go func() {
			ended <- control.NewClient(dir).Follow(testContext(t), control.EventQuery{}, nil, func(control.Event) error {
				close(started)
				return nil
			})
		}()
		<-started
		stop()
		wantUnavailable(t, <-ended)
	})
	t.Run("with the reader's own error", func(t *testing.T) {
		full := errors.New("disk full")
		dir := controltest.Serve(t, controltest.Agent{
			OnEvents: func(context.Context, control.EventQuery) (control.History, error) {
				return control.History{Events: []control.Event{event(1, "first")}}, nil
			},
		})
		err := control.NewClient(dir).Follow(testContext(t), control.EventQuery{}, nil, func(control.Event) error { return full })
		if !errors.Is(err, full) {
			t.Errorf("got %v, want %v", err, full)
		}
	})
}

func wantUnavailable(t *testing.T, err error) {
	t.Helper()
	var e *control.Error
	if !errors.As(err, &e) || e.Code != control.CodeUnavailable {
		t.Errorf("got %v, want CodeUnavailable", err)
	}
}

func TestSwitchoverTellsStepsAndResult(t *testing.T) {
	steps := []control.SwitchoverStep{
		{Step: "preflight", State: control.StepOK, At: controltest.Now},
		{Step: "transfer", State: control.StepOK, At: controltest.Now},
	}
	want := control.SwitchoverResult{Group: "web", From: "web1", To: "web2", Outcome: control.OutcomeMoved, Epoch: 9, NoOwnerMs: 2.5, Steps: steps}
	dir := controltest.Serve(t, controltest.Agent{
		OnSwitchover: func(_ context.Context, req control.SwitchoverRequest, progress func(control.SwitchoverStep)) (control.SwitchoverResult, error) {
			if diff := cmp.Diff(control.SwitchoverRequest{Group: "web", To: "web2", Force: true}, req); diff != "" {
				return control.SwitchoverResult{}, errors.New(diff)
			}
			for _, s := range steps {
				progress(s)
			}
			return want, nil
		},
	})
	var got []control.SwitchoverStep
	result, err := control.NewClient(dir).Switchover(testContext(t),
		control.SwitchoverRequest{Group: "web", To: "web2", Force: true},
		func(s control.SwitchoverStep) { got = append(got, s) })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, result); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(steps, got); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

// TestSwitchoverOutlivesItsCaller: Ctrl-C at the wrong moment must not leave a group half moved.
func TestSwitchoverOutlivesItsCaller(t *testing.T) {
	callerGone, moved := make(chan struct{}), make(chan error, 1)
	dir := controltest.Serve(t, controltest.Agent{
		OnSwitchover: func(ctx context.Context, _ control.SwitchoverRequest, progress func(control.SwitchoverStep)) (control.SwitchoverResult, error) {
			progress(control.SwitchoverStep{Step: "transfer", State: control.StepRunning})
			<-callerGone
			for range 1000 { // more than any buffer: progress does not block
				progress(control.SwitchoverStep{Step: "noise", State: control.StepOK})
			}
			moved <- ctx.Err()
			return control.SwitchoverResult{}, nil
		},
	})
	ctx, cancel := context.WithCancel(testContext(t))
	_, err := control.NewClient(dir).Switchover(ctx, control.SwitchoverRequest{Group: "web"},
		func(control.SwitchoverStep) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the caller's cancellation", err)
	}
	close(callerGone)
	select {
	case err := <-moved:
		if err != nil {
			t.Errorf("the move was cancelled with its caller: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the move did not end")
	}
}

// TestSwitchoverEndsWithTheAgent: the server's end is the one thing that cancels a move.
func TestSwitchoverEndsWithTheAgent(t *testing.T) {
	started := make(chan struct{})
	dir := t.TempDir()
	stop := controltest.ServeIn(t, control.ServerOptions{RunDir: dir, Agent: controltest.Agent{
		OnSwitchover: func(ctx context.Context, _ control.SwitchoverRequest, _ func(control.SwitchoverStep)) (control.SwitchoverResult, error) {
			close(started)
			<-ctx.Done()
			return control.SwitchoverResult{}, ctx.Err()
		},
	}})
	ended := make(chan error, 1)
	go func() {
		_, err := control.NewClient(dir).Switchover(testContext(t), control.SwitchoverRequest{Group: "web"}, nil)
		ended <- err
	}()
	<-started
	stop()
	wantUnavailable(t, <-ended)
}

// TestAbandonedSwitchoversGiveTheirConnectionBack has more of them than one user may have connections.
// Each move ends after its caller has gone, so that its result cannot be delivered.
func TestAbandonedSwitchoversGiveTheirConnectionBack(t *testing.T) {
	var interrupt context.CancelFunc
	gone := make(chan struct{})
	dir := controltest.Serve(t, controltest.Agent{
		OnSwitchover: func(context.Context, control.SwitchoverRequest, func(control.SwitchoverStep)) (control.SwitchoverResult, error) {
			interrupt()
			<-gone
			return control.SwitchoverResult{}, nil
		},
	})
	client := control.NewClient(dir)
	for range 40 {
		ctx, cancel := context.WithCancel(testContext(t))
		interrupt = cancel
		if _, err := client.Switchover(ctx, control.SwitchoverRequest{Group: "web"}, nil); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v, want the caller's cancellation", err)
		}
		gone <- struct{}{}
	}
	if _, err := client.Status(testContext(t)); err != nil {
		t.Errorf("after 40 abandoned switchovers: %v", err)
	}
}
