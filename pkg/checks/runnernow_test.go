package checks

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

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
