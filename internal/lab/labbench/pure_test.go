package main

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hbagent/hbagent/internal/bench"
	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/rivals"
)

// asked are questions a millisecond apart: "1" answered by web1, "2" by web2, "b" by both, "." by nobody.
func asked(answers string) (qs []lab.Question) {
	at := time.Unix(1000, 0)
	who := map[rune][]string{'1': {"web1"}, '2': {"web2"}, 'b': {"web1", "web2"}, '.': nil}
	for _, a := range answers {
		qs = append(qs, lab.Question{Sent: at, Nodes: who[a]})
		at = at.Add(time.Millisecond)
	}
	return qs
}

func TestQuestions(t *testing.T) {
	for _, tt := range []struct {
		answers   string
		moves     int
		two, none time.Duration
	}{
		{"", 0, 0, 0},
		{"1111", 0, 0, 0},
		{"11..22", 1, 0, 2},
		{"1b22", 1, 1, 0},
		{"1bb1b2", 1, 3, 0},
		{"1.1...2", 1, 0, 3},
		{"1212", 3, 0, 0},
		{"1....", 0, 0, 3}, // nobody until the last question
		{"22", 1, 0, 0},    // web1 had it before
	} {
		qs := asked(tt.answers)
		if got := changes("web1", answerers(qs)); got != tt.moves {
			t.Errorf("%q: %d moves, want %d", tt.answers, got, tt.moves)
		}
		if got := twoTime(qs); got != tt.two*time.Millisecond {
			t.Errorf("%q: two answered for %v, want %d ms", tt.answers, got, tt.two)
		}
		if got := noneTime(qs); got != tt.none*time.Millisecond {
			t.Errorf("%q: nobody answered for %v, want %d ms", tt.answers, got, tt.none)
		}
	}
}

func TestAnnounced(t *testing.T) {
	at := func(ms int, node, addr string, c lab.Claim) lab.Announcement {
		return lab.Announcement{At: time.Unix(0, 0).Add(time.Duration(ms) * time.Millisecond), Node: node, Addr: netip.MustParseAddr(addr), Claim: c}
	}
	first, last, n := announced([]lab.Announcement{
		at(1, "web1", "10.77.0.50", lab.GratuitousReply), // the old owner
		at(2, "web2", "10.77.0.50", lab.ARPReply),        // somebody asked
		at(3, "web2", "10.77.0.50", lab.GratuitousRequest),
		at(5, "web2", "10.78.0.1", lab.GratuitousReply),
		at(9, "web2", "10.77.0.50", lab.GratuitousRequest), // once more
	}, "web2")
	if n != 2 || last.Sub(first) != 2*time.Millisecond {
		t.Errorf("%d addresses within %v, want 2 within 2ms", n, last.Sub(first))
	}
}

func TestBatchAddressesDiffer(t *testing.T) {
	addrs := batchAddresses(1000)
	slices.SortFunc(addrs, netip.Prefix.Compare)
	if n := len(slices.Compact(addrs)); n != 1000 {
		t.Errorf("%d different addresses, want 1000", n)
	}
}

// Every scenario that the report knows is there, once.
func TestScenariosAreThoseOfTheReport(t *testing.T) {
	var names []string
	for _, sc := range scenarios {
		names = append(names, sc.name)
	}
	if diff := cmp.Diff(bench.Scenarios, names); diff != "" {
		t.Errorf("scenarios (-report +ours):\n%s", diff)
	}
}

// A run of the plan, with the programs that are here, leaves a valid file: every job that ends without a word included.
func TestPlanMakesAValidRun(t *testing.T) {
	p := &plan{hbagent: "/bin/true", runs: 2, rest: time.Minute, busy: time.Minute, cost: time.Minute}
	run := bench.Run{Format: bench.Format, Began: time.Unix(1, 0), Commit: "x"}
	m := &merge{run: &run}
	kinds := map[string]int{}
	p.find(t.Context(), &run)
	for _, ph := range slices.Concat(p.quiet(), p.work()) {
		for _, j := range ph.jobs {
			kinds[j.Kind+j.Load]++
			if _, _, err := j.tool(); err != nil {
				t.Error(err)
			}
			m.add(j, j.failed(errJob))
		}
	}
	if err := run.Validate(); err != nil {
		t.Error(err)
	}
	for _, kind := range []string{kindPlay, kindBatch, kindCost, kindQuiet + bench.Rest, kindQuiet + bench.Busy} {
		if kinds[kind] == 0 {
			t.Errorf("no job of kind %s in %v", kind, kinds)
		}
	}
}

func TestPlanIsNarrowed(t *testing.T) {
	p := &plan{hbagent: "/bin/true", runs: 2, tools: []string{"hbagent"}, settings: []string{"ttl 1s"}, only: []string{bench.Kill, bench.Busy}}
	var run bench.Run
	var got []string
	p.find(t.Context(), &run)
	for _, ph := range slices.Concat(p.quiet(), p.work()) {
		for _, j := range ph.jobs {
			got = append(got, j.Tool+" "+j.Setting+" "+j.Kind+j.Load)
			if j.Kind == kindPlay && !slices.Equal(j.Scenarios, []string{bench.Kill}) {
				t.Errorf("scenarios %v, want kill alone", j.Scenarios)
			}
		}
	}
	if diff := cmp.Diff([]string{"hbagent ttl 1s quietbusy", "hbagent ttl 1s play"}, got); diff != "" {
		t.Errorf("jobs (-want +got):\n%s", diff)
	}
}

// The default comes first, each pace has one setting at most, and what is equal is equal.
func TestSettings(t *testing.T) {
	for _, tool := range rivals.All() {
		if !paced(tool.Settings()[0], rivals.Default) {
			t.Errorf("%s: the first setting is %+v, want its default", tool.Name(), tool.Settings()[0])
		}
		seen := map[string]int{}
		for _, s := range tool.Settings() {
			for _, pace := range []string{rivals.Default, rivals.Equal, rivals.Fastest} {
				if !paced(s, pace) {
					continue
				}
				if seen[pace]++; seen[pace] > 1 {
					t.Errorf("%s has a second setting %s", tool.Name(), pace)
				}
				if off := (s.Heartbeat - time.Second).Abs(); pace == rivals.Equal && off > 10*time.Millisecond {
					t.Errorf("%s, %s: a heartbeat every %v, want 1s", tool.Name(), s.Name, s.Heartbeat)
				}
			}
		}
	}
}

// A name that there is not is refused, with those that there are.
func TestArguments(t *testing.T) {
	for want, p := range map[string]plan{
		`-tools: there is no "heartbeat"; there are: hbagent, keepalived`: {runs: 1, tools: []string{"heartbeat"}},
		`-settings: there is no "ttl 9s"; there are: ttl 1s`:              {runs: 1, settings: []string{"ttl 1s", "ttl 9s"}},
		`-only: there is no "poweroff"; there are: power-off`:             {runs: 1, only: []string{"poweroff"}},
		`-settings: there is no "token 1000"; there are: advbase 1`:       {runs: 1, tools: []string{"ucarp"}, settings: []string{"token 1000"}},
		"-runs 0: at least 1":          {},
		"-cost -1s: more than nothing": {runs: 1, rest: time.Minute, busy: time.Minute, cost: -time.Second},
		"-timer-slack -1s: not less":   {runs: 1, rest: time.Minute, busy: time.Minute, cost: time.Second, slack: -time.Second},
	} {
		if err := p.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", p, err, want)
		}
	}
	if err := (&plan{runs: 1, rest: time.Minute, busy: time.Minute, cost: time.Minute, tools: []string{"ucarp", "pacemaker"}, only: []string{"cost", "loss", "busy"}, settings: []string{"token 1000"}}).check(); err != nil {
		t.Error(err)
	}
}

// A run that left something out, or watched for a shorter time, is not one for the docs.
func TestWhole(t *testing.T) {
	for want, plans := range map[bool][]plan{
		true:  {{rest: wholeRest, busy: wholeBusy}},
		false: {{rest: wholeRest}, {busy: wholeBusy}, {rest: wholeRest, busy: wholeBusy, only: []string{bench.Kill}}, {rest: wholeRest, busy: wholeBusy, tools: []string{bench.UCARP}}},
	} {
		for _, p := range plans {
			if p.whole() != want {
				t.Errorf("%+v: whole %v, want %v", p, !want, want)
			}
		}
	}
}

// The fastest setting is the one that moved nothing, and not the one that was hoped for.
func TestChooseTheFastestSafe(t *testing.T) {
	quiet := func(moves ...int) (qs []bench.Quiet) {
		for i, n := range moves { // of ttl 1s, 300ms, 100ms, 50ms
			name := []string{"ttl 1s", "ttl 300ms", "ttl 100ms", "ttl 50ms"}[i]
			qs = append(qs, bench.Quiet{Tool: bench.HBAgent, Setting: name, Load: bench.Rest}, bench.Quiet{Tool: bench.HBAgent, Setting: name, Load: bench.Busy, Moves: n})
		}
		return qs
	}
	for _, tt := range []struct {
		moves []int
		want  string
	}{
		{[]int{0, 0, 0, 0}, "ttl 50ms"},
		{[]int{0, 0, 0, 1}, "ttl 100ms"},
		{[]int{0, 1, 0, 1}, "ttl 100ms"},
		{[]int{1, 1, 1, 1}, "ttl 1s"}, // none is: its default
		{[]int{0, 0}, "ttl 300ms"},    // what could not be watched is not called safe
		{nil, "ttl 50ms"},             // nothing was watched: what the adapter says
	} {
		p := &plan{hbagent: "/bin/true", tools: []string{bench.HBAgent}}
		run := bench.Run{Format: bench.Format, Began: time.Unix(1, 0), Commit: "x"}
		p.find(t.Context(), &run)
		p.choose(quiet(tt.moves...))
		p.tell(&run)
		var got []string
		for _, s := range run.Tools[0].Settings {
			if s.Is(bench.Fastest) {
				got = append(got, s.Name)
			}
		}
		if !slices.Equal(got, []string{tt.want}) {
			t.Errorf("moves %v: fastest %v, want %s", tt.moves, got, tt.want)
		}
		if err := run.Validate(); err != nil {
			t.Error(err)
		}
	}
}
