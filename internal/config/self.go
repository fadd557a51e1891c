package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// ErrNotAMember: this machine is none of the configured nodes, or more than one.
var ErrNotAMember = errors.New("this machine is not a node of the cluster")

// Self finds the node that this machine is: by nodeFlag (--node) if it is not empty,
// else by hostname, whole or up to its first dot, else by the local addresses. Names
// are compared without regard to case, as host names are. Errors wrap ErrNotAMember
// and list the configured names.
func (c *Config) Self(nodeFlag, hostname string, local []netip.Addr) (Node, error) {
	if nodeFlag != "" {
		if n, ok := c.named(nodeFlag); ok {
			return n, nil
		}
		return Node{}, fmt.Errorf("%w: --node %s is not in %s; its nodes are: %s", ErrNotAMember, nodeFlag, c.File, c.nodeNames())
	}
	short, _, _ := strings.Cut(hostname, ".")
	for _, name := range []string{hostname, short} {
		if n, ok := c.named(name); ok {
			return n, nil
		}
	}
	var mine []Node
	for _, n := range c.Nodes {
		if slices.ContainsFunc(local, func(a netip.Addr) bool { return a.Unmap().WithZone("") == n.Address }) {
			mine = append(mine, n)
		}
	}
	switch len(mine) {
	case 1:
		return mine[0], nil
	case 0:
		return Node{}, fmt.Errorf("%w: neither its host name %q nor one of its addresses is in %s, whose nodes are: %s; correct the file, or say which it is with --node",
			ErrNotAMember, hostname, c.File, c.nodeNames())
	}
	return Node{}, fmt.Errorf("%w: it has the addresses of %s and of %s; say which it is with --node", ErrNotAMember, mine[0].Name, mine[1].Name)
}

// named prefers the exact name, for two nodes that differ by case only.
func (c *Config) named(name string) (Node, bool) {
	if n, ok := c.Node(name); ok {
		return n, true
	}
	i := slices.IndexFunc(c.Nodes, func(n Node) bool { return strings.EqualFold(n.Name, name) })
	if i < 0 {
		return Node{}, false
	}
	return c.Nodes[i], true
}

func (c *Config) nodeNames() string {
	names := make([]string, len(c.Nodes))
	for i, n := range c.Nodes {
		names[i] = fmt.Sprintf("%s (%s)", n.Name, n.Address)
	}
	return strings.Join(names, ", ")
}
