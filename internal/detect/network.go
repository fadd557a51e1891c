package detect

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A Network is what this machine is connected to.
type Network struct {
	Links    []Link
	Gateways []Gateway // of the default routes, the best first
}

// A Link is a network interface.
type Link struct {
	Name     string
	Up       bool
	Loopback bool
	Prefixes []netip.Prefix // its addresses with the lengths of their networks, link-local ones left away
}

// A Gateway is where a default route leads.
type Gateway struct {
	Interface string
	Addr      netip.Addr
}

// LookNetwork reads interfaces and routes from the kernel.
func LookNetwork() (Network, error) {
	var n Network
	ifaces, err := net.Interfaces()
	if err != nil {
		return n, fmt.Errorf("read the interfaces: %w", err)
	}
	names := map[int]string{}
	for _, i := range ifaces {
		names[i.Index] = i.Name
		l := Link{Name: i.Name, Up: i.Flags&net.FlagUp != 0, Loopback: i.Flags&net.FlagLoopback != 0}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it has gone meanwhile
		}
		for _, a := range addrs {
			if p, ok := prefixOf(a); ok && !p.Addr().IsLinkLocalUnicast() {
				l.Prefixes = append(l.Prefixes, p)
			}
		}
		n.Links = append(n.Links, l)
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		if err != nil {
			continue // no IPv6, for example
		}
		slices.SortStableFunc(routes, func(a, b netlink.Route) int { return a.Priority - b.Priority })
		for _, r := range routes {
			gw, ok := netip.AddrFromSlice(r.Gw)
			if everywhere := r.Dst == nil || r.Dst.IP.IsUnspecified() && allZero(r.Dst.Mask); ok && everywhere && !gw.IsLinkLocalUnicast() {
				n.Gateways = append(n.Gateways, Gateway{names[r.LinkIndex], gw.Unmap()})
			}
		}
	}
	return n, nil
}

func allZero(mask net.IPMask) bool {
	ones, _ := mask.Size()
	return ones == 0
}

func prefixOf(a net.Addr) (netip.Prefix, bool) {
	ipnet, ok := a.(*net.IPNet)
	if !ok {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(ipnet.IP)
	ones, bits := ipnet.Mask.Size()
	if !ok || bits == 0 {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr.Unmap(), ones), true
}

// Containing returns the links one of whose networks has addr in it, and that network: the longest first.
func (n Network) Containing(addr netip.Addr) (links []Link, networks []netip.Prefix) {
	type found struct {
		link Link
		net  netip.Prefix
	}
	var all []found
	for _, l := range n.Links {
		for _, p := range l.Prefixes {
			// An address of its own network only (a floating one, held right now) connects with nobody.
			if !l.Loopback && p.Bits() < p.Addr().BitLen() && p.Contains(addr) {
				all = append(all, found{l, p})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b found) int { return b.net.Bits() - a.net.Bits() })
	for _, f := range all {
		if !slices.ContainsFunc(links, func(l Link) bool { return l.Name == f.link.Name }) {
			links, networks = append(links, f.link), append(networks, f.net)
		}
	}
	return links, networks
}

// Own returns this machine's addresses that connect it with others, those on the way of the first default
// route first.
func (n Network) Own() []netip.Prefix {
	var first, rest []netip.Prefix
	for _, l := range n.Links {
		if l.Loopback || !l.Up {
			continue
		}
		for _, p := range l.Prefixes {
			switch {
			case p.Bits() == p.Addr().BitLen():
			case len(n.Gateways) > 0 && l.Name == n.Gateways[0].Interface && p.Addr().Is4() == n.Gateways[0].Addr.Is4():
				first = append(first, p)
			default:
				rest = append(rest, p)
			}
		}
	}
	return append(first, rest...)
}

// Has tells whether addr is one of this machine's.
func (n Network) Has(addr netip.Addr) bool {
	return slices.ContainsFunc(n.Links, func(l Link) bool {
		return slices.ContainsFunc(l.Prefixes, func(p netip.Prefix) bool { return p.Addr() == addr })
	})
}

// GatewayOn returns the gateway that is a neighbour on the network of addr, if there is one.
func (n Network) GatewayOn(addr netip.Addr) (netip.Addr, bool) {
	_, networks := n.Containing(addr)
	for _, g := range n.Gateways {
		if slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(g.Addr) }) {
			return g.Addr, true
		}
	}
	return netip.Addr{}, false
}
