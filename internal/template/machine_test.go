package template

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A play is a script for a Machine: each line is what happens, and what it says then. "later" is relative to the
// beginning.
type play struct {
	m     Machine
	start time.Time
	now   time.Time
	out   []string
}

func newPlay() *play {
	start := time.Unix(1000, 0)
	return &play{m: Machine{Interval: time.Second}, start: start, now: start}
}

func (p *play) at(d time.Duration) { p.now = p.start.Add(d) }

// say notes what the machine wants now.
func (p *play) say() {
	action, again := p.m.Next(p.now)
	state, why := p.m.State()
	next := ""
	if !again.IsZero() {
		next = fmt.Sprintf(", again at %v", again.Sub(p.start))
	}
	if why != "" {
		why = " (" + why + ")"
	}
	p.out = append(p.out, fmt.Sprintf("%v: %s%s, %v%s", p.now.Sub(p.start), [...]string{"idle", "place " + p.m.Content(), "reload"}[action], next, state, why))
}

func (p *play) want(o Outcome, present string) {
	p.m.Want(o, present, present != "")
	p.say()
}

func (p *play) is(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, p.out); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

var errRefused = errors.New("refused")

func TestMachineFollows(t *testing.T) {
	p := newPlay()
	p.say()
	p.want(Outcome{Wait: "starting", Content: "a"}, "a")
	p.want(Outcome{Content: "a"}, "a") // as it was: nothing to do, after a restart neither
	p.want(Outcome{Content: "b"}, "a")
	p.m.Placed(p.now, true, nil)
	p.say()
	p.m.Reloaded(p.now, nil)
	p.say()
	p.want(Outcome{Content: "c"}, "b")
	p.m.Placed(p.now, false, nil) // a service that is told nothing
	p.say()
	p.is(t,
		"0s: idle, pending",
		"0s: idle, pending (starting)",
		"0s: idle, current",
		"0s: place b, pending (a change is on its way)",
		"0s: reload, pending (the service is about to be told)",
		"0s: idle, current",
		"0s: place c, pending (a change is on its way)",
		"0s: idle, current")
}

func TestMachineCoalesces(t *testing.T) {
	p := newPlay()
	present := "0"
	place := func(d time.Duration, content string) {
		p.at(d)
		p.want(Outcome{Content: content}, present)
		if action, _ := p.m.Next(p.now); action == Place {
			p.m.Placed(p.now, false, nil)
			present = content
		}
	}
	for i, ms := range []int{0, 100, 200, 300, 400, 2999, 3000, 3050, 3100} {
		place(time.Duration(ms)*time.Millisecond, fmt.Sprint(i+1))
	}
	place(3150*time.Millisecond, present) // out and in again, before anything was done: nothing to do
	p.is(t,
		"0s: place 1, pending (a change is on its way)",
		"100ms: place 2, pending (a change is on its way)",
		"200ms: place 3, pending (a change is on its way)",
		"300ms: idle, again at 3s, pending (a change is on its way)",
		"400ms: idle, again at 3s, pending (a change is on its way)",
		"2.999s: idle, again at 3s, pending (a change is on its way)",
		"3s: place 7, pending (a change is on its way)",
		"3.05s: idle, again at 3.1s, pending (a change is on its way)",
		"3.1s: place 9, pending (a change is on its way)",
		"3.15s: idle, current")
}

func TestMachineHolds(t *testing.T) {
	p := newPlay()
	p.want(Outcome{Held: "nobody", Content: "empty"}, "a")
	p.want(Outcome{Err: errors.New("no check x")}, "a")
	p.want(Outcome{Content: "a"}, "a")
	p.m.Want(Outcome{Held: "nobody"}, "", false) // no file yet: none is made
	p.say()
	p.is(t, "0s: idle, held (nobody)", "0s: idle, failing (no check x)", "0s: idle, current", "0s: idle, held (nobody)")
}

func TestMachineRefused(t *testing.T) {
	p := newPlay()
	p.want(Outcome{Content: "bad"}, "a")
	for range 8 { // each try takes no time
		p.m.Placed(p.now, true, errRefused)
		_, again := p.m.Next(p.now)
		p.say()
		p.now = again
	}
	p.want(Outcome{Content: "bad"}, "a") // the same content after a look at the file: no other chance
	p.m.Placed(p.now, true, errRefused)
	p.want(Outcome{Content: "good"}, "a")
	p.m.Placed(p.now, true, nil)
	p.m.Reloaded(p.now, nil)
	p.want(Outcome{Content: "bad"}, "good")
	p.is(t,
		"0s: place bad, pending (a change is on its way)",
		"0s: idle, again at 1s, failing (refused)",
		"1s: idle, again at 3s, failing (refused)",
		"3s: idle, again at 7s, failing (refused)",
		"7s: idle, again at 15s, failing (refused)",
		"15s: idle, again at 31s, failing (refused)",
		"31s: idle, again at 1m3s, failing (refused)",
		"1m3s: idle, again at 2m3s, failing (refused)",
		"2m3s: idle, again at 3m3s, failing (refused)",
		"3m3s: place bad, failing (refused)",
		"3m3s: place good, pending (a change is on its way)",
		"3m3s: place bad, pending (a change is on its way)")
}

// A content that is no longer wanted is not what fails.
func TestMachineRefusedAndGone(t *testing.T) {
	p := newPlay()
	p.want(Outcome{Content: "bad"}, "a")
	p.m.Placed(p.now, true, errRefused)
	p.want(Outcome{Content: "a"}, "a")
	p.want(Outcome{Held: "nobody", Content: "bad"}, "a")
	p.is(t, "0s: place bad, pending (a change is on its way)", "0s: idle, current", "0s: idle, held (nobody)")
}

func TestMachineReloadFails(t *testing.T) {
	p := newPlay()
	p.m.Owe() // from an earlier run
	p.say()
	p.m.Reloaded(p.now, errRefused)
	p.want(Outcome{Content: "a"}, "a")
	p.want(Outcome{Held: "nobody"}, "a")
	p.at(500 * time.Millisecond)
	p.want(Outcome{Content: "b"}, "a") // a change goes first, and with it the reload has another chance
	p.m.Placed(p.now, true, nil)
	p.say()
	p.m.Reloaded(p.now, errRefused)
	p.say()
	p.at(1500 * time.Millisecond)
	p.say()
	p.m.Reloaded(p.now, nil)
	p.say()
	fails := "failing (the file is written, but the reload fails: refused)"
	p.is(t,
		"0s: reload, pending",
		"0s: idle, again at 1s, "+fails,
		"0s: idle, again at 1s, "+fails,
		"500ms: place b, "+fails,
		"500ms: reload, pending (the service is about to be told)",
		"500ms: idle, again at 1.5s, "+fails,
		"1.5s: reload, "+fails,
		"1.5s: idle, current")
}

func TestStates(t *testing.T) {
	for s, want := range map[State]string{Pending: "pending", Current: "current", Held: "held", Faulty: "failing"} {
		if s.String() != want {
			t.Errorf("%d is %q, want %q", int(s), s, want)
		}
	}
	defer func() {
		if p := fmt.Sprint(recover()); !strings.Contains(p, "does not exist") {
			t.Errorf("an impossible state: %s", p)
		}
	}()
	_ = State(9).String()
}
