package setup

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/detect"
	"github.com/hbagent/hbagent/internal/draft"
)

// A Setup is a site in the making.
type Setup struct {
	File    string // where the config goes
	KeyFile string
	DSNFile string // of a mysql check
	Machine detect.Machine
	Prior   *config.Config // what stands in File now; nil if nothing that can be read does

	Cluster    string
	Nodes      []draft.Node
	Addresses  []string
	Group      string
	Owners     []string
	Interface  string
	Interfaces map[string]string // instead of Interface
	Witness    netip.Addr
	TTL        time.Duration
	TTLWhy     string
	Checks     []Choice
}

// errEmpty: nothing was said.
var errEmpty = errors.New("give a value")

// SetCluster takes the cluster's name.
func (s *Setup) SetCluster(name string) error {
	return s.try(func(n *Setup) error {
		n.Cluster = name
		if name == "" {
			return errEmpty
		}
		return nil
	})
}

// AddNode takes "name=address" or "name address".
func (s *Setup) AddNode(text string) error {
	name, address, ok := strings.Cut(strings.TrimSpace(text), "=")
	if !ok {
		name, address, ok = strings.Cut(strings.TrimSpace(text), " ")
	}
	if !ok {
		return fmt.Errorf("%q is not a node: write its name and its own address, as in web1=10.0.0.11", text)
	}
	return s.try(func(n *Setup) error {
		n.Nodes = append(slices.Clone(s.Nodes), draft.Node{Name: strings.TrimSpace(name), Address: strings.TrimSpace(address)})
		return nil
	})
}

// AddAddress takes a floating address. Without a length it gets that of the network it belongs to on this machine.
func (s *Setup) AddAddress(text string) error {
	text = strings.TrimSpace(text)
	if addr, err := netip.ParseAddr(text); err == nil {
		if _, networks := s.Machine.Network.Containing(addr); len(networks) > 0 {
			text = netip.PrefixFrom(addr, networks[0].Bits()).String()
		}
	}
	return s.try(func(n *Setup) error {
		n.Addresses = append(slices.Clone(s.Addresses), text)
		return nil
	})
}

// SetGroup takes the name of the group of addresses.
func (s *Setup) SetGroup(name string) error {
	return s.try(func(n *Setup) error {
		n.Group = name
		if name == "" {
			return errEmpty
		}
		return nil
	})
}

// SetOwners takes the names of the nodes that may own the addresses, in order of preference.
func (s *Setup) SetOwners(text string) error {
	return s.try(func(n *Setup) error {
		n.Owners = List(text)
		if len(n.Owners) == 0 {
			return errEmpty
		}
		return nil
	})
}

// SetInterface takes one name for all nodes, or "web1=eth0,web2=ens3".
func (s *Setup) SetInterface(text string) error {
	return s.try(func(n *Setup) error {
		n.Interface, n.Interfaces = strings.TrimSpace(text), nil
		if n.Interface == "" {
			return errEmpty
		}
		if !strings.Contains(text, "=") {
			return nil
		}
		n.Interface, n.Interfaces = "", map[string]string{}
		for _, part := range List(text) {
			node, name, ok := strings.Cut(part, "=")
			if !ok {
				return fmt.Errorf("%q: write one name for all nodes, or node=name for each of them", text)
			}
			n.Interfaces[node] = name
		}
		return nil
	})
}

// None is the answer for "not this".
const None = "-"

// SetWitness takes an address, or None.
func (s *Setup) SetWitness(text string) error {
	text = strings.TrimSpace(text)
	return s.try(func(n *Setup) error {
		n.Witness = netip.Addr{}
		switch {
		case text == None:
			return nil
		case text == "":
			return errEmpty
		case len(s.Nodes) != 2:
			return fmt.Errorf("a witness decides between exactly two voters, and there are %d: a majority decides", len(s.Nodes))
		}
		var err error
		if n.Witness, err = netip.ParseAddr(text); err != nil {
			return fmt.Errorf("%q is not an address: give the gateway's, as in 10.0.0.1", text)
		}
		return nil
	})
}

// SetTTL takes a duration.
func (s *Setup) SetTTL(text, why string) error {
	return s.try(func(n *Setup) error {
		var err error
		if n.TTL, err = time.ParseDuration(strings.TrimSpace(text)); err != nil || n.TTL <= 0 {
			return fmt.Errorf("%q is not a duration: write a number with a unit, as in 1s or 500ms", text)
		}
		n.TTLWhy = why
		return nil
	})
}

// try changes a copy, and takes it over if config has nothing against it.
func (s *Setup) try(change func(*Setup) error) error {
	next := *s
	if err := change(&next); err != nil {
		return err
	}
	if err := next.judge(); err != nil {
		return err
	}
	*s = next
	return nil
}

// judge asks config about what there is, with stand-ins for what there is not yet.
func (s *Setup) judge() error {
	d := s.Draft()
	if d.Cluster == "" {
		d.Cluster = "x"
	}
	if d.KeyFile == "" {
		d.KeyFile = "/x"
	}
	if len(d.Nodes) == 0 {
		d.Nodes = []draft.Node{{Name: "x", Address: "192.0.2.1"}}
	}
	g := &d.Groups[0]
	if g.Name == "" {
		g.Name = "x"
	}
	if len(g.Nodes) == 0 {
		g.Nodes = []string{d.Nodes[0].Name}
	}
	if len(g.Addresses) == 0 {
		g.Addresses = []string{"198.51.100.1/24"}
	}
	if g.Interface == "" && g.Interfaces == nil {
		g.Interface = "x"
	}
	_, err := d.Parsed(s.File)
	var problems config.Problems
	if errors.As(err, &problems) {
		p := problems[0]
		if p.Hint == "" {
			return errors.New(p.Message)
		}
		return fmt.Errorf("%s: %s", p.Message, p.Hint)
	}
	return err
}

// List splits at commas and spaces.
func List(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
}
