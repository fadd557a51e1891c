package template

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

// StartPatience is how long an agent that has just started, or hears a majority
// again, waits to hear every node (chosen by us: joining takes well below a second; a node that is down is
// down for longer).
const StartPatience = 5 * time.Second

// Health is the judgement over a check on a node.
type Health int

// The judgements.
const (
	Unknown Health = iota // has not answered yet, or its agent is not heard
	Passing
	Failing
)

// A Node is one configured machine in a View.
type Node struct {
	Name        string
	Address     netip.Addr
	Run         string // its agent's run id; the same over a restart of the agent
	Alive       bool   // its agent is heard
	Maintenance bool
	Checks      map[string]Health // of the checks that run there
}

// A Group is one group in a View.
type Group struct {
	Name      string
	Owner     string // empty: nobody, as far as is known
	Addresses []netip.Addr
}

// A View is the cluster as one node knows it. It is a value: nobody changes it, or
// what it refers to, after it was handed on.
type View struct {
	Cluster string
	Self    string
	Nodes   []Node   // sorted by name
	Groups  []Group  // sorted by name
	Checks  []string // the names of all configured checks, sorted

	Voters, Heard, Needed int // voters there are, are heard (this node included), and are a majority
	// Waiting names the nodes of which an agent that has just started, or that was
	// cut off, has not heard all that there is to know; empty after StartPatience.
	Waiting []string
	// Doubt: a node went down, and a majority has yet to answer since.
	Doubt bool
}

// Equal reports whether two views show the same.
func (v View) Equal(w View) bool {
	return v.Cluster == w.Cluster && v.Self == w.Self && v.Voters == w.Voters && v.Heard == w.Heard && v.Needed == w.Needed && v.Doubt == w.Doubt &&
		slices.Equal(v.Checks, w.Checks) && slices.Equal(v.Waiting, w.Waiting) &&
		slices.EqualFunc(v.Nodes, w.Nodes, func(a, b Node) bool {
			return a.Name == b.Name && a.Address == b.Address && a.Run == b.Run && a.Alive == b.Alive && a.Maintenance == b.Maintenance &&
				maps.Equal(a.Checks, b.Checks)
		}) &&
		slices.EqualFunc(v.Groups, w.Groups, func(a, b Group) bool {
			return a.Name == b.Name && a.Owner == b.Owner && slices.Equal(a.Addresses, b.Addresses)
		})
}

// After returns v with what is unknown for a moment as it was in last: a restart of
// an agent, which keeps its run id, begins with checks that have not answered. An
// agent that was given up, or a machine that has booted, begins anew.
func (v View) After(last View) View {
	v.Nodes = slices.Clone(v.Nodes)
	for i := range v.Nodes {
		n := &v.Nodes[i]
		j := slices.IndexFunc(last.Nodes, func(m Node) bool { return m.Name == n.Name })
		if j < 0 || !n.Alive || !last.Nodes[j].Alive || n.Run != last.Nodes[j].Run {
			continue
		}
		checks := maps.Clone(n.Checks)
		for name, health := range checks {
			if before, ran := last.Nodes[j].Checks[name]; ran && health == Unknown {
				checks[name] = before
			}
		}
		n.Checks = checks
	}
	return v
}

// healthy reports whether a node passes a check and may be given work.
func (n Node) healthy(check string) bool {
	return n.Alive && !n.Maintenance && n.Checks[check] == Passing
}
