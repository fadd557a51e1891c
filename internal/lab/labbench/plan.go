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

// slow is a heartbeat at which a few milliseconds of other clusters' work are not seen: three such clusters are
// measured side by side.
const slow = 500 * time.Millisecond

// A plan is what the flags ask for.
type plan struct {
	hbagent               string
	runs                  int
	only, tools, settings []string
	rest, busy, cost      time.Duration
}

// A phase is jobs that are done side by side, at most Wide at a time.
type phase struct {
	name string
	wide int
	jobs []job
}

func among(list []string, name string) bool { return len(list) == 0 || slices.Contains(list, name) }

// phases lists the tools in the run, those that are missing included, and returns the work in its order. What is most
// easily disturbed is done alone.
func (p *plan) phases(ctx context.Context, run *bench.Run) []phase {
	costs := phase{"cost at rest", 100, nil}
	exact, wide := phase{"scenarios, alone", 1, nil}, phase{"scenarios, three at a time", 3, nil}
	batch := phase{"addresses in one move", 1, nil}
	busy, rest := phase{"busy machine", 1, nil}, phase{"rest", 100, nil}
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
		for _, s := range t.Settings() {
			if !among(p.settings, s.Name) {
				continue
			}
			told.Settings = append(told.Settings, bench.Setting{Name: s.Name, Pace: s.Pace, Heartbeat: ms(s.Heartbeat)})
			j := job{Hbagent: p.hbagent, Tool: t.Name(), Setting: s.Name}
			plays := j
			plays.Kind, plays.Scenarios, plays.Runs = kindPlay, p.scenarios(s), p.runs
			if s.Heartbeat >= slow {
				wide.add(plays, len(plays.Scenarios) > 0)
			} else {
				exact.add(plays, len(plays.Scenarios) > 0)
			}
			for _, groups := range groupsFor(t.Name(), s) {
				c := j
				c.Kind, c.Span, c.Groups = kindCost, p.cost, groups
				costs.add(c, among(p.only, onlyCost) && s.Pace != "")
			}
			for _, n := range batches {
				b := j
				b.Kind, b.Addresses, b.Runs = kindBatch, n, max(1, (p.runs+1)/2)
				batch.add(b, among(p.only, onlyBatch) && paced(s, rivals.Default))
			}
			q := j
			q.Kind, q.Load, q.Span = kindQuiet, bench.Busy, p.busy
			busy.add(q, among(p.only, bench.Busy) && watched(t.Name(), s))
			q.Load, q.Span = bench.Rest, p.rest
			rest.add(q, among(p.only, bench.Rest) && (watched(t.Name(), s) || s.Pace != ""))
		}
		run.Tools = append(run.Tools, told)
	}
	return []phase{costs, exact, wide, batch, busy, rest}
}

func (ph *phase) add(j job, wanted bool) {
	if wanted {
		ph.jobs = append(ph.jobs, j)
	}
}

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

// watched are the settings that are looked at on a busy machine: those of hbagent up to a second of ttl, and fast ones
// of keepalived.
func watched(tool string, s rivals.Setting) bool {
	return tool == bench.HBAgent && s.Value <= time.Second || tool == bench.Keepalived && s.Value <= 100*time.Millisecond
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
