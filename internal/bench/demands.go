package bench

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// A Verdict says what became of a demand.
type Verdict string

// What can become of a demand.
const (
	Reached     Verdict = "yes"
	Missed      Verdict = "**no**"
	Undecided   Verdict = "no difference seen at this n"
	NotMeasured Verdict = "not measured"
)

// A Demand is something that hbagent is asked for, with what the run found of it.
type Demand struct {
	What, Asked string
	Measured    string // with n
	Verdict     Verdict
}

// What hbagent is asked for. Chosen by us, before anything was measured.
const (
	restFor     = 600 // s of rest that false moves are counted in
	busyFor     = 120 // s with every core busy
	wantedOwner = 5   // ms without an owner in a planned move, median
	wantedBatch = 150 // ms from the first announcement to the last
	batchSize   = 1000
	// wantedService is for a service that is asked every 200 ms and moves after two failures: interval x fall + 20 ms.
	wantedService = 2*200 + 20
)

// takeovers are the demands on the power-off of the owner: the client's outage in ms at a ttl. A max of 0: none asked.
var takeovers = []struct {
	ttl         time.Duration
	median, max float64
}{
	{time.Second, 1000, 1150},
	{300 * time.Millisecond, 300, 0},
	{100 * time.Millisecond, 105, 0},
	{50 * time.Millisecond, 60, 0},
}

// rivalsFast are the heartbeats of keepalived in ms whose false moves stand beside hbagent's.
var rivalsFast = []float64{10, 50, 100}

// Demands are all of them, in the order of the report.
func (r Run) Demands() (out []Demand) {
	for _, want := range takeovers {
		out = append(out, r.takeover(want.ttl, want.median, want.max))
	}
	out = append(out, r.sameRate(), r.perHeartbeat())
	for _, want := range takeovers {
		c, ok := r.withTTL(want.ttl)
		out = append(out, r.falseMoves("hbagent, ttl "+spell(want.ttl), c, ok))
	}
	for _, ms := range rivalsFast {
		c, ok := r.withHeartbeat(Keepalived, ms)
		out = append(out, r.falseMoves("keepalived, heartbeat "+num(ms)+" ms", c, ok))
	}
	return append(append(out, r.planned(), r.service(), r.batch()), r.atRest()...)
}

// spell is a ttl as the docs have it: "1 s", "300 ms".
func spell(d time.Duration) string {
	if d%time.Second == 0 {
		return fmt.Sprintf("%d s", d/time.Second)
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}

func judge(ok bool) Verdict {
	if ok {
		return Reached
	}
	return Missed
}

// failing is a demand that was tried and failed, at least once: what the other times gave does not reach it.
func (d Demand) failing(failed string) Demand {
	if failed == "" {
		return d
	}
	if d.Measured == dash {
		d.Measured = "it failed"
	} else {
		d.Measured += "; others failed"
	}
	d.Verdict = Missed
	return d
}

// found is a summary in one line.
func (s Summary) found() string {
	return fmt.Sprintf("median %s, max %s (n = %d)", span(s.Median), span(s.Max), s.N)
}

func (r Run) takeover(ttl time.Duration, median, most float64) Demand {
	d := Demand{What: "power-off at ttl " + spell(ttl) + ": the client's outage", Asked: "median ≤ " + num(median) + " ms", Measured: dash, Verdict: NotMeasured}
	if most > 0 {
		d.Asked += ", max ≤ " + num(most) + " ms"
	}
	if c, ok := r.withTTL(ttl); ok {
		if s, ok := r.outages(c, PowerOff); ok {
			d.Measured, d.Verdict = s.found(), judge(s.Median <= median && (most == 0 || s.Max <= most))
		}
		res, _ := r.result(c, PowerOff)
		d = d.failing(res.Failed)
	}
	return d
}

// falseMoves is about knowing them: how many is for the reader to judge.
func (r Run) falseMoves(what string, c chosen, ok bool) Demand {
	d := Demand{What: what + ": moves that nobody asked for", Asked: "known for 10 min at rest and 2 min busy", Measured: dash, Verdict: NotMeasured}
	rest, atRest := r.quiet(c, Rest)
	busy, isBusy := r.quiet(c, Busy)
	if !ok || !atRest && !isBusy {
		return d
	}
	var found []string
	if atRest {
		found = append(found, fmt.Sprintf("%d in %s at rest", rest.Moves, length(rest.Seconds)))
	}
	if isBusy {
		found = append(found, fmt.Sprintf("%d in %s busy", busy.Moves, length(busy.Seconds)))
	}
	d.Measured, d.Verdict = strings.Join(found, ", "), judge(math.Round(rest.Seconds) >= restFor && math.Round(busy.Seconds) >= busyFor)
	return d
}

func (r Run) planned() Demand {
	d := Demand{What: "planned move at ttl 1 s: time in which no machine answers for the address", Asked: fmt.Sprintf("median ≤ %d ms", wantedOwner), Measured: dash, Verdict: NotMeasured}
	if c, ok := r.withTTL(time.Second); ok {
		res, _ := r.result(c, Switchover)
		if s, err := Summarize(each(res.moved(), none)); err == nil {
			d.Measured, d.Verdict = s.found(), judge(s.Median <= wantedOwner)
		}
		if n := stayed(res); n > 0 {
			d.Measured, d.Verdict = strings.TrimPrefix(fmt.Sprintf("%s; %d of %d moved nothing", d.Measured, n, len(res.Samples)), dash+"; "), Missed
		}
		d = d.failing(res.Failed)
	}
	return d
}

func (r Run) service() Demand {
	d := Demand{What: "service failure at ttl 1 s (a check every 200 ms, two failures): the client's outage",
		Asked: fmt.Sprintf("≤ interval × fall + 20 ms = %d ms, each time", wantedService), Measured: dash, Verdict: NotMeasured}
	if c, ok := r.withTTL(time.Second); ok {
		if s, ok := r.outages(c, Service); ok {
			d.Measured, d.Verdict = s.found(), judge(s.Max <= wantedService)
		}
		res, _ := r.result(c, Service)
		d = d.failing(res.Failed)
	}
	return d
}

func (r Run) batch() Demand {
	d := Demand{What: "1000 addresses taken over: from the first announcement to the last", Asked: fmt.Sprintf("≤ %d ms, each time", wantedBatch), Measured: dash, Verdict: NotMeasured}
	worst, failed := -1.0, ""
	for _, b := range r.Batches {
		if b.Tool != HBAgent || b.Addresses != batchSize {
			continue
		}
		failed = cmp.Or(failed, b.Failed)
		if s, err := Summarize(b.Spread); err == nil && s.Max > worst {
			worst = s.Max
			d.Measured, d.Verdict = s.found(), judge(s.Max <= wantedBatch)
		}
	}
	return d.failing(failed)
}

// atRest are the demands on what an agent costs, on the node where it costs most.
func (r Run) atRest() []Demand {
	out := []Demand{
		{What: "at rest, 3 nodes, ttl 1 s, one group: resident memory", Asked: "≤ 20 MB a node"},
		{What: "... CPU", Asked: "≤ 0.3 % of a core a node"},
		{What: "... traffic, in and out", Asked: "≤ 4 kB/s a node"},
		{What: "... CPU with 100 groups", Asked: "≤ 3 % of a core a node"},
	}
	for i := range out {
		out[i].Measured, out[i].Verdict = dash, NotMeasured
	}
	c, ok := r.withTTL(time.Second)
	if !ok {
		return out
	}
	judgeMost := func(d *Demand, costs []Cost, limit float64, unit string, pick func(Cost) float64) {
		if len(costs) == 0 {
			return
		}
		dear := slices.MaxFunc(costs, func(a, b Cost) int { return cmp.Compare(pick(a), pick(b)) })
		d.Measured, d.Verdict = fmt.Sprintf("%.2f %s (%s, the most of %d)", pick(dear), unit, text(dear.Node), len(costs)), judge(pick(dear) <= limit)
	}
	one := r.costs(c, few)
	judgeMost(&out[0], one, 20, "MB", func(k Cost) float64 { return k.MemoryMB })
	judgeMost(&out[1], one, 0.3, "%", func(k Cost) float64 { return k.CPUPercent })
	judgeMost(&out[2], one, 4, "kB/s", func(k Cost) float64 { return k.BytesPerS / 1000 })
	judgeMost(&out[3], r.costs(c, many), 3, "%", func(k Cost) float64 { return k.CPUPercent })
	return out
}
