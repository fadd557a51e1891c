package bench

import (
	"strings"
	"testing"
)

// reached finds a demand by how its text begins.
func reached(t *testing.T, r Run, what string) Demand {
	t.Helper()
	for _, d := range r.Demands() {
		if strings.HasPrefix(d.What, what) {
			return d
		}
	}
	t.Fatalf("no demand %q", what)
	return Demand{}
}

// Each demand has its limit: what is on it is reached, what is beyond it is missed, and what was not measured is neither.
func TestDemands(t *testing.T) {
	with := func(scenario string, pick func(*Sample) *float64, values ...float64) Run {
		r := Run{Tools: []Tool{{Name: HBAgent, Settings: []Setting{{Name: "ttl 1s", Pace: Equal, Heartbeat: 100}, {Name: "ttl 300ms"}, {Name: "ttl 100ms"}, {Name: "ttl 50ms"}}},
			{Name: Keepalived, Settings: []Setting{{Name: "advert_int 1", Pace: Equal, Heartbeat: 100}}}}}
		for _, s := range r.Tools[0].Settings {
			res := Result{Tool: HBAgent, Setting: s.Name, Scenario: scenario}
			for _, v := range values {
				sample := Sample{Moves: 1}
				*pick(&sample) = v
				res.Samples = append(res.Samples, sample)
			}
			r.Results = append(r.Results, res)
		}
		r.Results = append(r.Results, Result{Tool: Keepalived, Setting: "advert_int 1", Scenario: scenario, Samples: []Sample{{Outage: 900}}})
		return r
	}
	outages := func(s *Sample) *float64 { return &s.Outage }
	nones := func(s *Sample) *float64 { return &s.None }
	costs := func(c Cost) Run {
		r := with(PowerOff, outages)
		c.Tool, c.Setting = HBAgent, "ttl 1s"
		cheap := Cost{Tool: HBAgent, Setting: "ttl 1s", Groups: c.Groups, Node: "cheap"}
		r.Costs = []Cost{cheap, c, cheap}
		return r
	}
	quiet := func(rest, busy float64) Run {
		r := with(PowerOff, outages)
		r.Quiet = []Quiet{{Tool: HBAgent, Setting: "ttl 50ms", Load: Rest, Seconds: rest}, {Tool: HBAgent, Setting: "ttl 50ms", Load: Busy, Seconds: busy, Moves: 7}}
		return r
	}
	batch := func(spread ...float64) Run {
		r := with(PowerOff, outages)
		r.Batches = []Batch{{Tool: HBAgent, Setting: "ttl 1s", Addresses: 1000, Spread: spread}, {Tool: HBAgent, Setting: "ttl 1s", Addresses: 100, Spread: []float64{1e6}}}
		return r
	}
	stays := func(r Run) Run { // the first time
		for _, res := range r.Results {
			res.Samples[0].Moves = 0
		}
		return r
	}
	fails := func(r Run) Run {
		for i := range r.Results {
			r.Results[i].Failed = "not at rest"
		}
		for i, b := range r.Batches {
			if b.Addresses == 1000 {
				r.Batches[i].Failed = "not all were announced"
			}
		}
		return r
	}
	for _, tt := range []struct {
		what     string
		run      Run
		want     Verdict
		measured string
	}{
		{"power-off at ttl 1 s", with(PowerOff, outages, 900, 1000, 1150), Reached, "median 1000 ms, max 1150 ms (n = 3)"},
		{"power-off at ttl 1 s", with(PowerOff, outages, 900, 1000.5, 1150), Missed, ""},
		{"power-off at ttl 1 s", with(PowerOff, outages, 900, 950, 1151), Missed, ""},
		{"power-off at ttl 1 s", with(Kill, outages, 900), NotMeasured, dash},
		{"power-off at ttl 300 ms", with(PowerOff, outages, 300, 300, 999), Reached, ""},
		{"power-off at ttl 300 ms", with(PowerOff, outages, 301), Missed, ""},
		{"power-off at ttl 100 ms", with(PowerOff, outages, 105), Reached, ""},
		{"power-off at ttl 100 ms", with(PowerOff, outages, 106), Missed, ""},
		{"power-off at ttl 50 ms", with(PowerOff, outages, 60), Reached, ""},
		{"power-off at ttl 50 ms", with(PowerOff, outages, 61), Missed, ""},
		// One value each says no more than that: the median of one has a standard deviation of 29 % of a heartbeat.
		{"power-off at the same heartbeat rate", with(PowerOff, outages, 900), Undecided, "hbagent 900 / **900** / 900; keepalived 900 / **900** / 900, in ms (n = 1, 1)"},
		{"power-off at the same heartbeat rate", with(PowerOff, outages, 981), Undecided, ""},
		{"power-off at the same heartbeat rate", with(PowerOff, outages, 982), Missed, ""},
		{"power-off at the same heartbeat rate", with(PowerOff, outages, 819), Undecided, ""},
		{"power-off at the same heartbeat rate", with(PowerOff, outages, 818), Reached, ""},
		{"power-off at any setting", with(PowerOff, outages, 1000, 1100, 1200), Missed, "hbagent 10 / **11** / 12; keepalived 9.0 / **9.0** / 9.0, in heartbeats (n = 3, 1)"},
		{"power-off at any setting", with(PowerOff, outages, 960), Undecided, ""},
		{"power-off at any setting", with(PowerOff, outages, 800), Reached, ""},
		{"power-off at any setting", with(Kill, outages, 800), NotMeasured, dash},
		{"power-off at the same heartbeat rate", with(PowerOff, outages), NotMeasured, dash},
		{"hbagent, ttl 50 ms", quiet(600, 120), Reached, "0 in 10 min at rest, 7 in 2 min busy"},
		{"hbagent, ttl 50 ms", quiet(599, 120), Missed, ""},
		{"hbagent, ttl 50 ms", quiet(600, 60), Missed, ""},
		{"hbagent, ttl 100 ms", quiet(600, 120), NotMeasured, dash},
		{"keepalived, heartbeat 10 ms", quiet(600, 120), NotMeasured, dash},
		{"planned move", with(Switchover, nones, 1, 5, 99), Reached, "median 5.0 ms, max 99 ms (n = 3)"},
		{"planned move", with(Switchover, nones, 5.1), Missed, ""},
		{"planned move", with(PowerOff, nones, 1), NotMeasured, dash},
		{"planned move", stays(with(Switchover, nones, 2, 3, 4)), Missed, "median 3.5 ms, max 4.0 ms (n = 2); 1 of 3 moved nothing"},
		{"planned move", stays(with(Switchover, nones, 2)), Missed, "1 of 1 moved nothing"},
		{"planned move", fails(with(Switchover, nones, 2)), Missed, "median 2.0 ms, max 2.0 ms (n = 1); others failed"},
		{"power-off at ttl 1 s", fails(with(PowerOff, outages, 900)), Missed, "median 900 ms, max 900 ms (n = 1); others failed"},
		{"power-off at ttl 50 ms", fails(with(PowerOff, outages)), Missed, "it failed"},
		{"service failure", fails(with(Service, outages, 1)), Missed, ""},
		{"1000 addresses", fails(batch(1)), Missed, ""},
		{"1000 addresses", fails(batch()), Missed, "it failed"},
		{"service failure", with(Service, outages, 1, 420), Reached, ""},
		{"service failure", with(Service, outages, 1, 421), Missed, ""},
		{"1000 addresses", batch(1, 150), Reached, ""},
		{"1000 addresses", batch(1, 151), Missed, ""},
		{"1000 addresses", batch(), NotMeasured, ""},
		{"at rest", costs(Cost{Groups: 1, Node: "web1", MemoryMB: 20}), Reached, "20.00 MB (web1, the most of 3)"},
		{"at rest", costs(Cost{Groups: 1, Node: "web1", MemoryMB: 20.1}), Missed, ""},
		{"at rest", costs(Cost{Groups: 2}), NotMeasured, ""},
		{"... CPU", costs(Cost{Groups: 1, CPUPercent: .3}), Reached, ""},
		{"... CPU", costs(Cost{Groups: 1, CPUPercent: .31}), Missed, ""},
		{"... traffic", costs(Cost{Groups: 1, BytesPerS: 4000}), Reached, ""},
		{"... traffic", costs(Cost{Groups: 1, BytesPerS: 4001}), Missed, ""},
		{"... CPU with 100 groups", costs(Cost{Groups: 100, CPUPercent: 3}), Reached, ""},
		{"... CPU with 100 groups", costs(Cost{Groups: 100, CPUPercent: 3.1}), Missed, ""},
		{"... CPU with 100 groups", costs(Cost{Groups: 1, CPUPercent: 1}), NotMeasured, ""},
	} {
		d := reached(t, tt.run, tt.what)
		if d.Verdict != tt.want || tt.measured != "" && d.Measured != tt.measured {
			t.Errorf("%s: %s, %q; want %s, %q", d.What, d.Verdict, d.Measured, tt.want, tt.measured)
		}
	}
}

// A time that moved nothing, and one that failed, is marked in the README.
func TestSummaryMarks(t *testing.T) {
	run := func(failed string, moves ...int) string {
		r := Run{Tools: []Tool{{Name: HBAgent, Settings: []Setting{{Name: "ttl 1s", Pace: Default}}}}}
		res := Result{Tool: HBAgent, Setting: "ttl 1s", Scenario: Switchover, Failed: failed}
		for _, n := range moves {
			res.Samples = append(res.Samples, Sample{Moves: n, Outage: 7 * float64(n)})
		}
		r.Results = []Result{res}
		return r.summary()
	}
	for _, tt := range []struct{ got, want string }{
		{run("", 1, 1), "| **7.0 ms** (7.0 ms) |"},
		{run("", 1, 0, 0), "| **7.0 ms** (7.0 ms) † |"},
		{run("", 0), "| " + dash + " † |"},
		{run("cannot"), "| " + dash + " † |"},
		{run("not at rest", 1), "| **7.0 ms** (7.0 ms) † |"},
	} {
		if !strings.Contains(tt.got, "| a planned move "+tt.want) || strings.Contains(tt.want, "†") != strings.Contains(tt.got, "\n† Not") {
			t.Errorf("want %q in:\n%s", tt.want, tt.got)
		}
	}
}
