package checks

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// fake is a Checker that does what the test says.
type fake struct {
	mu     sync.Mutex
	answer func(ctx context.Context, n int) Result
	starts []time.Time
	events chan func(wake func()) error // for Watch
}

func (f *fake) Check(ctx context.Context) Result {
	f.mu.Lock()
	f.starts = append(f.starts, time.Now())
	n, answer := len(f.starts), f.answer
	f.mu.Unlock()
	return answer(ctx, n)
}

func (f *fake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.starts)
}

func (f *fake) becomes(answer func(context.Context, int) Result) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

func ok(context.Context, int) Result   { return pass("fine") }
func down(context.Context, int) Result { return fail("down") }

// obey waits for the context, ignore does not even do that.
func obey(ctx context.Context, _ int) Result { <-ctx.Done(); return fail("%v", ctx.Err()) }

func ignore(release <-chan struct{}) func(context.Context, int) Result {
	return func(context.Context, int) Result { <-release; return pass("late") }
}

type watching struct{ *fake }

func (w watching) Watch(ctx context.Context, wake func()) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case do := <-w.events:
			if err := do(wake); err != nil {
				return err
			}
		}
	}
}

// An event is what onChange was told, and when since the start.
type event struct {
	At   time.Duration
	What string
}

// rig is a Runner with fakes, inside a synctest bubble.
type rig struct {
	*Runner
	began  time.Time
	mu     sync.Mutex
	events []event
	stop   context.CancelFunc
	ended  chan error
}

func newRig(t *testing.T, fakes map[string]Checker, specs ...Spec) *rig {
	t.Helper()
	g := &rig{began: time.Now(), ended: make(chan error, 1)}
	r, err := NewRunner(specs, func(s State) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.events = append(g.events, event{time.Since(g.began), fmt.Sprintf("%s %v: %s", s.Name, s.Status, s.Message)})
	}, Options{
		Rand: func() float64 { return 0.5 }, // no jitter
		New: func(s Spec, _ Options) (Checker, error) {
			if c, ok := fakes[s.Unit+s.Name]; ok {
				return c, nil
			}
			return nil, errors.New("no such fake")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	g.Runner = r
	var ctx context.Context
	ctx, g.stop = context.WithCancel(t.Context())
	go func() { g.ended <- r.Run(ctx) }()
	synctest.Wait()
	return g
}

// after lets time pass.
func (g *rig) after(d time.Duration) {
	time.Sleep(d) // the bubble's clock: this waits for nothing
	synctest.Wait()
}

func (g *rig) end(t *testing.T) {
	t.Helper()
	g.stop()
	if err := <-g.ended; err != nil {
		t.Error(err)
	}
}

func (g *rig) told(t *testing.T, want ...event) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if diff := cmp.Diff(want, g.events, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("onChange (-want +got):\n%s", diff)
	}
	g.events = nil
}

func spec(name string) Spec {
	return Spec{Name: name, Type: "fake", Interval: 500 * time.Millisecond, Timeout: 2 * time.Second, Fall: 2, Rise: 2}
}

const ms = time.Millisecond
