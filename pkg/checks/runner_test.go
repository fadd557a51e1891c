package checks

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

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
