package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/hbagent/hbagent/internal/bench"
	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/rivals"
)

// settled is how long a cluster is left alone before its cost is measured: announcements after a takeover last 5 s.
const settled = 8 * time.Second

// costAtRest measures what the tool takes of each machine when nothing happens, and nobody asks.
func (j job) costAtRest(ctx context.Context, t rivals.Tool, s rivals.Setting) (f found, err error) {
	site, err := j.newSite(ctx, t, s, rivals.Options{Groups: j.Groups - 1}, calmly)
	if err != nil {
		return f, err
	}
	defer site.end()
	f.Configs = site.cluster.Configs()
	if j.Groups > 1 {
		f.Configs = nil // those of one group tell more
	}
	owner, err := site.steady(ctx)
	if err != nil {
		return f, err
	}
	site.unwatch() // every question of theirs would be counted
	if err := lab.Pause(ctx, max(settled, time.Until(j.Begin))); err != nil {
		return f, err
	}
	before, err := site.takeAll()
	if err != nil {
		return f, err
	}
	if err := lab.Pause(ctx, j.Span); err != nil {
		return f, err
	}
	after, err := site.takeAll()
	if err != nil {
		return f, err
	}
	for i, node := range site.cluster.Nodes() {
		c := costOf(before[i], after[i])
		c.Tool, c.Setting, c.Groups, c.Node, c.Owner = j.Tool, j.Setting, j.Groups, node, node == owner
		fmt.Fprintf(os.Stderr, "  %s, %s: %.1f MB, %.2f %% of a core, %.1f packets/s, %.0f bytes/s\n", j, node, c.MemoryMB, c.CPUPercent, c.PacketsPerS, c.BytesPerS)
		f.Costs = append(f.Costs, c)
	}
	return f, nil
}

func costOf(a, b lab.Usage) bench.Cost {
	d := b.At.Sub(a.At).Seconds()
	return bench.Cost{MemoryMB: float64(b.Memory) / 1e6, CPUPercent: 100 * (b.CPU - a.CPU).Seconds() / d, PacketsPerS: float64(b.Packets-a.Packets) / d,
		BytesPerS: float64(b.Bytes-a.Bytes) / d, Seconds: d}
}

func (s *site) takeAll() (all []lab.Usage, err error) {
	for _, node := range s.cluster.Nodes() {
		pids := s.cluster.PIDs(node)
		if len(pids) == 0 {
			return nil, fmt.Errorf("%s: the tool does not run", node)
		}
		r, err := s.w.Node(node).UsageOf(pids...)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", node, err)
		}
		all = append(all, r)
	}
	return all, nil
}
