package checks

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
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

func TestRunnerRiseAndFall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answer: ok}
		s := spec("web")
		s.Interval = 400 * ms
		g := newRig(t, map[string]Checker{"web": f}, s)
		defer g.end(t)
		g.told(t, event{0, "web passing: fine"})
		g.after(1500 * ms) // probes at 400, 800, 1200
		g.told(t)

		f.becomes(down)
		g.after(400 * ms)
		g.told(t, event{1600 * ms, "web passing: down (failure 1 of 2)"})
		g.after(400 * ms) // the status does not wait for the message's second
		g.told(t, event{2000 * ms, "web failing: down"})

		f.becomes(ok)
		g.after(800 * ms)
		g.told(t, event{2800 * ms, "web passing: fine"})
		want := State{Name: "web", Type: "fake", Status: Passing, Message: "fine", Since: g.began.Add(2800 * ms),
			LastRun: g.began.Add(2800 * ms), Flaps: 2}
		if diff := cmp.Diff([]State{want}, g.States(), cmpopts.IgnoreFields(State{}, "Seq")); diff != "" {
			t.Errorf("States (-want +got):\n%s", diff)
		}
	})
}

func TestRunnerMessagesAreCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answer: func(_ context.Context, n int) Result { return pass("%d", min(n, 15)) }}
		s := spec("web")
		s.Interval = 100 * ms
		g := newRig(t, map[string]Checker{"web": f}, s)
		defer g.end(t)
		g.after(5050 * ms)
		// The message changes every 100 ms until 1400, and the last is not lost.
		// At the second both timers are due, and either may come first.
		g.mu.Lock()
		defer g.mu.Unlock()
		var at []time.Duration
		for _, e := range g.events {
			at = append(at, e.At)
		}
		if diff := cmp.Diff([]time.Duration{0, 1000 * ms, 2000 * ms}, at); diff != "" {
			t.Errorf("times of onChange (-want +got):\n%s", diff)
		}
		if last := g.events[len(g.events)-1].What; last != "web passing: 15" {
			t.Errorf("last: %q", last)
		}
	})
}

func TestRunnerTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answer: obey}
		g := newRig(t, map[string]Checker{"web": f}, spec("web"))
		defer g.end(t)
		g.after(7 * time.Second)
		g.told(t, event{2 * time.Second, "web failing: no answer within 2s"})
		// Three starts were missed each time and are not made up for.
		var at []time.Duration
		for _, s := range f.starts {
			at = append(at, s.Sub(g.began))
		}
		if diff := cmp.Diff([]time.Duration{0, 2 * time.Second, 4 * time.Second, 6 * time.Second}, at); diff != "" {
			t.Errorf("starts (-want +got):\n%s", diff)
		}
		if took := g.States()[0].Took; took != 2*time.Second {
			t.Errorf("Took = %v, want the timeout", took)
		}
	})
}

func TestRunnerHungProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		stuck := &fake{answer: ignore(release)}
		fine := &fake{answer: ok}
		hung := spec("stuck")
		hung.Interval = 900 * ms // no start at the same instant as a report
		g := newRig(t, map[string]Checker{"stuck": stuck, "fine": fine}, hung, spec("fine"))
		defer g.end(t)
		g.after(10 * time.Second)
		g.told(t,
			event{0, "fine passing: fine"},
			event{2000 * ms, "stuck failing: no answer within 2s"},
			event{3000 * ms, "stuck failing: an earlier probe still hangs (no answer within 2s)"})
		if n := stuck.count(); n != 1 {
			t.Errorf("%d probes at a time, want 1", n)
		}
		if n := fine.count(); n != 21 {
			t.Errorf("the other check ran %d times in 10 s, want 21: it was held up", n)
		}
		if _, err := g.Now(t.Context(), "stuck"); err != nil {
			t.Error(err)
		}
		stuck.becomes(ok)
		close(release)
		g.after(2 * time.Second)
		if s := g.States()[0]; s.Status != Passing {
			t.Errorf("after the hung probe has returned: %v: %s", s.Status, s.Message)
		}
	})
}

func TestRunnerRunEndsWithHungProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		g := newRig(t, map[string]Checker{"web": &fake{answer: ignore(release)}}, spec("web"))
		g.end(t)
		g.told(t)
		close(release)
	})
}

func TestRunnerPanicIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answer: func(context.Context, int) Result { panic("oh\nno") }}
		g := newRig(t, map[string]Checker{"web": f}, spec("web"))
		defer g.end(t)
		g.told(t, event{0, "web failing: the check itself panicked: oh no"})
	})
}

func TestRunnerNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answer: ok}
		g := newRig(t, map[string]Checker{"web": f}, spec("web"))
		defer g.end(t)
		g.told(t, event{0, "web passing: fine"})

		// Five failures on demand, and the status does not move.
		f.becomes(down)
		for range 5 {
			res, err := g.Now(t.Context(), "web")
			if err != nil || res.OK || res.Message != "down" {
				t.Errorf("Now = %+v, %v", res, err)
			}
		}
		f.becomes(ok)
		g.after(600 * ms)
		g.told(t)
		if _, err := g.Now(t.Context(), "nobody"); !errors.Is(err, ErrUnknownCheck) {
			t.Errorf("Now of an unknown check: %v", err)
		}

		// An answer is not older than the question: a probe that is under way
		// (from 1000 on) is waited for, and another is run.
		gate := make(chan struct{})
		f.becomes(func(context.Context, int) Result { <-gate; return pass("old") })
		g.after(500 * ms)
		got := make(chan Result, 1)
		go func() { res, _ := g.Now(t.Context(), "web"); got <- res }()
		synctest.Wait()
		f.becomes(func(context.Context, int) Result { return pass("new") })
		close(gate)
		if res := <-got; res.Message != "new" {
			t.Errorf("Now = %q, from before it was asked", res.Message)
		}

		// And it ends with its context.
		f.becomes(obey)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := g.Now(ctx, "web"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Now = %v, want the deadline", err)
		}
	})
}

// A scheduled probe that meets one of Now takes its result: there is never more
// than one at a time, and the schedule does not wait.
func TestRunnerNowMeetsSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most atomic.Int32
		f := &fake{answer: ok}
		g := newRig(t, map[string]Checker{"web": f}, spec("web"))
		defer g.end(t)
		g.after(900 * ms)
		f.becomes(func(context.Context, int) Result {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			time.Sleep(time.Second)
			return fail("slow")
		})
		go g.Now(t.Context(), "web")
		g.after(1010 * ms)
		if n := most.Load(); n != 1 {
			t.Errorf("%d probes at a time", n)
		}
		if n := f.count(); n != 3 { // 0, 500, and the one for both
			t.Errorf("%d probes, want 3", n)
		}
		if s := g.States()[0]; s.Message != "slow (failure 1 of 2)" || s.LastRun != g.began.Add(time.Second) {
			t.Errorf("the schedule did not take the result: %+v", s)
		}
		f.becomes(ok)
		g.after(2 * time.Second) // for the slow probe that is under way
	})
}

func TestRunnerNowWithoutRun(t *testing.T) {
	r, err := NewRunner([]Spec{spec("web")}, func(State) { t.Error("onChange was called") }, Options{
		New: func(Spec, Options) (Checker, error) { return &fake{answer: ok}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if res, err := r.Now(t.Context(), "web"); err != nil || !res.OK {
		t.Errorf("Now = %+v, %v", res, err)
	}
	if s := r.States()[0]; s.Status != Pending {
		t.Errorf("status %v, want pending", s.Status)
	}
}

func TestRunnerWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answer: ok, events: make(chan func(func()) error)}
		s := spec("link")
		s.Interval = time.Hour
		g := newRig(t, map[string]Checker{"link": watching{f}}, s)
		defer g.end(t)
		g.told(t, event{0, "link passing: fine"})
		g.after(time.Minute)
		wake := func(wake func()) error { wake(); return nil }

		f.becomes(func(context.Context, int) Result { return final(fail("no carrier")) })
		f.events <- wake
		synctest.Wait()
		g.told(t, event{time.Minute, "link failing: no carrier"})

		// Many events together are two probes: the one under way and one more.
		before := f.count()
		g.after(time.Minute)
		f.events <- func(wake func()) error {
			for range 1000 {
				wake()
			}
			return nil
		}
		g.after(time.Second)
		if n := f.count() - before; n > 2 {
			t.Errorf("1000 events started %d probes", n)
		}

		// Nor do events that keep coming start more than one in 10 ms.
		before = f.count()
		for range 100 {
			f.events <- wake
			g.after(ms)
		}
		if n := f.count() - before; n < 5 || n > 11 {
			t.Errorf("events for 100 ms started %d probes, want some 10", n)
		}

		// Events do not make up for successes in a row: only the schedule does.
		f.becomes(ok)
		for range 10 {
			f.events <- wake
			g.after(time.Second)
		}
		if s := g.States()[0]; s.Status != Failing {
			t.Errorf("%v after ten events", s.Status)
		}
		g.after(2 * time.Hour)
		if s := g.States()[0]; s.Status != Passing {
			t.Errorf("%v after two hours", s.Status)
		}

		// A watch that failed is taken up again, and what it missed is looked for.
		before = f.count()
		f.events <- func(func()) error { return errors.New("overrun") }
		g.after(watchAgain)
		if n := f.count() - before; n != 1 {
			t.Errorf("%d probes after the watch came back, want 1", n)
		}
		f.events <- wake
	})
}

func TestRunnerReplace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		same, gone, other := &fake{answer: ok}, &fake{answer: ok}, &fake{answer: ok}
		changed, added := &fake{answer: obey}, &fake{answer: down}
		g := newRig(t, map[string]Checker{"same": same, "gone": gone, "slow": other, "change": other,
			"newchange": changed, "added": added}, spec("same"), spec("gone"), spec("slow"), spec("change"))
		defer g.end(t)
		g.after(700 * ms)
		g.mu.Lock()
		g.events = nil
		g.mu.Unlock()
		old := g.States()

		slow := spec("slow") // the same question, another schedule
		slow.Fall = 5
		change := spec("change") // another question
		change.Unit = "new"
		bad := spec("bad")
		bad.Fall = 0
		if err := g.Replace([]Spec{spec("added"), bad}); err == nil {
			t.Error("a wrong spec was accepted")
		}
		if diff := cmp.Diff(old, g.States()); diff != "" {
			t.Errorf("a wrong spec changed something (-before +after):\n%s", diff)
		}
		if err := g.Replace([]Spec{spec("added"), spec("same"), slow, change}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		got := map[string]Status{}
		for _, s := range g.States() {
			got[s.Name] = s.Status
		}
		want := map[string]Status{"added": Failing, "same": Passing, "slow": Passing, "change": Pending}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("after Replace (-want +got):\n%s", diff)
		}
		g.told(t, event{700 * ms, "added failing: down"})
		g.after(5 * time.Second)
		if n := gone.count(); n != 2 {
			t.Errorf("the removed check ran %d times, want 2", n)
		}
		if n := same.count(); n != 12 { // 0, 500, ... 5500
			t.Errorf("the unchanged check ran %d times, want 12: its schedule was disturbed", n)
		}
		if _, err := g.Now(t.Context(), "gone"); !errors.Is(err, ErrUnknownCheck) {
			t.Errorf("Now of the removed check: %v", err)
		}
	})
}

func TestNewRunnerRefuses(t *testing.T) {
	bad := Spec{Name: "b", Type: "tcp", Address: "127.0.0.1:1"}
	_, err := NewRunner([]Spec{bad, bad, {}, func() Spec { s := spec("z"); s.Type = "ftp"; return s }()}, nil, Options{})
	want := `check "b": interval 0s is below 10ms
timeout 0s is not positive
fall 0 is below 1
rise 0 is below 1
check "b": the name comes twice
check "": name is empty
interval 0s is below 10ms
timeout 0s is not positive
fall 0 is below 1
rise 0 is below 1
check "z": unknown type "ftp"; there are apache, arp, exec, http, link, memcached, mysql, nginx, systemd, tcp`
	if diff := cmp.Diff(want, fmt.Sprint(err)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRunTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, map[string]Checker{"a": &fake{answer: ok}}, spec("a"))
		defer g.end(t)
		if err := g.Run(t.Context()); !errors.Is(err, ErrRunning) {
			t.Errorf("the second Run: %v", err)
		}
	})
}

func TestPause(t *testing.T) {
	start := time.Unix(1000, 0)
	for name, tt := range map[string]struct {
		spent  time.Duration
		random float64
		want   time.Duration
	}{
		"quick":                 {20 * ms, 0.5, 480 * ms},
		"early":                 {0, 0, 450 * ms},
		"late":                  {0, 1, 550 * ms},
		"due now":               {500 * ms, 0.5, 0},
		"one missed":            {501 * ms, 0.5, 499 * ms},
		"timeout":               {2000 * ms, 0.5, 0},
		"the machine was away":  {24*time.Hour + 100*ms, 0.5, 400 * ms},
		"the clock went back":   {-time.Second, 0.5, 1500 * ms},
		"jitter on missed ones": {1000 * ms, 0, 350 * ms},
	} {
		t.Run(name, func(t *testing.T) {
			if got := pause(start, start.Add(tt.spent), 500*ms, tt.random); got != tt.want {
				t.Errorf("pause = %v, want %v", got, tt.want)
			}
		})
	}
}
