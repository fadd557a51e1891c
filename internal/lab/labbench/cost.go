package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/hbagent/hbagent/internal/bench"
	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/rivals"
)

// settled is how long a cluster is left alone before its cost is measured: announcements after a takeover last 5 s.
const settled = 8 * time.Second

// clockTicks is USER_HZ, which is 100 on every architecture Go runs on (proc(5)).
const clockTicks = 100

// costAtRest measures what the tool takes of each machine when nothing happens, and nobody asks.
func (j job) costAtRest(ctx context.Context, t rivals.Tool, s rivals.Setting) (f found, err error) {
	site, err := newSite(ctx, j.Hbagent, t, s, rivals.Options{Groups: j.Groups - 1}, calmly)
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
	if err := pause(ctx, max(settled, time.Until(j.Begin))); err != nil {
		return f, err
	}
	before, err := site.takeAll()
	if err != nil {
		return f, err
	}
	if err := pause(ctx, j.Span); err != nil {
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

// A reading is one machine at one moment.
type reading struct {
	at      time.Time
	rss     int64 // bytes, of all processes of the tool
	cpu     time.Duration
	packets uint64 // in and out
	bytes   uint64
}

func costOf(a, b reading) bench.Cost {
	d := b.at.Sub(a.at).Seconds()
	return bench.Cost{MemoryMB: float64(b.rss) / 1e6, CPUPercent: 100 * (b.cpu - a.cpu).Seconds() / d, PacketsPerS: float64(b.packets-a.packets) / d,
		BytesPerS: float64(b.bytes-a.bytes) / d, Seconds: d}
}

func (s *site) takeAll() (all []reading, err error) {
	for _, node := range s.cluster.Nodes() {
		r, err := takeReading(s.w.Node(node), s.cluster.PIDs(node))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", node, err)
		}
		all = append(all, r)
	}
	return all, nil
}

func takeReading(n *lab.Node, pids []int) (r reading, err error) {
	if len(pids) == 0 {
		return r, errors.New("the tool does not run")
	}
	r.at = time.Now()
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if errors.Is(err, os.ErrNotExist) {
			continue // a child that has just ended counts in its parent
		}
		if err != nil {
			return r, err
		}
		cpu, rss, err := processCost(string(text))
		if err != nil {
			return r, fmt.Errorf("process %d: %w", pid, err)
		}
		r.cpu += cpu
		r.rss += rss
	}
	err = n.Do(func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		st := link.Attrs().Statistics
		r.packets, r.bytes = st.RxPackets+st.TxPackets, st.RxBytes+st.TxBytes
		return nil
	})
	return r, err
}

// processCost takes /proc/PID/stat apart. proc(5): after the command in parentheses, utime, stime and those of the
// children that were waited for are the 12th to 15th field, rss the 22nd.
func processCost(stat string) (cpu time.Duration, rss int64, err error) {
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(f) < 22 {
		return 0, 0, fmt.Errorf("stat has %d fields", len(f))
	}
	var ticks int64
	for _, at := range []int{11, 12, 13, 14} {
		n, err := strconv.ParseInt(f[at], 10, 64)
		if err != nil {
			return 0, 0, err
		}
		ticks += n
	}
	pages, err := strconv.ParseInt(f[21], 10, 64)
	return time.Duration(ticks) * time.Second / clockTicks, pages * int64(os.Getpagesize()), err
}
