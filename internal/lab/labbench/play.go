package main

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/hbagent/hbagent/internal/bench"
	"github.com/hbagent/hbagent/internal/lab/rivals"
)

// giveUp is after how many failures a scenario is left. Chosen by us: one may be bad luck.
const giveUp = 2

// play plays the job's scenarios: those in which the tool watches no service on one site, the others on another.
func (j job) play(ctx context.Context, t rivals.Tool, s rivals.Setting) (f found, err error) {
	for _, service := range []bool{false, true} {
		var here []scenario
		for _, sc := range scenarios {
			if sc.service == service && slices.Contains(j.Scenarios, sc.name) {
				here = append(here, sc)
			}
		}
		if len(here) == 0 {
			continue
		}
		site, err := j.newSite(ctx, t, s, rivals.Options{Service: service}, closely)
		if err != nil { // it cannot do this, or does not start
			for _, sc := range here {
				f.Results = append(f.Results, bench.Result{Tool: j.Tool, Setting: j.Setting, Scenario: sc.name, Failed: err.Error()})
			}
			continue
		}
		if f.Configs == nil {
			f.Configs = make(map[string]string)
		}
		for name, text := range site.cluster.Configs() {
			if service {
				name = "service-" + name
			}
			f.Configs[name] = text
		}
		for _, sc := range here {
			r := site.repeat(ctx, sc, sc.times(j.Runs))
			r.Tool, r.Setting = j.Tool, j.Setting
			f.Results = append(f.Results, r)
		}
		site.end()
		if err := ctx.Err(); err != nil {
			return f, err
		}
	}
	return f, nil
}

// repeat plays a scenario so many times. After a failure everything is switched off and on again.
func (s *site) repeat(ctx context.Context, sc scenario, runs int) bench.Result {
	r := bench.Result{Scenario: sc.name}
	failures := 0
	for range runs {
		sample, err := s.once(ctx, sc)
		if err == nil {
			r.Samples = append(r.Samples, sample)
			fmt.Fprintf(os.Stderr, "  %s, %s: outage %.1f ms, two %.1f, none %.1f, %d moves, %d of them unwanted\n", s.setting.Name, sc.name,
				sample.Outage, sample.Two, sample.None, sample.Moves, sample.Unwanted)
			continue
		}
		failures++
		r.Failed = fmt.Sprintf("%d of %d: %v", failures, runs, err)
		fmt.Fprintf(os.Stderr, "  %s, %s: failed: %v\n", s.setting.Name, sc.name, err)
		if err := s.reset(ctx); err != nil || failures == giveUp || ctx.Err() != nil {
			r.Failed += "; given up"
			return r
		}
	}
	return r
}
