package bench

import (
	"math"
	"time"
)

// example is a run that never was: numbers by a formula, for the tests of what is made of them. It has everything that
// a real one can have: a tool that is missing, a scenario that failed, one that was not played, settings of one tool alone.
func example() Run {
	r := Run{
		Format: Format, Began: time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC), Seconds: 3000, Commit: "example",
		Machine: Machine{CPU: "No such CPU", Cores: 2, MemoryMB: 1024, Kernel: "0.0", System: "None", LoadBefore: .1, LoadAfter: 1.5},
		Tools: []Tool{
			{Name: HBAgent, Version: "0.0", Settings: []Setting{
				{Name: "ttl 1s", Pace: Default, Heartbeat: 300, Configs: map[string]string{"hbagent.toml": "[lease]\nttl = \"1s\"\n"}},
				{Name: "ttl 3s", Pace: Equal, Heartbeat: 1000},
				{Name: "ttl 300ms", Heartbeat: 90}, {Name: "ttl 100ms", Heartbeat: 30}, {Name: "ttl 50ms", Pace: Fastest, Heartbeat: 15}}},
			{Name: Keepalived, Version: "v0.0", Settings: []Setting{
				{Name: "advert_int 1", Pace: "default equal", Heartbeat: 1000, Configs: map[string]string{"keepalived.conf": "vrrp_instance web {\n}\n"}},
				{Name: "advert_int 0.1", Heartbeat: 100}, {Name: "advert_int 0.05", Pace: Fastest, Heartbeat: 50}, {Name: "advert_int 0.01", Heartbeat: 10}}},
			{Name: UCARP, Version: "0.0", Settings: []Setting{{Name: "advbase 1", Pace: "equal default fastest", Heartbeat: 1000}}},
			{Name: Pacemaker, Missing: "not installed (package pacemaker)"},
		},
	}
	factor := map[string]float64{HBAgent: 3.1, Keepalived: 3.5, UCARP: 4}
	for i, c := range r.all() {
		for j, scenario := range Scenarios {
			if c.Pace == "" && scenario != PowerOff {
				continue
			}
			res := Result{Tool: c.Tool.Name, Setting: c.Name, Scenario: scenario}
			if scenario == Service && c.Tool.Name == UCARP {
				res.Failed = "the tool cannot do that"
			}
			for k := range 5 {
				if res.Failed != "" {
					break
				}
				at := c.Heartbeat * factor[c.Tool.Name] * (1 + .06*math.Sin(float64(7*i+3*j+2*k)))
				if scenario == Switchover || scenario == Restart {
					at = 4 + float64(i) + math.Cos(float64(k+j))
				}
				at = math.Round(at*10) / 10
				s := Sample{Outage: at, None: at, Moves: 1}
				if scenario == Partition && c.Tool.Name != HBAgent {
					s.Two, s.Moves, s.Unwanted = 2000, 2, 1
				}
				res.Samples = append(res.Samples, s)
			}
			if scenario != Loss || c.Tool.Name == HBAgent {
				r.Results = append(r.Results, res)
			}
		}
		r.Quiet = append(r.Quiet, Quiet{Tool: c.Tool.Name, Setting: c.Name, Load: Rest, Seconds: 600},
			Quiet{Tool: c.Tool.Name, Setting: c.Name, Load: Busy, Seconds: 120, Moves: i % 3, Outage: float64(40 * (i % 3))})
		if c.Is(Default) {
			for j, node := range []string{"web1", "web2"} {
				r.Costs = append(r.Costs, Cost{Tool: c.Tool.Name, Setting: c.Name, Groups: 1, Node: node, Owner: j == 1, MemoryMB: 20.5 / float64(i+1),
					CPUPercent: .42 / float64(i+1), PacketsPerS: 20, BytesPerS: 3000 / float64(i+1), Seconds: 60})
			}
		}
	}
	for _, n := range []int{1, 10, 100, 1000} {
		r.Batches = append(r.Batches, Batch{Tool: HBAgent, Setting: "ttl 1s", Addresses: n, Spread: []float64{float64(n) / 10, float64(n) / 8}, Outage: []float64{950, 970}})
	}
	r.Batches = append(r.Batches, Batch{Tool: UCARP, Setting: "advbase 1", Addresses: 10, Failed: "one address a process"})
	return r
}
