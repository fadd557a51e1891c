// Laboutage measures how long a client is without the floating address: over and
// over, each time with another owner, for a machine that loses its power, a web
// server that is killed, a planned switchover, a clean stop of the agent and a
// restart of it.
//
//	laboutage -hbagent bin/hbagent -runs 20
//
// It prints minimum, median and maximum of each, and needs no root.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
)

const (
	checkInterval = 200 * time.Millisecond
	// eachLimit bounds one fault with its recovery.
	eachLimit = 30 * time.Second
	// recovered is how long the client must be served again before the next
	// fault, so that no gap is counted twice.
	recovered = 300 * time.Millisecond
)

func main() {
	lab.Reexec()
	hbagent := flag.String("hbagent", "bin/hbagent", "the program to measure")
	runs := flag.Int("runs", 10, "how often each fault is made")
	ttl := flag.String("ttl", "1s", "ttl of the leases")
	flag.Parse()
	lab.RunTool("laboutage", func(ctx context.Context) error { return run(ctx, *hbagent, *ttl, *runs) })
}

// site is two web servers that take turns in owning the address, and a voter.
type site struct {
	w      *lab.World
	web    map[string]*lab.Service
	client *lab.HTTPProbe
}

// fault does something to the owner; repair makes it good again, after the
// address has moved (or has stayed, where moves is false).
type fault struct {
	name   string
	moves  bool
	strike func(ctx context.Context, owner, other string) error
	repair func(ctx context.Context, owner string) error
}

func run(ctx context.Context, hbagent, ttl string, runs int) (err error) {
	s := &site{web: make(map[string]*lab.Service)}
	if s.w, err = lab.New(ctx, lab.Options{Hbagent: hbagent}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.w.Close()) }()
	if err := s.start(ctx, ttl); err != nil {
		return err
	}
	arp, err := s.w.WatchARP(ctx, lab.Floating4.Addr(), 5*time.Millisecond)
	if err != nil {
		return err
	}
	began := time.Now()
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "without an answer, ms (ttl %s, check every %v)\truns\tmin\tmedian\tmax\t\n", ttl, checkInterval)
	for _, f := range s.faults() {
		var gaps []time.Duration
		for range runs {
			gap, err := s.once(ctx, f)
			if err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
			gaps = append(gaps, gap)
		}
		slices.SortFunc(gaps, func(a, b time.Duration) int { return cmp.Compare(a, b) })
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t\n", f.name, runs, gaps[0].Milliseconds(), gaps[len(gaps)/2].Milliseconds(), gaps[len(gaps)-1].Milliseconds())
	}
	t.Flush()
	fmt.Printf("%d ARP questions, %d answered by two machines\n", len(arp.Questions(began, time.Now())), len(arp.OwnersOverlap(began, time.Now())))
	return nil
}

func (s *site) start(ctx context.Context, ttl string) error {
	c := s.w.Config()
	c.Lease.TTL = ttl
	c.Checks = []lab.CheckConfig{{Name: "web", Type: "http", URL: "http://127.0.0.1/", Interval: checkInterval.String(), Timeout: "1s",
		Fall: 2, Rise: 1, Nodes: []string{"web1", "web2"}}}
	g := s.w.WebGroup("web1", "web2")
	g.Checks, g.Hold, g.MaxMoves = []string{"web"}, "0s", "1000/1m"
	c.Groups = []lab.GroupConfig{g}
	for _, name := range []string{"web1", "web2"} {
		web, err := s.w.Node(name).Web()
		if err != nil {
			return err
		}
		s.web[name] = web
		if err := web.Start(ctx); err != nil {
			return err
		}
	}
	if err := s.w.WriteConfig(c); err != nil {
		return err
	}
	if err := s.w.StartAgents(ctx); err != nil {
		return err
	}
	var err error
	s.client, err = s.w.ProbeHTTP(ctx, lab.HTTPOptions{Target: netip.AddrPortFrom(lab.Floating4.Addr(), 80)})
	return err
}

func (s *site) faults() []fault {
	node := s.w.Node
	agent := func(ctx context.Context, n string) error { return node(n).StartAgent(ctx) }
	return []fault{
		{name: "the owner loses its power", moves: true,
			strike: func(_ context.Context, owner, _ string) error { return node(owner).PowerOff() },
			repair: func(ctx context.Context, owner string) error {
				return errors.Join(node(owner).PowerOn(ctx), s.web[owner].Start(ctx), agent(ctx, owner))
			}},
		{name: "its web server is killed", moves: true,
			strike: func(_ context.Context, owner, _ string) error { return s.web[owner].Kill() },
			repair: func(ctx context.Context, owner string) error { return s.web[owner].Start(ctx) }},
		{name: "a planned switchover", moves: true,
			strike: func(ctx context.Context, owner, other string) error {
				_, err := node(owner).Hbagent(ctx, "switchover", "web", "--to", other)
				return err
			},
			repair: func(context.Context, string) error { return nil }},
		{name: "its agent is stopped", moves: true,
			strike: func(ctx context.Context, owner, _ string) error { return node(owner).StopAgent(ctx) }, repair: agent},
		{name: "its agent is killed and restarted",
			strike: func(ctx context.Context, owner, _ string) error {
				return errors.Join(node(owner).KillAgent(), node(owner).StartAgent(ctx))
			},
			repair: func(context.Context, string) error { return nil }},
	}
}

// once makes one fault and returns the longest time the client was without an
// answer because of it.
func (s *site) once(ctx context.Context, f fault) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, eachLimit)
	defer cancel()
	if err := s.w.WaitEligible(ctx, "web", "web1", "web2"); err != nil {
		return 0, err
	}
	owner, err := s.w.WaitAnyOwner(ctx, "web", "web1", "web2")
	if err != nil {
		return 0, err
	}
	other := map[string]string{"web1": "web2", "web2": "web1"}[owner]
	if err := s.client.WaitAnswer(ctx, time.Now(), owner); err != nil {
		return 0, err
	}
	from := time.Now()
	if err := f.strike(ctx, owner, other); err != nil {
		return 0, err
	}
	next := owner
	if f.moves {
		next = other
	}
	if err := s.w.WaitOwner(ctx, "web", next); err != nil {
		return 0, err
	}
	if err := s.client.WaitAnswer(ctx, time.Now(), next); err != nil {
		return 0, err
	}
	if err := pause(ctx, recovered); err != nil {
		return 0, err
	}
	gap := s.client.LongestGap(from, time.Now()).Length()
	return gap, f.repair(ctx, owner)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
