// Package scale builds clusters of many nodes and groups in the lab, and measures in them what grows: real agents, each in
// a network namespace of its own, on one switch. `make scale` and a test stand on it.
package scale

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/hbagent/hbagent/internal/bench"
	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/lab"
)

// A Plan is the size of a cluster.
type Plan struct {
	Nodes, Voters, Groups int
	// Candidates is how many nodes may own a group. With as many as there are nodes, one node owns all groups; with
	// fewer, the groups are spread over all nodes.
	Candidates int
	// TTL is that of the leases; 0: a second, the constant TTL.
	TTL time.Duration
}

func (p Plan) ttl() time.Duration { return cmp.Or(p.TTL, TTL) }

// Point is what a measurement begins with: the size, and nothing measured.
func (p Plan) Point() bench.ScalePoint {
	return bench.ScalePoint{
		Nodes: p.Nodes, Voters: p.Voters, Groups: p.Groups, Candidates: p.Candidates,
		TTL: float64(p.ttl().Milliseconds()), Transport: "namespaces",
	}
}

// Names are those of the machines.
func (p Plan) Names() (names []string) {
	for i := range p.Nodes {
		names = append(names, fmt.Sprintf("n%03d", i+1))
	}
	return names
}

// Chosen by us.
const (
	TTL       = time.Second
	atOnce    = 4                      // agents that are being started
	lookEvery = 250 * time.Millisecond // at a status; each costs the machine that everything runs on
	trouble   = 20                     // lines of an agent's log that an error carries
)

// A Site is a cluster that runs.
type Site struct {
	W    *lab.World
	Plan Plan
	// Ready is how long it took from the start of the first agent until every node knew of all others, and every
	// group had its owner.
	Ready time.Duration
}

// Start writes the configs, starts the agents in a world of Plan.Names, and waits until all is well.
func Start(ctx context.Context, w *lab.World, p Plan) (*Site, error) {
	s := &Site{W: w, Plan: p}
	if err := w.WriteConfig(s.config()); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := s.each(w.Nodes(), func(n *lab.Node) error { return n.StartAgent(ctx) }); err != nil {
		return nil, err
	}
	if err := s.Wait(ctx, w.Nodes()...); err != nil {
		return nil, err
	}
	s.Ready = time.Since(began)
	return s, nil
}

func (s *Site) config() lab.Config {
	c := s.W.Config()
	c.Lease.TTL = s.Plan.ttl().String()
	for i := range c.Nodes {
		if vote := i < s.Plan.Voters; !vote {
			c.Nodes[i].Voter = &vote
		}
	}
	names := s.Plan.Names()
	for i := range s.Plan.Groups {
		g := lab.GroupConfig{Name: groupName(i), Addresses: []string{lab.Floating(i).String()}, Interface: "eth0"}
		first := i
		if s.Plan.Candidates == s.Plan.Nodes {
			first = 0
		}
		for j := range s.Plan.Candidates {
			g.Nodes = append(g.Nodes, names[(first+j)%len(names)])
		}
		c.Groups = append(c.Groups, g)
	}
	return c
}

func groupName(i int) string { return fmt.Sprintf("g%03d", i+1) }

// each runs f for these nodes, some at a time.
func (s *Site) each(nodes []*lab.Node, f func(*lab.Node) error) error {
	room, errs := make(chan struct{}, atOnce), make(chan error, len(nodes))
	for _, n := range nodes {
		go func() {
			room <- struct{}{}
			defer func() { <-room }()
			errs <- f(n)
		}()
	}
	var all []error
	for range nodes {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// Wait waits until each of the nodes that run says that all of them are alive and have told of themselves, and that every
// group has an owner among them, the same one on every node.
func (s *Site) Wait(ctx context.Context, running ...*lab.Node) error {
	up := make(map[string]bool)
	for _, n := range running {
		up[n.Name] = true
	}
	return lab.PollEvery(ctx, lookEvery, func() error {
		var owners map[string]string
		for _, n := range running {
			st, err := n.Status(ctx)
			if err == nil {
				err = complete(st, up)
			}
			if err != nil {
				return fmt.Errorf("%s says: %w", n.Name, err)
			}
			if owners == nil {
				owners = ownersIn(st)
			}
			for group, owner := range ownersIn(st) {
				if owner != owners[group] {
					return fmt.Errorf("%s says that %s owns %s, %s said %s", n.Name, owner, group, running[0].Name, owners[group])
				}
			}
		}
		return nil
	})
}

func ownersIn(st control.Status) map[string]string {
	owners := make(map[string]string, len(st.Groups))
	for _, g := range st.Groups {
		owners[g.Name] = g.Owner
	}
	return owners
}

// complete says what is missing in a status.
func complete(st control.Status, up map[string]bool) error {
	for _, n := range st.Nodes {
		switch {
		case n.Alive != up[n.Name]:
			return fmt.Errorf("%s is alive: %v", n.Name, n.Alive)
		case !n.Alive:
		case n.Version == "" || n.ConfigHash != st.ConfigHash:
			return fmt.Errorf("%s has not told of itself", n.Name)
		}
	}
	for _, g := range st.Groups {
		if !up[g.Owner] {
			return fmt.Errorf("group %s is %s, owner %q: %s", g.Name, g.State, g.Owner, g.Reason)
		}
	}
	return nil
}

// OwnedOnce looks into every machine's kernel: each floating address must be on exactly one card.
func (s *Site) OwnedOnce() error {
	at := make(map[string][]string)
	for _, n := range s.W.Nodes() {
		addrs, err := n.Addresses()
		if err != nil {
			return err
		}
		for _, a := range addrs {
			at[a.String()] = append(at[a.String()], n.Name)
		}
	}
	var errs []error
	for i := range s.Plan.Groups {
		addr := lab.Floating(i).Addr().String()
		if len(at[addr]) != 1 {
			errs = append(errs, fmt.Errorf("%s (%s) is on %d machines: %v", groupName(i), addr, len(at[addr]), at[addr]))
		}
	}
	return errors.Join(errs...)
}

// Complaints are the lines of the agents' logs in which something did not fit, could not be told or was lost: there is none
// in a cluster of a size that works. A machine that stalls is not among them.
func (s *Site) Complaints() (lines []string) {
	for _, n := range s.W.Nodes() {
		b, err := os.ReadFile(n.Dir() + "/" + lab.AgentLog + ".log")
		if err != nil {
			continue // never started
		}
		for line := range strings.Lines(string(b)) {
			for _, words := range []string{"cannot tell the peers", "larger than allowed", "faster than they could be read", "handler queue full", "streams are open", "too many events"} {
				if strings.Contains(line, words) {
					lines = append(lines, n.Name+": "+strings.TrimSpace(line))
				}
			}
		}
	}
	return lines
}

// lastWords is what the agents said, for an error.
func (s *Site) lastWords(n *lab.Node) string {
	b, err := os.ReadFile(n.Dir() + "/" + lab.AgentLog + ".log")
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-trouble):], "\n")
}
