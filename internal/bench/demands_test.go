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
		r := Run{Tools: []Tool{{Name: HBAgent, Settings: []Setting{{Name: "ttl 1s", Pace: Equal}, {Name: "ttl 300ms"}, {Name: "ttl 100ms"}, {Name: "ttl 50ms"}}},
			{Name: Keepalived, Settings: []Setting{{Name: "advert_int 1", Pace: Equal}}}}}
		for _, s := range r.Tools[0].Settings {
			res := Result{Tool: HBAgent, Setting: s.Name, Scenario: scenario}
			for _, v := range values {
				var sample Sample
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
		{"power-off at the same heartbeat rate", with(PowerOff, outages, 900), Reached, "hbagent median 900 ms, max 900 ms (n = 1); keepalived median 900 ms, max 900 ms (n = 1)"},
		{"power-off at the same heartbeat rate", with(PowerOff, outages, 901), Missed, ""},
		{"power-off at the same heartbeat rate", with(PowerOff, outages), NotMeasured, dash},
		{"hbagent, ttl 50 ms", quiet(600, 120), Reached, "0 in 10 min at rest, 7 in 2 min busy"},
		{"hbagent, ttl 50 ms", quiet(599, 120), Missed, ""},
		{"hbagent, ttl 50 ms", quiet(600, 60), Missed, ""},
		{"hbagent, ttl 100 ms", quiet(600, 120), NotMeasured, dash},
		{"keepalived, heartbeat 10 ms", quiet(600, 120), NotMeasured, dash},
		{"planned move", with(Switchover, nones, 1, 5, 99), Reached, "median 5.0 ms, max 99 ms (n = 3)"},
		{"planned move", with(Switchover, nones, 5.1), Missed, ""},
		{"planned move", with(PowerOff, nones, 1), NotMeasured, ""},
		{"service failure", with(Service, outages, 1, 420), Reached, ""},
		{"service failure", with(Service, outages, 1, 421), Missed, ""},
		{"1000 addresses", batch(1, 150), Reached, ""},
		{"1000 addresses", batch(1, 151), Missed, ""},
		{"1000 addresses", batch(), NotMeasured, ""},
		{"at rest", costs(Cost{Node: "web1", MemoryMB: 20}), Reached, "20.00 MB (web1, the most of 3)"},
		{"at rest", costs(Cost{Groups: 1, Node: "web1", MemoryMB: 20.1}), Missed, ""},
		{"at rest", costs(Cost{Groups: 2}), NotMeasured, ""},
		{"... CPU", costs(Cost{CPUPercent: .3}), Reached, ""},
		{"... CPU", costs(Cost{CPUPercent: .31}), Missed, ""},
		{"... traffic", costs(Cost{BytesPerS: 4000}), Reached, ""},
		{"... traffic", costs(Cost{BytesPerS: 4001}), Missed, ""},
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
