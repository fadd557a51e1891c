package bench

import (
	"fmt"
	"slices"
)

// summary is the short table of the README: the median, and the longest in brackets.
func (r Run) summary() string {
	t := table{head: []string{""}}
	var ran []Tool
	for _, tool := range r.Tools {
		if tool.Missing == "" {
			ran = append(ran, tool)
			t.head = append(t.head, text(tool.Name))
		}
	}
	marked := false
	// line adds a row of a scenario at a pace, where any tool played it.
	line := func(what, pace, scenario string, pick func(Sample) float64) {
		row, played := []string{what}, false
		for _, tool := range ran {
			cell := dash
			at := r.at(pace)
			if i := slices.IndexFunc(at, func(c chosen) bool { return c.Tool.Name == tool.Name }); i >= 0 {
				res, _ := r.result(at[i], scenario)
				s, err := Summarize(each(res.moved(), pick))
				if err == nil {
					cell, played = fmt.Sprintf("**%s** (%s)", span(s.Median), span(s.Max)), true
				}
				if res.Failed != "" || stayed(res) > 0 {
					cell, played, marked = cell+" †", true, true
				}
			}
			row = append(row, cell)
		}
		if played {
			t.row(row...)
		}
	}
	line("the owner loses its power, each tool at its default", Default, PowerOff, outage)
	line("... at the same heartbeat rate", Equal, PowerOff, outage)
	fastest := "... each at its fastest safe setting"
	if !r.watched() {
		fastest = "... each at its fastest setting (this run has not looked for false moves, at rest and busy)"
	}
	line(fastest, Fastest, PowerOff, outage)
	line("the owner is cut off, and comes back", Default, Partition, outage)
	line("... time during which two machines answered", Default, Partition, two)
	line("its web server is killed", Default, Service, outage)
	line("a planned move", Default, Switchover, outage)
	line("its daemon is restarted", Default, Restart, outage)
	line("its daemon is killed", Default, Kill, outage)
	line("... time during which two machines answered", Default, Kill, two)
	cost := func(what string, show func(Cost) string) {
		row, known := []string{what}, false
		for _, tool := range ran {
			cell := dash
			at := r.at(Default)
			if i := slices.IndexFunc(at, func(c chosen) bool { return c.Tool.Name == tool.Name }); i >= 0 {
				if costs := r.costs(at[i], few); len(costs) > 0 && costs[0].Owner {
					cell, known = show(costs[0]), true
				}
			}
			row = append(row, cell)
		}
		if known {
			t.row(row...)
		}
	}
	cost("the owner at rest: memory, CPU of a core", func(c Cost) string { return fmt.Sprintf("%.1f MB, %.2f %%", c.MemoryMB, c.CPUPercent) })
	cost("... traffic, in and out", func(c Cost) string { return fmt.Sprintf("%.1f kB/s", c.BytesPerS/1000) })
	note := ""
	if marked {
		note = "\n† Not every time: what failed, and what moved nothing, is told [there](docs/benchmarks/README.md).\n"
	}
	return "Measured side by side ([how, and everything else](docs/benchmarks/README.md)): how long a client had no answer, median (longest).\n\n" + t.String() + note + fmt.Sprintf("\n<sub>`make bench`, %s, %s.</sub>\n", r.Began.UTC().Format("2006-01-02"), text(r.Commit))
}
