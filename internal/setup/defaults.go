package setup

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// DefaultCluster is the name that the cluster has, or one made of this machine's domain.
func (s *Setup) DefaultCluster() string {
	if s.Prior != nil {
		return s.Prior.Cluster.Name
	}
	if _, domain, ok := strings.Cut(s.Machine.Hostname, "."); ok {
		if first, _, _ := strings.Cut(domain, "."); first != "" && first != "localdomain" {
			return first
		}
	}
	return "site"
}

// DefaultNode is this machine, as AddNode takes it; "" if it has no address of its own.
func (s *Setup) DefaultNode() string {
	own := s.Machine.Network.Own()
	name, _, _ := strings.Cut(s.Machine.Hostname, ".")
	if len(own) == 0 || name == "" {
		return ""
	}
	return name + "=" + own[0].Addr().String()
}

// Self is the name of the node that this machine is, or "".
func (s *Setup) Self() string {
	short, _, _ := strings.Cut(s.Machine.Hostname, ".")
	for _, name := range []string{s.Machine.Hostname, short} {
		for _, n := range s.Nodes {
			if strings.EqualFold(n.Name, name) && name != "" {
				return n.Name
			}
		}
	}
	for _, n := range s.Nodes {
		if addr, err := netip.ParseAddr(n.Address); err == nil && s.Machine.Network.Has(addr) {
			return n.Name
		}
	}
	return ""
}

// DefaultGroup is "web" unless the machines are of another kind only.
func (s *Setup) DefaultGroup() string {
	stems := map[string]int{}
	for _, n := range s.Nodes {
		stems[stem(n.Name)]++
	}
	if stems["web"] == 0 {
		for _, n := range s.Nodes {
			if st := stem(n.Name); stems[st] > 1 {
				return st
			}
		}
	}
	return "web"
}

// DefaultOwners are the machines that are named alike, since they usually do the same: as the group, else as this
// machine. Where that tells nothing it is all of them.
func (s *Setup) DefaultOwners() []string {
	for _, want := range []string{s.Group, stem(s.Self())} {
		var alike []string
		for _, n := range s.Nodes {
			if want != "" && strings.EqualFold(stem(n.Name), want) {
				alike = append(alike, n.Name)
			}
		}
		if len(alike) > 1 {
			return alike
		}
	}
	var all []string
	for _, n := range s.Nodes {
		all = append(all, n.Name)
	}
	return all
}

// stem is a name without the number at its end: "web" of "web1" and "web-01".
func stem(name string) string {
	return strings.TrimRight(strings.TrimRight(name, "0123456789"), "-_.")
}

// DefaultInterface is the interface on whose networks the floating addresses are; else that of this node's own
// address, or "". doubt says why it may be wrong.
func (s *Setup) DefaultInterface() (name, doubt string) {
	var names []string
	for _, text := range s.Addresses {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			continue
		}
		links, networks := s.Machine.Network.Containing(p.Addr())
		if len(links) == 0 {
			doubt = fmt.Sprintf("%s is in none of this machine's networks (%s)", p.Addr(), s.networks())
			continue
		}
		if networks[0].Bits() != p.Bits() {
			doubt = fmt.Sprintf("the network of %s on this machine is %s", text, networks[0].Masked())
		}
		if !slices.Contains(names, links[0].Name) {
			names = append(names, links[0].Name)
		}
	}
	if len(names) > 1 {
		doubt = fmt.Sprintf("the addresses belong to different interfaces (%s): make a group of each", strings.Join(names, ", "))
	}
	if len(names) > 0 {
		return names[0], doubt
	}
	for _, n := range s.Nodes {
		if addr, err := netip.ParseAddr(n.Address); err == nil && n.Name == s.Self() {
			if links, _ := s.Machine.Network.Containing(addr); len(links) > 0 {
				return links[0].Name, doubt
			}
		}
	}
	return "", doubt
}

func (s *Setup) networks() string {
	var all []string
	for _, l := range s.Machine.Network.Links {
		for _, p := range l.Prefixes {
			if !l.Loopback && p.Bits() < p.Addr().BitLen() {
				all = append(all, fmt.Sprintf("%s on %s", p.Masked(), l.Name))
			}
		}
	}
	if len(all) == 0 {
		return "it has none"
	}
	return strings.Join(all, ", ")
}

// DefaultWitness is the gateway on the floating addresses' network, or None.
func (s *Setup) DefaultWitness() string {
	for _, text := range s.Addresses {
		if p, err := netip.ParsePrefix(text); err == nil {
			if gw, ok := s.Machine.Network.GatewayOn(p.Addr()); ok && !s.isNode(gw) {
				return gw.String()
			}
		}
	}
	return None
}

func (s *Setup) isNode(a netip.Addr) bool {
	for _, n := range s.Nodes {
		if addr, err := netip.ParseAddr(n.Address); err == nil && addr == a {
			return true
		}
	}
	return false
}

// Peers are the addresses of the other nodes.
func (s *Setup) Peers() []netip.Addr {
	var peers []netip.Addr
	for _, n := range s.Nodes {
		if addr, err := netip.ParseAddr(n.Address); err == nil && n.Name != s.Self() {
			peers = append(peers, addr)
		}
	}
	return peers
}
