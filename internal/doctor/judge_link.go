package doctor

import (
	"fmt"
	"net/netip"
)

func judgeLinks(s *sheet, f *Facts) {
	judgeNodeAddress(s, f)
	for _, name := range f.interfaces() {
		judgeLink(s, f, name)
	}
}

func judgeLink(s *sheet, f *Facts, name string) {
	l := f.Links[name]
	switch {
	case !l.Exists:
		s.problem("interface", name, "correct `interface` of the group; `ip link` shows the names", "there is no interface %s on this machine", name)
		return
	case !l.Ethernet:
		s.problem("interface", name, "name the interface of the network that the clients are on", "%s has no Ethernet address: nobody can find a floating address there", name)
		return
	}
	s.ok("interface", name, "%s exists", name)
	if !l.Up {
		s.problem("interface-up", name, "ip link set "+name+" up", "%s is down", name)
	} else {
		s.ok("interface-up", name, "%s is up", name)
		if !l.Carrier {
			s.problem("carrier", name, "look at the cable, or at the port of the switch or hypervisor", "%s has no carrier", name)
		} else {
			s.ok("carrier", name, "%s has a carrier", name)
		}
	}
	judgeSysctls(s, f, l)
	for _, g := range f.on(name) {
		for _, p := range g.Addresses {
			judgeNetwork(s, l, p)
		}
	}
}

// judgeNetwork: a floating address is added as /32; what connects it with its neighbours is another address of the
// network.
func judgeNetwork(s *sheet, l Link, p netip.Prefix) {
	a := p.Addr()
	if a.Is6() && l.NoIPv6 {
		return // said
	}
	if !l.Up && a.Is6() {
		return // the kernel has taken them all away
	}
	for _, have := range l.Addrs {
		if !have.IsSingleIP() && have.Contains(a) && have.Addr() != a {
			s.ok("network-address", a.String(), "%s has an address of the network of %s", l.Name, a)
			return
		}
	}
	s.warn("network-address", a.String(), "is it the right interface? otherwise give it an address of that network",
		"%s has no address in the network of %s: its neighbours are not reached directly", l.Name, p.Masked())
}

// arpNever is the value of arp_ignore with which the kernel answers for no local address.
const arpNever = 8

func judgeSysctls(s *sheet, f *Facts, l Link) {
	name := l.Name
	if l.ARP.Ignore >= arpNever {
		s.problem("arp-sysctl", name, fmt.Sprintf("sysctl -w net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.%s.arp_ignore=0, and in /etc/sysctl.d", name),
			"arp_ignore is %d on %s: the kernel answers for no address, so nobody finds the floating one", l.ARP.Ignore, name)
	} else if other := flux(f, l); other != "" && l.ARP.Ignore == 0 {
		s.warn("arp-sysctl", name, "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2, and in /etc/sysctl.d",
			"%s and %s are in the same network, and arp_ignore is 0: the kernel answers for the floating address on both, with two hardware addresses", name, other)
	} else {
		s.ok("arp-sysctl", name, "the kernel answers ARP on %s as it should", name)
	}
	if l.ARP.DropGratuitous {
		s.warn("gratuitous-arp", name, fmt.Sprintf("sysctl -w net.ipv4.conf.all.drop_gratuitous_arp=0 net.ipv4.conf.%s.drop_gratuitous_arp=0", name),
			"drop_gratuitous_arp is on for %s: as a client of a floating address this machine goes on talking to the old owner", name)
	} else {
		s.ok("gratuitous-arp", name, "announcements are heard on %s", name)
	}
	judgeReversePath(s, f, l)
	six := false
	for _, g := range f.on(name) {
		for _, p := range g.Addresses {
			six = six || p.Addr().Is6()
		}
	}
	if six && l.NoIPv6 {
		s.problem("ipv6-disabled", name, fmt.Sprintf("sysctl -w net.ipv6.conf.%s.disable_ipv6=0, or take the IPv6 address out of the group", name),
			"disable_ipv6 is on for %s, and a group has an IPv6 address there", name)
	} else {
		s.ok("ipv6-disabled", name, "nothing is in the way of IPv6 on %s", name)
	}
	if l.Bridge && l.BridgeNF {
		s.warn("bridge-netfilter", name, "sysctl -w net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0",
			"%s is a bridge, and its frames pass the packet filter: those of machines behind it look routed to the gate", name)
	} else {
		s.ok("bridge-netfilter", name, "frames on %s are not taken for routed ones", name)
	}
}

// flux is another interface in the same IPv4 network as a floating address of l, or "".
func flux(f *Facts, l Link) string {
	for _, other := range f.Others {
		if !other.Up || !other.Carrier {
			continue
		}
		for _, g := range f.on(l.Name) {
			for _, p := range g.Addresses {
				for _, a := range other.Addrs {
					if p.Addr().Is4() && a.Addr().Is4() && !a.IsSingleIP() && a.Contains(p.Addr()) {
						return other.Name
					}
				}
			}
		}
	}
	return ""
}

// strictRPF is the value of rp_filter that RFC 3704 calls strict.
const strictRPF = 1

func judgeReversePath(s *sheet, f *Facts, l Link) {
	if l.ARP.RPFilter == strictRPF && f.Routes.Default4 != "" && f.Routes.Default4 != l.Name {
		s.warn("rp-filter", l.Name, fmt.Sprintf("sysctl -w net.ipv4.conf.%s.rp_filter=2 net.ipv4.conf.all.rp_filter=2 (loose), or route clients by %s", l.Name, l.Name),
			"rp_filter is strict on %s, and the default route goes by %s: packets of clients from beyond a router are dropped on %s",
			l.Name, f.Routes.Default4, l.Name)
		return
	}
	s.ok("rp-filter", l.Name, "rp_filter on %s drops no client", l.Name)
}

func judgeNodeAddress(s *sheet, f *Facts) {
	if f.Node == "" {
		return
	}
	self, _ := f.Config.Node(f.Node)
	iface := ""
	for _, l := range append(f.sortedLinks(), f.Others...) {
		for _, a := range l.Addrs {
			if a.Addr() == self.Address {
				iface = l.Name
			}
		}
	}
	if iface == "" && !self.Address.IsLoopback() {
		s.problem("node-address", f.Node, "is the [[node]] address right, and the interface up? `ip address` shows what there is",
			"this node's address %s is not on this machine", self.Address)
		return
	}
	if w, asked := f.Wire[iface]; asked && w.Why == "" {
		for _, c := range w.Claims {
			if c.Addr == self.Address {
				s.problem("node-address", f.Node, "find the machine with "+c.MAC+" (a clone of this one?) and give it another address",
					"another machine, %s, has this node's address %s, too", describeMAC(c.MAC), self.Address)
				return
			}
		}
	}
	s.ok("node-address", f.Node, "%s is on %s", self.Address, iface)
}

// sortedLinks are the interfaces of groups, in the order of the config.
func (f *Facts) sortedLinks() []Link {
	var out []Link
	for _, name := range f.interfaces() {
		if l := f.Links[name]; l.Exists {
			out = append(out, l)
		}
	}
	return out
}
