package setup

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/draft"
)

// Draft is the config of what was said so far.
func (s *Setup) Draft() draft.Draft {
	self := s.Self()
	madeOn := ""
	if self != "" {
		madeOn = " on " + self
	}
	d := draft.Draft{
		Intro: []string{
			s.File + ": the same file on every node. Made by `hbagent init`" + madeOn + ".",
			"Check it with `hbagent config check FILE`; every key is explained by",
			"`hbagent config reference`.",
		},
		Cluster: s.Cluster, KeyFile: s.KeyFile, TTL: s.TTL, TTLWhy: s.TTLWhy, Witness: s.Witness,
		Nodes: slices.Clone(s.Nodes),
	}
	if s.Prior != nil {
		if s.Prior.Cluster.Port != config.DefaultPort {
			d.Port = s.Prior.Cluster.Port
		}
		d.Generation = s.Prior.Lease.Generation
		if len(s.VotersChanged()) > 0 {
			d.Generation++
		}
	}
	for i, n := range d.Nodes {
		if !slices.Contains(s.Owners, n.Name) && len(s.Owners) > 0 {
			d.Nodes[i].Comment = "votes, and owns nothing"
		}
	}
	g := draft.Group{Name: s.Group, Addresses: s.Addresses, Nodes: s.Owners, NodesWhy: "may own it, in order of preference",
		Interface: s.Interface, Interfaces: s.Interfaces}
	if s.Interfaces == nil && len(s.Owners) > 1 {
		g.IfaceWhy = fmt.Sprintf("or a table per node: { %s = %q, ... }", s.Owners[0], s.Interface)
	}
	for _, c := range s.Checks {
		if !c.Moves && !c.Off {
			c.Optional = true
		}
		d.Checks = append(d.Checks, c.Check)
		if c.Moves {
			g.Checks = append(g.Checks, c.Name)
			g.ChecksWhy = "that the owner must pass"
		}
	}
	if len(g.Checks) == 0 {
		g.Comment = []string{
			"No check moves this group: it follows dead machines, and not dead services.",
			"Add a [[check]] that runs on " + strings.Join(s.Owners, " and ") + ", and name it here: checks = [\"...\"].",
		}
	}
	d.Groups = []draft.Group{g}
	return d
}

// VotersChanged lists the nodes that are in the config that stands there and not in this one, or the other way round.
func (s *Setup) VotersChanged() []string {
	if s.Prior == nil || len(s.Nodes) == 0 {
		return nil
	}
	var changed []string
	old := s.Prior.Voters()
	for _, n := range s.Nodes {
		if !slices.Contains(old, n.Name) {
			changed = append(changed, "+"+n.Name)
		}
	}
	for _, name := range old {
		if !slices.ContainsFunc(s.Nodes, func(n draft.Node) bool { return n.Name == name }) {
			changed = append(changed, "-"+name)
		}
	}
	return changed
}

// Has tells whether a check of that type is in the config, and on which nodes.
func (s *Setup) Has(typ string) (nodes []string, ok bool) {
	for _, c := range s.Checks {
		if c.Type == typ && !c.Off {
			nodes, ok = append(nodes, c.Nodes...), true
		}
	}
	return nodes, ok
}
