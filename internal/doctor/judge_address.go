package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/hbagent/hbagent/internal/control"
)

// judgeManagers: who else manages the interface, and what it does to floating addresses.
func judgeManagers(s *sheet, f *Facts) {
	for _, id := range []string{"networkd", "networkmanager", "ifupdown", "cloud-init"} {
		found := false
		for _, m := range f.Managers {
			if m.ID != id || m.Harm == "" {
				continue
			}
			found = true
			s.warn(id, m.Interface, m.Do, "%s (%s)", m.Harm, m.File)
		}
		if !found {
			s.ok(id, "", "nothing to fear from %s", id)
		}
	}
	for _, w := range f.Written {
		s.problem("address-configured", w.Addr.String(), "take it out there: the agents alone may add it", "%s stands in %s", w.Addr, w.File)
	}
	if len(f.Written) == 0 {
		s.ok("address-configured", "", "no floating address stands in the network's configuration")
	}
}

// judgeAddresses looks for floating addresses that the agent did not add.
func judgeAddresses(s *sheet, f *Facts) {
	groups := floating(f.Config)
	clean := true
	look := func(where string, list []Address) {
		for _, a := range list {
			if groups[a.Addr()] == "" || !a.Permanent {
				continue
			}
			clean = false
			s.problem("address-permanent", a.Addr().String(), fmt.Sprintf("find out who adds it, then: ip address del %s dev %s", a.Prefix, where),
				"the floating address %s is on %s without a lifetime: it was added by hand or by a network manager, and stays when another node takes %s",
				a.Prefix, where, groups[a.Addr()])
		}
	}
	for _, l := range append(f.sortedLinks(), f.Others...) {
		look(l.Name, l.Addrs)
	}
	look("lo", f.Lo)
	if clean {
		s.ok("address-permanent", "", "no floating address is here but the agent's")
	}
}

// judgeWire looks at who answers for floating addresses.
func judgeWire(s *sheet, f *Facts) {
	for _, iface := range f.interfaces() {
		l := f.Links[iface]
		if !l.Exists || !l.Up || !l.Carrier || !l.Ethernet {
			s.skip("address-in-use", iface, iface+" carries nothing")
			continue
		}
		w := f.Wire[iface]
		if w.Why != "" {
			for _, id := range []string{"address-in-use", "address-silent", "proxy-arp"} {
				s.skip(id, iface, w.Why)
			}
			continue
		}
		proxy := judgeProxy(s, iface, w)
		for _, g := range f.on(iface) {
			for _, p := range g.Addresses {
				if p.Addr().Is6() && l.NoIPv6 {
					continue // nobody was asked, and ipv6-disabled says it
				}
				judgeClaims(s, f, g.Name, iface, p.Addr(), proxy)
			}
		}
	}
}

const proxyOff = "switch proxy ARP off there (on Linux: sysctl net.ipv4.conf.IFACE.proxy_arp=0), or narrow its routes"

// judgeProxy returns the hardware address that answers for everything, or "".
func judgeProxy(s *sheet, iface string, w Wire) string {
	answers := map[string]int{}
	for _, c := range w.Claims {
		if slices.Contains(w.Decoys, c.Addr) {
			answers[c.MAC]++
		}
	}
	for mac, n := range answers {
		if n > 1 && n == len(w.Decoys) {
			s.warn("proxy-arp", iface, proxyOff,
				"%s answers on %s for addresses that nobody has (%s): asking whether an address is in use, or whether a witness lives, proves nothing",
				describeMAC(mac), iface, list(w.Decoys))
			return mac
		}
	}
	if len(w.Decoys) > 1 && w.Proxied == len(w.Decoys) {
		s.warn("proxy-arp", iface, proxyOff, "somebody answers on %s for addresses that nobody has (%s): that a witness answers proves nothing, and clients may be sent to the wrong machine",
			iface, list(w.Decoys))
		return ""
	}
	if len(w.Decoys) > 0 {
		s.ok("proxy-arp", iface, "nobody answers for addresses that nobody has")
	}
	return ""
}

// judgeClaims is about one floating address on one segment.
func judgeClaims(s *sheet, f *Facts, group, iface string, a netip.Addr, proxy string) {
	const id = "address-in-use"
	nodes := nodeMACs(f, iface)
	owner, sure := f.Agent.owner(group)
	var strange, others, owners []string
	answers := 0
	for _, c := range f.Wire[iface].Claims {
		answers += claimed(c, a)
		switch {
		case c.Addr != a || c.MAC == proxy:
		case nodes[c.MAC] == "":
			strange = append(strange, c.MAC)
		case nodes[c.MAC] == owner || !f.Agent.Running:
			owners = append(owners, c.MAC)
		case alive(f.Agent.After, nodes[c.MAC]):
			others = append(others, c.MAC)
		default: // this node does not hear it, so what the agent knows of owners is old
		}
	}
	// The owner may have its own address in another network: then its card here is not known, and one unknown
	// machine that answers is the owner.
	ownerKnown := owner == "" || owner == f.Node || slices.ContainsFunc(keys(nodes), func(mac string) bool { return nodes[mac] == owner })
	switch {
	case len(strange) == 1 && len(owners) == 0 && (f.Agent.Running && !ownerKnown || !f.Agent.Running && len(nodes) <= 1):
		s.ok(id, a.String(), "%s is where %s is expected to be", a, owner)
	case len(strange) > 0:
		s.problem(id, a.String(), "find that machine ("+strange[0]+") and take the address off it",
			"%s answers for %s on %s, and is no node of this cluster", describeMAC(strange[0]), a, iface)
	case len(others) > 0 && sure:
		s.problem(id, a.String(), fmt.Sprintf("on %s: ip address; hbagent status", nodes[others[0]]),
			"%s (%s) answers for %s, and %s", nodes[others[0]], others[0], a, owns(owner))
	default:
		s.ok(id, a.String(), "nobody but its owner answers for %s", a)
	}
	switch {
	case !f.Agent.Running || !sure || owner == "" || owner == f.Node:
	case answers == 0 && proxy == "":
		s.problem("address-silent", a.String(), fmt.Sprintf("on %s: sysctl net.ipv4.conf.all.arp_ignore, and the port of its switch or hypervisor (MAC filter, anti-spoofing)", owner),
			"%s owns %s, and nobody answers for %s on %s", owner, group, a, iface)
	default:
		s.ok("address-silent", a.String(), "its owner answers for %s", a)
	}
}

// claimed is 1 for an answer about an address.
func claimed(c Claim, a netip.Addr) int {
	if c.Addr == a && !c.Announced {
		return 1
	}
	return 0
}

// alive tells whether the answering node hears another one.
func alive(s control.Status, node string) bool {
	return slices.ContainsFunc(s.Nodes, func(n control.Node) bool { return n.Name == node && n.Alive })
}

func owns(owner string) string {
	if owner == "" {
		return "nobody owns it"
	}
	return owner + " owns it"
}

// nodeMACs are the hardware addresses of nodes on a segment: by their answers for their own addresses.
func nodeMACs(f *Facts, iface string) map[string]string {
	macs := map[string]string{f.Links[iface].MAC: f.Node}
	for _, c := range f.Wire[iface].Claims {
		for _, n := range f.Config.Nodes {
			if n.Address == c.Addr && n.Name != f.Node {
				macs[c.MAC] = n.Name
			}
		}
	}
	return macs
}

func keys(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// describeMAC adds what the first bytes tell (RFC 9568 section 7.3).
func describeMAC(mac string) string {
	if strings.HasPrefix(mac, "00:00:5e:00:01") || strings.HasPrefix(mac, "00:00:5e:00:02") {
		return mac + " (VRRP: keepalived or a router)"
	}
	return mac
}

func list(addrs []netip.Addr) string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.String()
	}
	return strings.Join(out, ", ")
}

// judgeRivals: others that manage a floating address.
func judgeRivals(s *sheet, f *Facts) {
	const id = "rival"
	groups := floating(f.Config)
	found := false
	for _, r := range f.Machine.Rivals {
		if len(r.Addresses) > 0 {
			found = true
			s.problem(id, r.Name, "stop it, or take the address out of "+r.Source, "%s runs here (process %d), and %s names %s",
				r.Name, r.PID, r.Source, list(r.Addresses))
		}
	}
	told := map[netip.Addr]bool{}
	for _, ad := range f.VRRP.Adverts {
		for _, a := range ad.Addresses {
			if groups[a] != "" && !told[a] {
				told[a], found = true, true
				s.problem(id, a.String(), "stop keepalived (or the router's VRRP) on "+ad.From.String()+", or take the address out of it",
					"%s advertises %s by VRRP (router id %d)", ad.From, a, ad.VRID)
			}
		}
	}
	switch {
	case found:
	case f.VRRP.Why != "":
		s.skip(id, "", "VRRP was not listened for: "+f.VRRP.Why)
	default:
		s.ok(id, "", "nobody else manages a floating address (VRRP listened for %v)", f.VRRP.For)
	}
}
