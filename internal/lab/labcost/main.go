// Labcost measures what agents cost at rest: three of them in throw-away
// namespaces, with one group and two checks each, at the default ttl.
//
//	labcost -hbagent bin/hbagent -for 60s
//
// It prints, for each node, the resident memory, the CPU time and what goes
// through its network card, per second. It needs no root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/hbagent/hbagent/internal/lab"
)

// settle is how long the agents run before the measurement: announcements
// after a takeover last 5 s.
const settle = 8 * time.Second

// clockTicks is USER_HZ, which is 100 on every architecture Go runs on (proc(5)).
const clockTicks = 100

func main() {
	lab.Reexec()
	hbagent := flag.String("hbagent", "bin/hbagent", "the program to measure")
	span := flag.Duration("for", time.Minute, "how long to measure")
	ttl := flag.String("ttl", "1s", "ttl of the leases")
	flag.Parse()
	lab.RunTool("labcost", func(ctx context.Context) error { return run(ctx, *hbagent, *ttl, *span) })
}

func run(ctx context.Context, hbagent, ttl string, span time.Duration) (err error) {
	w, err := lab.New(ctx, lab.Options{Hbagent: hbagent})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if err := site(ctx, w, ttl); err != nil {
		return err
	}
	if err := pause(ctx, settle); err != nil {
		return err
	}
	before, err := sampleAll(w)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := pause(ctx, span); err != nil {
		return err
	}
	after, err := sampleAll(w)
	if err != nil {
		return err
	}
	print(w, before, after, time.Since(start))
	return nil
}

// site starts the web servers, memcached and the agents, and waits for an owner.
func site(ctx context.Context, w *lab.World, ttl string) error {
	c := w.Config()
	c.Lease.TTL = ttl
	web := lab.CheckConfig{Name: "web", Type: "http", URL: "http://127.0.0.1/", Interval: "500ms", Timeout: "2s", Fall: 2, Rise: 2, Nodes: []string{"web1", "web2"}}
	c.Checks = []lab.CheckConfig{web, {Name: "memcached", Type: "memcached", Address: "127.0.0.1:11211", Interval: "1s", Timeout: "2s", Fall: 2, Rise: 2}}
	g := w.WebGroup("web1", "web2")
	g.Checks = []string{"web"}
	c.Groups = []lab.GroupConfig{g}
	for _, n := range w.Nodes() {
		services := []*lab.Service{n.Memcached()}
		if n.Name != "db1" {
			s, err := n.Web()
			if err != nil {
				return err
			}
			services = append(services, s)
		}
		for _, s := range services {
			if err := s.Start(ctx); err != nil {
				return err
			}
		}
	}
	if err := w.WriteConfig(c); err != nil {
		return err
	}
	if err := w.StartAgents(ctx); err != nil {
		return err
	}
	_, err := w.WaitAnyOwner(ctx, "web", "web1", "web2")
	return err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// sample is one node at one moment.
type sample struct {
	rss     int64 // bytes
	cpu     time.Duration
	packets uint64 // in and out
	bytes   uint64
}

func sampleAll(w *lab.World) ([]sample, error) {
	var out []sample
	for _, n := range w.Nodes() {
		s, err := sampleOf(n)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n.Name, err)
		}
		out = append(out, s)
	}
	return out, nil
}

func sampleOf(n *lab.Node) (s sample, err error) {
	pid, ok := n.AgentPID()
	if !ok {
		return s, errors.New("its agent does not run")
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return s, err
	}
	// proc(5): after the command in parentheses, utime and stime are the 12th
	// and 13th field, rss the 22nd.
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 22 {
		return s, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(f))
	}
	var v [3]int64
	for i, at := range []int{11, 12, 21} {
		if v[i], err = strconv.ParseInt(f[at], 10, 64); err != nil {
			return s, err
		}
	}
	s.cpu = time.Duration(v[0]+v[1]) * time.Second / clockTicks
	s.rss = v[2] * int64(os.Getpagesize())
	err = n.Do(func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		st := link.Attrs().Statistics
		s.packets, s.bytes = st.RxPackets+st.TxPackets, st.RxBytes+st.TxBytes
		return nil
	})
	return s, err
}

func print(w *lab.World, before, after []sample, d time.Duration) {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "node\tmemory MB\tCPU %%\tCPU s/min\tpackets/s\tbytes/s\t(in and out, over %v)\n", d.Round(time.Second))
	for i, n := range w.Nodes() {
		a, b := before[i], after[i]
		cpu := b.cpu - a.cpu
		fmt.Fprintf(t, "%s\t%.1f\t%.2f\t%.2f\t%.1f\t%.0f\t\n", n.Name, float64(b.rss)/1e6, 100*cpu.Seconds()/d.Seconds(),
			60*cpu.Seconds()/d.Seconds(), float64(b.packets-a.packets)/d.Seconds(), float64(b.bytes-a.bytes)/d.Seconds())
	}
	t.Flush()
}
