package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hbagent/hbagent/internal/bench"
	"github.com/hbagent/hbagent/internal/lab/rivals"
)

// What -only names beside the scenarios.
const (
	onlyBatch = "batch"
	onlyCost  = "cost"
)

// batches are how many addresses move at once.
var batches = []int{1, 10, 100, 1000}

// manyGroups is the cluster whose cost shows what a group costs.
const manyGroups = 100

// slow is a heartbeat at which a few milliseconds of other clusters' work are not seen: four such clusters are
// measured side by side.
const slow = 500 * time.Millisecond

// allAtOnce is more than there are clusters.
const allAtOnce = 100

// A plan is what the flags ask for, and the tools that are there.
type plan struct {
	hbagent               string
	runs                  int
	only, tools, settings []string
	rest, busy, cost      time.Duration
	slack                 time.Duration // of hbagent's timers, instead of what its unit says

	contenders []contender
}

// The least that the docs promise to watch.
const (
	wholeRest = 10 * time.Minute
	wholeBusy = 2 * time.Minute
)

// whole tells whether nothing is left out that could be measured here.
func (p *plan) whole() bool {
	return len(p.only)+len(p.tools)+len(p.settings) == 0 && p.slack == 0 && p.rest >= wholeRest && p.busy >= wholeBusy
}

// check refuses what would be measured of nothing: a name that there is not, or not of these tools, would narrow the run without a word.
func (p *plan) check() error {
	var tools, settings []string
	for _, t := range rivals.All() {
		tools = append(tools, t.Name())
		if len(p.tools) > 0 && !slices.Contains(p.tools, t.Name()) {
			continue
		}
		for _, s := range t.Settings() {
			settings = append(settings, s.Name)
		}
	}
	things := append(slices.Clone(bench.Scenarios), onlyBatch, onlyCost, bench.Rest, bench.Busy)
	var errs []error
	for _, l := range []struct {
		flag         string
		given, known []string
	}{{"-tools", p.tools, tools}, {"-settings", p.settings, settings}, {"-only", p.only, things}} {
		for _, name := range l.given {
			if !slices.Contains(l.known, name) {
				errs = append(errs, fmt.Errorf("%s: there is no %q; there are: %s", l.flag, name, strings.Join(l.known, ", ")))
			}
		}
	}
	if p.runs < 1 {
		errs = append(errs, fmt.Errorf("-runs %d: at least 1", p.runs))
	}
	if p.rest <= 0 || p.busy <= 0 || p.cost <= 0 || p.slack < 0 {
		errs = append(errs, fmt.Errorf("-rest %v, -busy %v, -cost %v: more than nothing; -timer-slack %v: not less", p.rest, p.busy, p.cost, p.slack))
	}
	return errors.Join(errs...)
}

// A contender is a tool that is measured.
type contender struct {
	name     string
	settings []rivals.Setting
}

// A phase is jobs that are done side by side, at most wide at a time.
type phase struct {
	name string
	wide int
	jobs []job
}

func (ph *phase) add(j job, wanted bool) {
	if wanted {
		ph.jobs = append(ph.jobs, j)
	}
}

func among(list []string, name string) bool { return len(list) == 0 || slices.Contains(list, name) }

// find finds the tools and their settings, and tells the run of those that are missing.
func (p *plan) find(ctx context.Context, run *bench.Run) {
	for _, t := range rivals.All() {
		if !among(p.tools, t.Name()) {
			continue
		}
		if h, ok := t.(rivals.Hbagent); ok {
			h.Program = p.hbagent
			t = h
		}
		told := bench.Tool{Name: t.Name()}
		var err error
		if told.Version, err = t.Version(ctx); err != nil {
			told.Missing = err.Error()
			if !errors.Is(err, rivals.ErrMissing) {
				told.Missing = "does not tell its version: " + told.Missing
			}
			fmt.Fprintf(os.Stderr, "labbench: left out: %s\n", told.Missing)
			run.Tools = append(run.Tools, told)
			continue
		}
		c := contender{name: t.Name()}
		for _, s := range t.Settings() {
			if among(p.settings, s.Name) {
				c.settings = append(c.settings, s)
			}
		}
		if len(c.settings) == 0 {
			continue
		}
		p.contenders = append(p.contenders, c)
		run.Tools = append(run.Tools, told)
	}
	p.tell(run)
}

// tell writes the settings, and what pace each stands for, into the run.
func (p *plan) tell(run *bench.Run) {
	for _, c := range p.contenders {
		i := slices.IndexFunc(run.Tools, func(t bench.Tool) bool { return t.Name == c.name })
		before := run.Tools[i].Settings
		run.Tools[i].Settings = nil
		for k, s := range c.settings {
			told := bench.Setting{Name: s.Name, Pace: s.Pace, Heartbeat: ms(s.Heartbeat)}
			if len(before) > 0 {
				told.Configs = before[k].Configs
			}
			run.Tools[i].Settings = append(run.Tools[i].Settings, told)
		}
	}
}

// each calls do with every setting of every contender, and the job that all others of it are made from.
func (p *plan) each(do func(j job, s rivals.Setting)) {
	for _, c := range p.contenders {
		for _, s := range c.settings {
			do(job{Hbagent: p.hbagent, Slack: p.slack, Tool: c.name, Setting: s.Name}, s)
		}
	}
}

// quiet are the times in which nothing is asked for. They come first: they tell which setting is the fastest safe one.
func (p *plan) quiet() []phase {
	busy, rest := phase{"busy machine", 1, nil}, phase{"rest", allAtOnce, nil}
	p.each(func(j job, s rivals.Setting) {
		j.Kind, j.Load, j.Span = kindQuiet, bench.Busy, p.busy
		busy.add(j, among(p.only, bench.Busy) && watched(j.Tool, s))
		j.Load, j.Span = bench.Rest, p.rest
		rest.add(j, among(p.only, bench.Rest) && (watched(j.Tool, s) || s.Pace != ""))
	})
	return []phase{busy, rest}
}

// watched are the settings that are looked at on a busy machine, and of which the fastest safe one is chosen: those of
// hbagent up to a second of ttl, and fast ones of keepalived.
func watched(tool string, s rivals.Setting) bool {
	return tool == bench.HBAgent && s.Value <= time.Second || tool == bench.Keepalived && s.Value <= 100*time.Millisecond
}

// choose gives the pace Fastest to the watched setting with the shortest heartbeat that moved nothing, neither at rest
// nor on a busy machine; to the tool's default, where there is none. A tool of which nothing was watched keeps what its
// adapter says.
func (p *plan) choose(quiet []bench.Quiet) {
	for _, c := range p.contenders {
		best, known := -1, false
		for i, s := range c.settings {
			if !watched(c.name, s) {
				continue
			}
			watches, moves := 0, 0
			for _, q := range quiet {
				if q.Tool == c.name && q.Setting == s.Name {
					watches, moves = watches+1, moves+q.Moves
				}
			}
			known = known || watches == 2
			if watches == 2 && moves == 0 && (best < 0 || s.Heartbeat < c.settings[best].Heartbeat) {
				best = i
			}
		}
		if !known {
			continue
		}
		for i := range c.settings {
			paces := slices.DeleteFunc(strings.Fields(c.settings[i].Pace), func(pace string) bool { return pace == rivals.Fastest })
			if i == best || best < 0 && i == 0 {
				paces = append(paces, rivals.Fastest)
				fmt.Fprintf(os.Stderr, "%s: the fastest safe setting is %s\n", c.name, c.settings[i].Name)
			}
			c.settings[i].Pace = strings.Join(paces, " ")
		}
	}
}

// work are the phases in which something happens. What is most easily disturbed is done alone.
func (p *plan) work() []phase {
	costs := phase{"cost at rest", allAtOnce, nil}
	exact, wide := phase{"scenarios, alone", 1, nil}, phase{"scenarios, four at a time", 4, nil}
	batch := phase{"addresses in one move", 1, nil}
	p.each(func(j job, s rivals.Setting) {
		plays := j
		plays.Kind, plays.Scenarios, plays.Runs = kindPlay, p.scenarios(s), p.runs
		if s.Heartbeat >= slow || j.Tool == bench.Pacemaker { // whose moves take seconds however fast its heartbeat is
			plays.Runs = half(p.runs) // each takes three times as long, and a millisecond matters less
			wide.add(plays, len(plays.Scenarios) > 0)
		} else {
			exact.add(plays, len(plays.Scenarios) > 0)
		}
		for _, groups := range groupsFor(j.Tool, s) {
			c := j
			c.Kind, c.Span, c.Groups = kindCost, p.cost, groups
			costs.add(c, among(p.only, onlyCost) && s.Pace != "")
		}
		for _, n := range batches {
			b := j
			b.Kind, b.Addresses, b.Runs = kindBatch, n, half(p.runs)
			if j.Tool == bench.HBAgent && n == batches[len(batches)-1] { // of which something is promised
				b.Runs = 3 * p.runs
			}
			batch.add(b, among(p.only, onlyBatch) && paced(s, rivals.Default))
		}
	})
	return []phase{costs, exact, wide, batch}
}

func half(runs int) int { return max(1, (runs+1)/2) }

func paced(s rivals.Setting, pace string) bool { return slices.Contains(strings.Fields(s.Pace), pace) }

// scenarios are all of them for a setting that stands for a pace, and the power cut for a further one.
func (p *plan) scenarios(s rivals.Setting) (names []string) {
	for _, name := range bench.Scenarios {
		if among(p.only, name) && (s.Pace != "" || name == bench.PowerOff) {
			names = append(names, name)
		}
	}
	return names
}

func groupsFor(tool string, s rivals.Setting) []int {
	if tool == bench.HBAgent && paced(s, rivals.Default) {
		return []int{1, manyGroups}
	}
	return []int{1}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
