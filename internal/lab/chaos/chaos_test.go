package chaos

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hbagent/hbagent/internal/lab"
)

func options(seed uint64) PlanOptions {
	return PlanOptions{Seed: seed, Pace: time.Second, Short: 50 * time.Millisecond, Long: 10 * time.Second}
}

func TestPlanIsTheSameForTheSameSeed(t *testing.T) {
	draw := func(seed uint64) (steps []string) {
		p := NewPlan(options(seed))
		for range 100 {
			steps = append(steps, fmt.Sprint(p.Next()))
		}
		return steps
	}
	if diff := cmp.Diff(draw(7), draw(7)); diff != "" {
		t.Errorf("the same seed (-first +second):\n%s", diff)
	}
	if cmp.Equal(draw(7), draw(8)) {
		t.Error("two seeds, and the same faults")
	}
}

func TestPlanDrawsEverythingWithinBounds(t *testing.T) {
	o := options(1)
	p := NewPlan(o)
	kinds, roles, several := make(map[Kind]int), make(map[Role]int), 0
	for range 2000 {
		s := p.Next()
		if s.Pause < 0 || s.Pause > 3*o.Pace/2 {
			t.Errorf("pause %v", s.Pause)
		}
		several += len(s.Faults) - 1
		for _, f := range s.Faults {
			kinds[f.Kind]++
			roles[f.At]++
			if f.For > o.Long || f.Times == 0 && f.For > 0 && f.For < o.Short {
				t.Errorf("%v: want %v to %v", f, o.Short, o.Long)
			}
		}
		if after, _ := p.Ending(); after < 0 || after > 3*o.Pace {
			t.Errorf("ending %v after the last fault", after)
		}
	}
	for _, k := range Kinds {
		if kinds[k] < 30 {
			t.Errorf("%s: %d times among 2000 steps", k, kinds[k])
		}
	}
	if len(roles) != 3 || several < 200 {
		t.Errorf("roles %v, %d steps of two faults", roles, several)
	}
	o.Single, o.Kinds = true, []Kind{Hang}
	for p := NewPlan(o); several > 0; several-- {
		if s := p.Next(); len(s.Faults) != 1 || s.Faults[0].Kind != Hang {
			t.Errorf("one kind, one at a time: %v", s)
		}
	}
}

func TestParseKinds(t *testing.T) {
	got, err := ParseKinds("hang,power")
	if diff := cmp.Diff([]Kind{Hang, Power}, got); diff != "" || err != nil {
		t.Errorf("ParseKinds (-want +got):\n%s (%v)", diff, err)
	}
	if got, err := ParseKinds(""); got != nil || err != nil {
		t.Errorf("ParseKinds of nothing = %v, %v", got, err)
	}
	if _, err := ParseKinds("hang,up"); err == nil || !strings.Contains(err.Error(), `no fault "up"`) {
		t.Errorf("ParseKinds = %v, want no such fault", err)
	}
}

func at(ms int) time.Time { return time.UnixMilli(int64(ms)) }

func TestRuns(t *testing.T) {
	var got []string
	for _, m := range runs([]lab.Question{{Sent: at(0)}, {Sent: at(5), Nodes: []string{"a"}}, {Sent: at(10), Nodes: []string{"a"}},
		{Sent: at(15), Nodes: []string{"a", "b"}}}, "x") {
		got = append(got, clock(m.at)+" "+m.text)
	}
	want := []string{
		"00:00:00.000 answer   x: 1 questions until 00:00:00.000 answered by nobody",
		"00:00:00.005 answer   x: 2 questions until 00:00:00.010 answered by a",
		"00:00:00.015 answer   x: 1 questions until 00:00:00.015 answered by a and b",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
}

func TestEvents(t *testing.T) {
	s := &Site{}
	hang := s.add(Event{Fault: Fault{Kind: Hang, At: Owner}, Node: "n1", Began: at(100)})
	s.add(Event{Fault: Fault{Kind: Power, At: Owner}, Node: "n2", Began: at(200), Ended: at(250)})
	s.add(Event{Note: "refused", Began: at(300), Ended: at(300)})
	for _, tt := range []struct {
		ms   int
		want Kind
	}{{50, ""}, {150, Hang}, {220, Power}, {400, Power}} {
		if got := s.blame(at(tt.ms)); got != tt.want {
			t.Errorf("blame at %d ms = %q, want %q", tt.ms, got, tt.want)
		}
	}
	if got := s.Events(at(240), at(290)); len(got) != 2 { // the one that is under way, too
		t.Errorf("Events = %v, want two", got)
	}
	s.end(hang, nil)
	if got := s.Events(at(240), at(290)); len(got) != 2 || got[0].Ended.IsZero() {
		t.Errorf("Events = %v, want two that are over", got)
	}
	for range 2 * keepEvents {
		s.note("x")
	}
	if n := len(s.Events(time.Time{}, time.Now())); n > keepEvents+1 {
		t.Errorf("%d events are kept, at most %d", n, keepEvents)
	}
}

func TestMiddle(t *testing.T) {
	if got := middle([]time.Duration{3, 1, 2}); got != 2 {
		t.Errorf("middle = %d, want 2", got)
	}
	if got := middle(nil) + longest(nil); got != 0 {
		t.Errorf("of nothing: %d", got)
	}
}

func TestFaultString(t *testing.T) {
	for want, f := range map[string]Fault{
		"hang of owner 1.5s":        {Kind: Hang, At: Owner, For: 1500 * time.Millisecond},
		"restart-storm of owner 3x": {Kind: RestartStorm, At: Owner, Times: 3},
		"flap of standby 1 3x 1s":   {Kind: Flap, At: Standby, Pick: 1, Times: 3, For: time.Second},
	} {
		if got := f.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
