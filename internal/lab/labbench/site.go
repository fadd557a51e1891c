package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/rivals"
)

// Chosen by us.
const (
	steadyLimit = 60 * time.Second       // for a tool to be at rest again
	askLimit    = time.Second            // for one try of it
	lookBack    = 100 * time.Millisecond // in which only the owner may have answered
	lookPause   = 20 * time.Millisecond
	aMoment     = 300 * time.Millisecond // at least, between two faults
	serverNice  = -15                    // the echo servers are observers
)

// A pace is how often the observers look.
type pace struct{ echo, arp, cards time.Duration }

var (
	closely = pace{time.Millisecond, time.Millisecond, 5 * time.Millisecond}
	// calmly is for many clusters side by side, and for minutes of busy cores.
	calmly = pace{5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond}
)

// A site is a world with a tool on it, an echo server on both machines, and observers.
type site struct {
	w       *lab.World
	cluster rivals.Cluster
	setting rivals.Setting
	servers map[string]*lab.Service
	addr    netip.Addr    // the last of the addresses; what the observers look at
	limit   time.Duration // for steady
	sight
}

// sight is what the observers see.
type sight struct {
	echo     *lab.EchoProbe
	arp      *lab.ARPWatch
	cards    *lab.AddressWatch
	claims   *lab.AnnouncementWatch
	unwatch  context.CancelFunc
	watching context.Context
}

// newSite builds a site and starts everything on it. ctx bounds observers, too.
func (j job) newSite(ctx context.Context, t rivals.Tool, s rivals.Setting, o rivals.Options, p pace) (*site, error) {
	w, err := lab.New(ctx, lab.Options{Hbagent: j.Hbagent, TimerSlack: j.Slack})
	if err != nil {
		return nil, err
	}
	site := &site{w: w, setting: s, servers: make(map[string]*lab.Service), addr: lab.Floating4.Addr(), limit: steadyLimit}
	if n := len(o.Addresses); n > 0 {
		site.addr = o.Addresses[n-1].Addr()
	}
	if site.cluster, err = t.Prepare(w, s, o); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	if err := errors.Join(site.reach(ctx, o.Addresses), site.start(ctx), site.watch(ctx, p, o.Addresses)); err != nil {
		return nil, errors.Join(err, site.close())
	}
	return site, nil
}

func (s *site) close() error {
	if s.unwatch != nil {
		s.unwatch()
	}
	return s.w.Close()
}

// end is close for a job that is done: what it found counts, whatever is left behind; the sandbox ends with it.
func (s *site) end() {
	if err := s.close(); err != nil {
		fmt.Fprintf(os.Stderr, "  afterwards: %v\n", err)
	}
}

// start starts the servers and the tool on every machine.
func (s *site) start(ctx context.Context) error {
	for _, node := range []string{"web1", "web2"} {
		if s.servers[node] == nil {
			s.servers[node] = s.w.Node(node).Echo()
		}
		if err := s.serve(ctx, node); err != nil {
			return err
		}
	}
	for _, node := range s.cluster.Nodes() {
		if err := s.cluster.Start(ctx, node); err != nil {
			return err
		}
	}
	return nil
}

// serve starts a machine's echo server.
func (s *site) serve(ctx context.Context, node string) error {
	if err := s.servers[node].Start(ctx); err != nil {
		return err
	}
	return s.servers[node].Nice(serverNice)
}

// watch starts the observers.
func (s *site) watch(ctx context.Context, p pace, addrs []netip.Prefix) (err error) {
	s.watching, s.unwatch = context.WithCancel(ctx)
	if s.echo, err = s.w.ProbeEcho(s.watching, s.addr, p.echo); err != nil {
		return err
	}
	if s.arp, err = s.w.WatchARP(s.watching, s.addr, p.arp); err != nil {
		return err
	}
	s.cards = s.w.WatchAddress(s.watching, s.addr, p.cards)
	targets := []netip.Addr{s.addr}
	for _, a := range addrs {
		targets = append(targets, a.Addr())
	}
	s.claims, err = s.w.WatchAnnouncements(s.watching, targets...)
	return err
}

// steady waits until the tool is at rest: one machine answers, it alone has the address, and the tool itself says that
// the other would take over at once. It returns the owner.
func (s *site) steady(ctx context.Context) (owner string, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	for {
		owner, err = s.answering()
		if err == nil {
			err = s.w.CheckOnlyAt(s.addr, owner)
		}
		if err == nil {
			try, cancel := context.WithTimeout(ctx, askLimit)
			err = s.cluster.Ready(try, owner)
			cancel()
		}
		if err == nil {
			return owner, nil
		}
		if lab.Pause(ctx, lookPause) != nil {
			return "", fmt.Errorf("not at rest after %v: %w", s.limit, err)
		}
	}
}

// answering is the machine that alone has answered the client of late.
func (s *site) answering() (owner string, err error) {
	now := time.Now()
	answers := s.echo.Answers(now.Add(-lookBack), now)
	if len(answers) < 2 || now.Sub(answers[len(answers)-1].At) > lookBack/2 {
		return "", errors.New("nobody answers")
	}
	for _, a := range answers {
		if owner != "" && a.Node != owner {
			return "", fmt.Errorf("%s and %s answer", owner, a.Node)
		}
		owner = a.Node
	}
	return owner, nil
}

// reset takes the power from every machine and begins again.
func (s *site) reset(ctx context.Context) error {
	err := s.w.Heal(ctx)
	for _, n := range s.w.Nodes() {
		err = errors.Join(err, n.PowerOff())
	}
	for _, n := range s.w.Nodes() {
		err = errors.Join(err, n.PowerOn(ctx))
	}
	return errors.Join(err, s.start(ctx))
}

// chance waits for a moment that has nothing to do with the rhythm of heartbeats and checks. Without it a fault would
// follow the last move by the same time again and again, and hit the same phase of every heartbeat.
func (s *site) chance(ctx context.Context) error {
	rhythm := max(s.setting.Heartbeat, time.Second)
	return lab.Pause(ctx, aMoment+rand.N(rhythm))
}

func otherThan(node string) string {
	if node == "web1" {
		return "web2"
	}
	return "web1"
}
