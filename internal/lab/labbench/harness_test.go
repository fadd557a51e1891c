package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/bench"
	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
	"github.com/hbagent/hbagent/internal/lab/rivals"
)

const patience = 3 * time.Minute

func TestMain(m *testing.M) { os.Exit(labtest.MainBuilt(m)) }

func build(t *testing.T, tool rivals.Tool, s rivals.Setting) *site {
	t.Helper()
	labtest.Need(t)
	site, err := job{Hbagent: labtest.Program()}.newSite(t.Context(), tool, s, rivals.Options{}, closely)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(site.w.Logs("*", 20))
		}
		if err := site.close(); err != nil {
			t.Error(err)
		}
	})
	return site
}

func scenarioOf(t *testing.T, name string) scenario {
	t.Helper()
	for _, sc := range scenarios {
		if sc.name == name {
			return sc
		}
	}
	t.Fatalf("no scenario %q", name)
	return scenario{}
}

func once(t *testing.T, s *site, name string) bench.Sample {
	t.Helper()
	sample, err := s.once(labtest.Within(t, patience), scenarioOf(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return sample
}

// The observers find what a tool does badly, as it was made to: an address that nobody has for a while.
func TestHarnessSeesAGap(t *testing.T) {
	const gap = 300 * time.Millisecond
	f := &fake{gap: gap}
	got := once(t, build(t, f, f.Settings()[0]), bench.Switchover)
	if got.Outage < ms(gap) || got.None < ms(gap)-5 || got.Two != 0 || got.Moves != 1 || got.Unwanted != 0 {
		t.Errorf("%+v, want one move with an outage of at least %v, and never two", got, gap)
	}
}

// Two machines that answer at once for a while.
func TestHarnessSeesTwo(t *testing.T) {
	const overlap = 300 * time.Millisecond
	f := &fake{overlap: overlap}
	got := once(t, build(t, f, f.Settings()[0]), bench.Switchover)
	if got.Two < ms(overlap)-50 || got.Moves == 0 {
		t.Errorf("%+v, want two that answer for %v", got, overlap)
	}
}

// A move that nobody asked for is counted as such, in a scenario that asks for none and when it is quiet.
func TestHarnessSeesAnUnwantedMove(t *testing.T) {
	f := &fake{gap: time.Millisecond}
	s := build(t, f, f.Settings()[0])
	ctx := labtest.Within(t, patience)
	owner, err := s.steady(ctx)
	if err != nil {
		t.Fatal(err)
	}
	from := time.Now()
	if err := f.Switchover(ctx, owner, otherThan(owner)); err != nil {
		t.Fatal(err)
	}
	if err := s.arp.WaitAnswers(ctx, time.Now(), otherThan(owner)); err != nil {
		t.Fatal(err)
	}
	if got := s.sample(owner, from, time.Now(), 0); got.Moves != 1 || got.Unwanted != 1 {
		t.Errorf("%+v, want one move, and that unwanted", got)
	}
	if got := s.sample(owner, from.Add(-time.Hour), from, 0); got.Moves != 0 {
		t.Errorf("before: %+v, want no move", got)
	}
}

// A tool that does not come to rest is a failure that is recorded, and not the end of the run.
func TestHarnessRecordsAFailure(t *testing.T) {
	f := &fake{dead: true}
	s := build(t, f, f.Settings()[0])
	s.limit = 200 * time.Millisecond
	r := s.repeat(labtest.Within(t, patience), scenarioOf(t, bench.Switchover), 3)
	if !strings.HasPrefix(r.Failed, "2 of 3: ") || len(r.Samples) > 0 {
		t.Errorf("%+v, want two failures, and then no more", r)
	}
	if f.starts != 6 {
		t.Errorf("started on %d machines, want it on both three times: at first, and after each failure", f.starts)
	}
	f.dead, s.limit = false, steadyLimit
	if r = s.repeat(labtest.Within(t, patience), scenarioOf(t, bench.Switchover), 1); r.Failed != "" || len(r.Samples) != 1 {
		t.Errorf("once it comes to rest: %+v, want a sample", r)
	}
}

// What is compared, in the smallest form: hbagent and keepalived lose the owner, and move as planned.
func TestShort(t *testing.T) {
	for _, tool := range []rivals.Tool{rivals.Hbagent{}, rivals.Keepalived{}} {
		t.Run(tool.Name(), func(t *testing.T) {
			if _, err := exec.LookPath(tool.Name()); err != nil && tool.Name() != bench.HBAgent {
				labtest.Skip(t, tool.Name()+" (package "+tool.Name()+")")
			}
			setting := tool.Settings()[0] // the default: a busy machine moves nothing there
			s := build(t, tool, setting)
			lost, moved := once(t, s, bench.PowerOff), once(t, s, bench.Switchover)
			if lost.Moves != 1 || moved.Moves != 1 {
				t.Errorf("moves: power cut %d, planned %d; want one each", lost.Moves, moved.Moves)
			}
			// Nobody can know earlier than by a heartbeat that did not come.
			if lost.Outage < ms(setting.Heartbeat) || lost.None < ms(setting.Heartbeat)-5 {
				t.Errorf("power cut: %+v, want an outage of at least one heartbeat, %v", lost, setting.Heartbeat)
			}
			if tool.Name() == bench.HBAgent && lost.Two+moved.Two > 0 {
				t.Errorf("two machines answered: %+v, %+v", lost, moved)
			}
			t.Logf("power cut %.1f ms, planned move %.1f ms", lost.Outage, moved.Outage)
		})
	}
}

// The client sees every fault from outside: with nothing wrong there is none.
func TestEchoOfEveryMachine(t *testing.T) {
	f := &fake{}
	s := build(t, f, f.Settings()[0])
	ctx := labtest.Within(t, patience)
	for range 2 {
		owner, err := s.steady(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.echo.WaitAnswer(ctx, time.Now(), owner); err != nil {
			t.Error(err)
		}
		if err := s.w.CheckOnlyAt(lab.Floating4.Addr(), owner); err != nil {
			t.Error(err)
		}
		if err := f.Switchover(ctx, owner, otherThan(owner)); err != nil {
			t.Fatal(err)
		}
	}
}
