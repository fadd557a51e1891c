package chaos

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"
)

// Report prints what a run has seen: a line for each kind of fault, sums, and each violation with what happened
// around it.
func (r *Run) Report(w io.Writer) {
	j := r.Judge
	j.Advance(time.Now().Add(-JudgeLag))
	j.mu.Lock()
	defer j.mu.Unlock()
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "fault\tmade\tskipped\tgaps\tmedian, ms\tlongest, ms\tmoves\tviolations\t\n")
	var sum Tally
	for _, k := range append(slices.Clone(Kinds), "") {
		s := j.kinds[k]
		if s == nil {
			continue
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n", cmp.Or(string(k), "before any"), s.Faults, s.Skipped, len(s.Gaps),
			middle(s.Gaps).Milliseconds(), longest(s.Gaps).Milliseconds(), s.Moves, s.Overlaps)
		sum.Faults, sum.Skipped, sum.Moves, sum.Overlaps = sum.Faults+s.Faults, sum.Skipped+s.Skipped, sum.Moves+s.Moves, sum.Overlaps+s.Overlaps
		sum.Gaps = append(sum.Gaps, s.Gaps...)
	}
	fmt.Fprintf(t, "all\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n", sum.Faults, sum.Skipped, len(sum.Gaps),
		middle(sum.Gaps).Milliseconds(), longest(sum.Gaps).Milliseconds(), sum.Moves, sum.Overlaps)
	t.Flush()
	fmt.Fprintln(w, "A gap, a move or a violation is counted for the fault that began or ended last before it.")
	r.reportAlone(w)
	fmt.Fprintf(w, "%d questions on the wire; client: %d requests, %d failed; recoveries: %d, median %d ms, longest %d ms (bound %v)\n",
		j.asked, j.http.Asked, j.http.Failed, len(r.recoveries), middle(r.recoveries).Milliseconds(), longest(r.recoveries).Milliseconds(), r.Bound)
	if !j.gate {
		fmt.Fprintln(w, "No open gate was ever seen in any kernel: these agents have none.")
	}
	for _, v := range j.found {
		fmt.Fprintf(w, "\nVIOLATION at %v", v)
	}
	if more := j.broken - len(j.found); more > 0 {
		fmt.Fprintf(w, "\n... and %d more violations\n", more)
	}
}

// reportAlone prints how long nobody answered, where each fault was alone.
func (r *Run) reportAlone(w io.Writer) {
	if len(r.alone) == 0 {
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "without an answer, ms\tmade\tmin\tmedian\tmax\t\n")
	for _, key := range slices.Sorted(maps.Keys(r.alone)) {
		gaps := r.alone[key]
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t\n", key, len(gaps), slices.Min(gaps).Milliseconds(), middle(gaps).Milliseconds(), longest(gaps).Milliseconds())
	}
	t.Flush()
}

func longest(ds []time.Duration) time.Duration {
	var l time.Duration
	for _, d := range ds {
		l = max(l, d)
	}
	return l
}

func middle(ds []time.Duration) time.Duration {
	if len(ds) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(ds))[len(ds)/2]
}
