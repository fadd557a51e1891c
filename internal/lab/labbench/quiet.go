package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/hbagent/hbagent/internal/bench"
	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/rivals"
)

// calm is how long nothing has happened when a quiet time begins.
const calm = 3 * time.Second

// quiet watches a cluster of which nothing is asked, at rest or with every core taken by busy loops at nice 0. Observers
// look at it calmly; each tool has the priority that its unit, or its manual, gives it.
func (j job) quiet(ctx context.Context, t rivals.Tool, s rivals.Setting) (f found, err error) {
	if err := watchable(j.Span); err != nil {
		return f, err
	}
	site, err := j.newSite(ctx, t, s, rivals.Options{}, calmly)
	if err != nil {
		return f, err
	}
	defer site.end()
	f.Configs = site.cluster.Configs()
	owner, err := site.steady(ctx)
	if err != nil { // a setting that never comes to rest moves all the time: that is what is counted
		fmt.Fprintf(os.Stderr, "  %s: %v\n", j, err)
	}
	if err := lab.Pause(ctx, max(calm, time.Until(j.Begin))); err != nil {
		return f, err
	}
	from := time.Now()
	if j.Load == bench.Busy {
		end, started := site.w.Client.Load(runtime.NumCPU())
		if started != nil {
			return f, started
		}
		defer func() { err = errors.Join(err, end()) }()
	}
	if err := lab.Pause(ctx, j.Span); err != nil {
		return f, err
	}
	to := time.Now()
	q := bench.Quiet{Tool: j.Tool, Setting: j.Setting, Load: j.Load, Seconds: to.Sub(from).Round(time.Second).Seconds(), Moves: site.moves(owner, from, to),
		Outage: ms(site.echo.LongestGap(from, to).Length()), Two: ms(twoTime(site.arp.Questions(from, to)))}
	fmt.Fprintf(os.Stderr, "  %s: %d moves, longest outage %.1f ms, two %.1f ms\n", j, q.Moves, q.Outage, q.Two)
	f.Quiet = []bench.Quiet{q}
	return f, nil
}

// watchable refuses a quiet time whose beginning the observers would have forgotten at its end.
func watchable(span time.Duration) error {
	if most := lab.Watchable(calmly.echo) - steadyLimit - calm - time.Second; span > most { // a second to start in
		return fmt.Errorf("%v with nothing asked for: the observers remember %v at most; give -rest and -busy less", span, most)
	}
	return nil
}
