package template

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"text/template"
)

// functions are those that docs/templates.md documents.
func (s *scope) functions() template.FuncMap {
	return template.FuncMap{
		"healthy":  s.healthy,
		"owner":    s.owner,
		"nodes":    func() []machine { return s.machines(func(Node) bool { return true }) },
		"alive":    func() []machine { return s.machines(func(n Node) bool { return n.Alive }) },
		"self":     func() (machine, error) { return s.machine(s.view.Self) },
		"cluster":  func() string { return s.view.Cluster },
		"groups":   s.groups,
		"group":    s.group,
		"hostport": hostport,
	}
}

// A machine is a node in the hands of a template.
type machine struct {
	Name        string
	Address     netip.Addr
	Alive       bool
	Maintenance bool

	node  Node
	scope *scope
}

// String is the name: {{owner "db"}}.
func (m machine) String() string { return m.Name }

// Healthy tells whether the node passes a check. In contrast to the function
// healthy, a template that uses it may say "none".
func (m machine) Healthy(check string) (bool, error) {
	if err := m.scope.knows("check", check, m.scope.view.Checks); err != nil {
		return false, err
	}
	return m.node.healthy(check), nil
}

// A claim is a group in the hands of a template.
type claim struct {
	Name      string
	Owner     string // empty: nobody
	Addresses []netip.Addr
}

func (s *scope) machines(want func(Node) bool) []machine {
	var list []machine
	for _, n := range s.view.Nodes {
		if want(n) {
			list = append(list, machine{Name: n.Name, Address: n.Address, Alive: n.Alive, Maintenance: n.Maintenance, node: n, scope: s})
		}
	}
	return list
}

func (s *scope) machine(name string) (machine, error) {
	list := s.machines(func(n Node) bool { return n.Name == name })
	if len(list) == 0 {
		return machine{}, fmt.Errorf("no node %q", name)
	}
	return list[0], nil
}

// healthy returns the nodes that pass a check. That there is none is no reason to
// write it: see the package documentation.
func (s *scope) healthy(check string) ([]machine, error) {
	if err := s.knows("check", check, s.view.Checks); err != nil {
		return nil, err
	}
	list := s.machines(func(n Node) bool { return n.healthy(check) })
	if len(list) == 0 {
		s.lack("no node passes check %s", check)
	}
	return list, nil
}

func (s *scope) owner(group string) (machine, error) {
	g, err := s.group(group)
	if err != nil {
		return machine{}, err
	}
	if g.Owner == "" {
		s.lack("nobody owns %s", group)
		return machine{scope: s}, nil
	}
	return s.machine(g.Owner)
}

func (s *scope) groups() []claim {
	var list []claim
	for _, g := range s.view.Groups {
		list = append(list, claim{g.Name, g.Owner, slices.Clone(g.Addresses)})
	}
	return list
}

func (s *scope) group(name string) (claim, error) {
	var names []string
	for _, g := range s.groups() {
		if g.Name == name {
			return g, nil
		}
		names = append(names, g.Name)
	}
	return claim{}, s.knows("group", name, names)
}

// knows refuses a name that the config does not have: a typing error must not look
// like a service that is down everywhere.
func (s *scope) knows(what, name string, names []string) error {
	if slices.Contains(names, name) {
		return nil
	}
	if len(names) == 0 {
		return fmt.Errorf("no %s %q: the config has none", what, name)
	}
	return fmt.Errorf("no %s %q; there is %s", what, name, strings.Join(names, ", "))
}

// hostport puts an IPv6 address into brackets. host is a node, or an address.
func hostport(host any, port int) (string, error) {
	if port < 1 || port > 65535 {
		return "", fmt.Errorf("%d is not a port", port)
	}
	switch h := host.(type) {
	case machine:
		return net.JoinHostPort(h.Address.String(), strconv.Itoa(port)), nil
	case netip.Addr:
		return net.JoinHostPort(h.String(), strconv.Itoa(port)), nil
	case string:
		return net.JoinHostPort(h, strconv.Itoa(port)), nil
	}
	return "", fmt.Errorf("%T is neither a node nor an address", host)
}
