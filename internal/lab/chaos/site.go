package chaos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
)

// Chosen by us.
const (
	group       = "web"
	webPort     = 80
	startWait   = 30 * time.Second // for servers and agents to be up, on a slow machine
	repairWait  = 20 * time.Second // for one fault to be undone
	readEvery   = 10 * time.Millisecond
	clientEvery = 25 * time.Millisecond
	clientWait  = 500 * time.Millisecond
)

// Options describe a site.
type Options struct {
	Nodes   int           // 3 unless 2, which needs Witness, or up to 9
	Witness bool          // the client's address is the witness of two machines
	TTL     time.Duration // default 1 s
	Hbagent string        // the program
}

// A Site is machines that may all own a group with an IPv4 and an IPv6 address, a web server on each, a client, and
// observers.
type Site struct {
	*lab.World
	TTL  time.Duration
	Calm time.Duration // watched after a recovery; 2 ttl unless somebody sets it

	web   map[string]*lab.Service // by node
	asked []*lab.Asking           // who has each address; IPv4 first
	said  *lab.AnnouncementWatch
	cards []*lab.AddressWatch
	gates *lab.GateWatch
	http  []*lab.HTTPProbe
	began time.Time

	mu     sync.Mutex
	taken  map[claim]bool // parts of machines that a fault has
	events []Event        // what was done to the site, the latest
}

// A claim is one machine's part.
type claim struct {
	node string
	part part
}

// NewSite builds a site and waits until a machine answers for the address. The observers end with ctx. Close it
// with World.Close.
func NewSite(ctx context.Context, o Options) (*Site, error) {
	s := &Site{TTL: cmp.Or(o.TTL, time.Second), web: make(map[string]*lab.Service), taken: make(map[claim]bool)}
	s.Calm = 2 * s.TTL
	var names []string
	for i := range cmp.Or(o.Nodes, 3) {
		names = append(names, fmt.Sprintf("n%d", i+1))
	}
	var err error
	if s.World, err = lab.New(ctx, lab.Options{Nodes: names, Hbagent: o.Hbagent}); err != nil {
		return nil, err
	}
	if err := s.build(ctx, o, names); err != nil {
		return nil, errors.Join(err, fmt.Errorf("the agents' last words:\n%s", s.Logs(lab.AgentLog, 5)), s.Close())
	}
	return s, nil
}

func (s *Site) build(ctx context.Context, o Options, names []string) error {
	wait, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	c := s.Config()
	c.Lease.TTL = s.TTL.String()
	if o.Witness {
		c.Lease.Witness = s.Client.Addr4.Addr().String()
	}
	g := s.WebGroup(names...)
	g.Hold, g.MaxMoves = "0s", "1000/1m"
	c.Groups = []lab.GroupConfig{g}
	if err := s.WriteConfig(c); err != nil {
		return err
	}
	for _, n := range s.Nodes() {
		s.web[n.Name] = n.BuiltinWeb()
		if err := s.web[n.Name].Start(wait); err != nil {
			return err
		}
	}
	s.began = time.Now()
	if err := s.observe(ctx); err != nil {
		return err
	}
	if err := s.StartAgents(wait); err != nil {
		return err
	}
	if _, err := s.WaitAnyOwner(wait, group, names...); err != nil {
		return err
	}
	_, _, err := s.whole(wait, s.began)
	return err
}

// observe starts the observers.
func (s *Site) observe(ctx context.Context) error {
	targets := []netip.Addr{lab.Floating4.Addr()}
	arp, err := s.WatchARP(ctx, targets[0], 0)
	if err != nil {
		return err
	}
	s.asked = append(s.asked, arp.Asking)
	if s.IPv6 {
		targets = append(targets, lab.Floating6.Addr())
		nd, err := s.WatchND(ctx, targets[1], 0)
		if err != nil {
			return err
		}
		s.asked = append(s.asked, nd.Asking)
	}
	if s.said, err = s.WatchAnnouncements(ctx, targets...); err != nil {
		return err
	}
	for _, target := range targets {
		s.cards = append(s.cards, s.WatchAddress(ctx, target, readEvery))
		probe, err := s.ProbeHTTP(ctx, lab.HTTPOptions{Target: netip.AddrPortFrom(target, webPort), Interval: clientEvery, Timeout: clientWait})
		if err != nil {
			return err
		}
		s.http = append(s.http, probe)
	}
	s.gates = s.WatchGate(ctx, group, readEvery)
	return nil
}

// Wait waits until the observers have ended; after the end of NewSite's ctx only.
func (s *Site) Wait() {
	for _, a := range s.asked {
		<-a.Done()
	}
	<-s.said.Done()
	for _, c := range s.cards {
		<-c.Done()
	}
	for _, p := range s.http {
		<-p.Done()
	}
	<-s.gates.Done()
}

// Targets are the floating addresses, IPv4 first.
func (s *Site) Targets() []netip.Addr {
	var all []netip.Addr
	for _, a := range s.asked {
		all = append(all, a.Target())
	}
	return all
}

// Owner is who answered last for the address, "" if nobody did for a while.
func (s *Site) Owner() string {
	now := time.Now()
	for _, q := range slices.Backward(s.asked[0].Questions(now.Add(-300*time.Millisecond), now)) {
		if len(q.Nodes) > 0 {
			return q.Nodes[0]
		}
	}
	return ""
}

// take finds a machine for a fault and takes the parts of it that the fault needs for itself. It returns nil
// where no such machine is free.
func (s *Site) take(f Fault) (n *lab.Node, release func()) {
	owner := s.Owner()
	var fit []*lab.Node
	for _, n := range s.Nodes() {
		if f.At == Owner && owner != "" && n.Name != owner || f.At == Standby && n.Name == owner {
			continue
		}
		fit = append(fit, n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range fit {
		n := fit[(f.Pick+i)%len(fit)]
		var claims []claim
		free := true
		for _, p := range f.Kind.parts() {
			c := claim{n.Name, p}
			claims = append(claims, c)
			free = free && !s.taken[c]
		}
		if !free {
			continue
		}
		for _, c := range claims {
			s.taken[c] = true
		}
		return n, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, c := range claims {
				delete(s.taken, c)
			}
		}
	}
	return nil, nil
}

// Began is when the observers began to look.
func (s *Site) Began() time.Time { return s.began }
