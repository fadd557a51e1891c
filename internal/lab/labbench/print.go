package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/hbagent/hbagent/internal/bench"
)

// printTables prints what was found, for a terminal.
func printTables(out io.Writer, run bench.Run) {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer t.Flush()
	if len(run.Results) > 0 {
		fmt.Fprintln(t, "scenario\ttool\tsetting\truns\toutage ms: min\tmedian\tmax\ttwo ms, most\tnone ms, most\tunwanted moves")
	}
	for _, r := range run.Results {
		var outage []float64
		var two, none float64
		unwanted := 0
		for _, s := range r.Samples {
			outage = append(outage, s.Outage)
			two, none, unwanted = max(two, s.Two), max(none, s.None), unwanted+s.Unwanted
		}
		o, _ := bench.Summarize(outage) // zeros where there are none: Failed says why
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%d\t%s\n", r.Scenario, r.Tool, r.Setting, len(outage), o.Min, o.Median, o.Max, two, none, unwanted, r.Failed)
	}
	for _, q := range run.Quiet {
		fmt.Fprintf(t, "%s for %.0f s\t%s\t%s\t%d moves\tlongest outage %.1f ms\ttwo %.1f ms\n", q.Load, q.Seconds, q.Tool, q.Setting, q.Moves, q.Outage, q.Two)
	}
	for _, c := range run.Costs {
		fmt.Fprintf(t, "cost, %d groups\t%s\t%s\t%s\t%.1f MB\t%.2f %% of a core\t%.1f packets/s\t%.0f bytes/s\n", c.Groups, c.Tool, c.Setting, c.Node, c.MemoryMB, c.CPUPercent, c.PacketsPerS, c.BytesPerS)
	}
	for _, b := range run.Batches {
		spread, _ := bench.Summarize(b.Spread)
		outage, _ := bench.Summarize(b.Outage)
		fmt.Fprintf(t, "%d addresses\t%s\t%s\t%d\tspread: median %.1f ms\tmax %.1f ms\toutage: median %.1f ms\t%s\n", b.Addresses, b.Tool, b.Setting, len(b.Spread), spread.Median, spread.Max, outage.Median, b.Failed)
	}
}
