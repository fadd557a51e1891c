package vip

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Chosen by us.
const (
	// TableName is the name of our tables in every family.
	TableName = "hbagent"
	// beforeNAT stands before connection tracking (-200) and destination NAT (-100), and after
	// the reassembly of fragments (-400).
	beforeNAT = -350
	// afterNAT stands behind source NAT (100) and the helpers (300).
	afterNAT = 350
	// maxPlainName leaves room for a prefix in the 255 bytes of a name.
	maxPlainName = 200
)

// Names in our tables. The chains and sets of a group carry its name behind these.
const (
	liveSet  = "live-"  // set: the group is live while its elements are
	toChain  = "to-"    // chain: packets to an address of the group
	ofChain  = "from-"  // chain: packets, or ARP and ND messages, from an address of the group
	egress   = "egress" // base chain of an interface: egress-eth0
	tokens   = "tokens"
	toIPv4   = "to-ipv4" // maps: address to chain
	toIPv6   = "to-ipv6"
	fromIPv4 = "from-ipv4"
	fromIPv6 = "from-ipv6"
)

// features are what the kernel has beyond what is needed.
type features struct {
	owner  bool // tables that nobody else can change, and that outlive us
	egress bool // chains for what leaves an interface, raw frames too
}

func (f features) families() []family {
	if f.egress {
		return []family{familyINet, familyARP, familyNetdev}
	}
	return []family{familyINet, familyARP}
}

// member is a group as the gate sees it.
type member struct {
	group  Group
	name   string // as it stands in names of chains and sets
	v4, v6 bool
}

func memberOf(g Group) member {
	m := member{group: g, name: plainName(g.Name)}
	for _, a := range g.addrs() {
		m.v4 = m.v4 || a.Is4()
		m.v6 = m.v6 || a.Is6()
	}
	return m
}

// plainName makes a name that nft reads and prints: letters, digits, "_", "." and "-" stay, what has others (or
// is very long) gets a hash behind a "/", which no plain name has, so that two names never become one.
func plainName(name string) string {
	plain := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '.', r == '-':
			return r
		}
		return '_'
	}, name)
	if plain == name && len(name) <= maxPlainName && name != "" {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return plain[:min(len(plain), maxPlainName)] + "/" + hex.EncodeToString(sum[:6])
}

// Keys of live elements: the protocol of the packet that is asked about. They are all that changes when a
// group is opened, renewed or shut, however many addresses it has.
var (
	keyIPv4    = []byte{unix.NFPROTO_IPV4}
	keyIPv6    = []byte{unix.NFPROTO_IPV6}
	keyARP     = []byte{unix.ETH_P_ARP >> 8, unix.ETH_P_ARP & 0xff}
	keyIPv6NDP = []byte{unix.ETH_P_IPV6 >> 8, unix.ETH_P_IPV6 & 0xff}
)

// liveKeys are the elements that a live group has in the table of a family; none where it has no business.
func (m member) liveKeys(f family) [][]byte {
	var keys [][]byte
	add := func(has bool, key []byte) {
		if has {
			keys = append(keys, key)
		}
	}
	switch f {
	case familyINet:
		add(m.v4, keyIPv4)
		add(m.v6, keyIPv6)
	case familyARP:
		add(m.v4, keyARP)
	case familyNetdev:
		add(m.v4, keyARP)
		add(m.v6, keyIPv6NDP)
	}
	return keys
}

// layout is what stands in the tables besides live elements and tokens.
type layout struct {
	features
	flags      uint32 // of the tables
	members    []member
	index      map[string]int // of members, by the group's name
	interfaces []string       // of egress chains: those that exist now
}

// build adds the tables with everything in them to the batch. Every group is shut.
func (l layout) build(b *batch) {
	b.addTable(familyINet, l.flags, "floating addresses of hbagent: packets pass while their group is live")
	b.addSet(familyINet, nftSet{name: tokens, key: nftables.TypeMark, timed: true,
		comment: "a group is opened or renewed only while a token lives"})
	l.maps(b, familyINet, toIPv4, toIPv6, toChain)
	l.maps(b, familyINet, fromIPv4, fromIPv6, ofChain)
	for _, m := range l.members {
		l.inetGroup(b, m)
	}
	l.inetHooks(b)

	b.addTable(familyARP, l.flags, "floating addresses of hbagent: ARP in their name passes while their group is live")
	l.maps(b, familyARP, fromIPv4, "", ofChain)
	for _, m := range l.members {
		l.speakers(b, familyARP, m, m.v4)
	}
	base := nftChain{name: "output", hooked: true, hook: 1, comment: "ARP of this machine"} // NF_ARP_OUT
	b.addChain(familyARP, base)
	b.addRule(familyARP, base.name, "replies, requests and announcements in the name of a floating address",
		join(arpSender(), vmap(fromIPv4))...)
	if l.egress {
		l.netdev(b)
	}
	for _, f := range l.families() {
		l.elements(b, f)
	}
}

// maps makes the maps from addresses to the chains of their groups, and the chains.
func (l layout) maps(b *batch, f family, v4, v6, prefix string) {
	b.addSet(f, nftSet{name: v4, key: nftables.TypeIPAddr, bigKey: true, verdicts: true, comment: "group of each floating IPv4 address"})
	if v6 != "" {
		b.addSet(f, nftSet{name: v6, key: nftables.TypeIP6Addr, bigKey: true, verdicts: true, comment: "group of each floating IPv6 address"})
	}
	for _, m := range l.members {
		if f != familyARP || m.v4 {
			b.addChain(f, nftChain{name: prefix + m.name, comment: "group " + m.group.Name})
		}
	}
}

// elements fills the maps. It comes last: the chains must have their rules for the kernel to check the jumps.
func (l layout) elements(b *batch, f family) {
	for _, set := range []struct {
		name, prefix string
		is4          bool
	}{{toIPv4, toChain, true}, {toIPv6, toChain, false}, {fromIPv4, ofChain, true}, {fromIPv6, ofChain, false}} {
		if f != familyINet && set.prefix == toChain || f == familyARP && !set.is4 {
			continue
		}
		var out []nftElement
		for _, m := range l.members {
			for _, a := range m.group.addrs() {
				if a.Is4() == set.is4 {
					out = append(out, nftElement{key: a.AsSlice(), jump: set.prefix + m.name})
				}
			}
		}
		b.addElements(f, set.name, 0, out)
	}
}

func (m member) liveSet() string { return liveSet + m.name }

// inetGroup are the rules for packets. Those of others that are only routed through this machine, to the address
// or back from it, are none of our business: a standby may be a client's router. So a packet is dropped only
// on the group's interface, or where the address is this machine's.
func (l layout) inetGroup(b *batch, m member) {
	b.addSet(familyINet, nftSet{name: m.liveSet(), key: nftables.TypeNFProto, timed: true, comment: "group " + m.group.Name + " is live"})
	for _, c := range []struct {
		chain string
		iface expr.MetaKey
		fib   *expr.Fib
		way   string
	}{
		{toChain + m.name, expr.MetaKeyIIFNAME, &expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true}, "in"},
		{ofChain + m.name, expr.MetaKeyOIFNAME, &expr.Fib{Register: 1, FlagSADDR: true, ResultADDRTYPE: true}, "out"},
	} {
		b.addRule(familyINet, c.chain, "live", meta(expr.MetaKeyNFPROTO), lookup(m.liveSet()), verdict(expr.VerdictReturn))
		b.addRule(familyINet, c.chain, "shut: nothing "+c.way+" by the interface of the group",
			meta(c.iface), equal(ifname(m.group.Interface)...), &expr.Counter{}, verdict(expr.VerdictDrop))
		b.addRule(familyINet, c.chain, "shut: nothing "+c.way+" while the address is on this machine",
			c.fib, equal(nativeUint32(unix.RTN_LOCAL)...), &expr.Counter{}, verdict(expr.VerdictDrop))
	}
}

// inetHooks are the base chains for packets, and the rules that find the group of one.
func (l layout) inetHooks(b *batch) {
	to4 := join(isProto(unix.NFPROTO_IPV4), payload(expr.PayloadBaseNetworkHeader, 16, 4), vmap(toIPv4))
	to6 := join(isProto(unix.NFPROTO_IPV6), payload(expr.PayloadBaseNetworkHeader, 24, 16), vmap(toIPv6))
	from4 := join(isProto(unix.NFPROTO_IPV4), payload(expr.PayloadBaseNetworkHeader, 12, 4), vmap(fromIPv4))
	from6 := join(isProto(unix.NFPROTO_IPV6), payload(expr.PayloadBaseNetworkHeader, 8, 16), vmap(fromIPv6))

	in := nftChain{name: "prerouting", hooked: true, hook: unix.NF_INET_PRE_ROUTING, priority: beforeNAT, comment: "before destination NAT"}
	b.addChain(familyINet, in)
	b.addRule(familyINet, in.name, "to a floating address", to4...)
	b.addRule(familyINet, in.name, "to a floating address", to6...)

	out := nftChain{name: "output", hooked: true, hook: unix.NF_INET_LOCAL_OUT, priority: beforeNAT, comment: "of this machine"}
	b.addChain(familyINet, out)
	b.addRule(familyINet, out.name, "from a floating address", from4...)
	b.addRule(familyINet, out.name, "from a floating address", from6...)
	b.addRule(familyINet, out.name, "target of a neighbour advertisement", join(
		isProto(unix.NFPROTO_IPV6), isND(ndAdvertisement), ndTarget(), vmap(fromIPv6))...)
	b.addRule(familyINet, out.name, "target of a question whether the address is in use", join(
		isProto(unix.NFPROTO_IPV6), payload(expr.PayloadBaseNetworkHeader, 8, 16), exprs(equal(make([]byte, 16)...)),
		isND(ndSolicitation), ndTarget(), vmap(fromIPv6))...)

	post := nftChain{name: "postrouting", hooked: true, hook: unix.NF_INET_POST_ROUTING, priority: afterNAT, comment: "after source NAT: containers"}
	b.addChain(familyINet, post)
	b.addRule(familyINet, post.name, "from a floating address", from4...)
	b.addRule(familyINet, post.name, "from a floating address", from6...)
}

// netdev stops what passes the other tables by: frames that programs build themselves (AF_PACKET).
func (l layout) netdev(b *batch) {
	b.addTable(familyNetdev, l.flags, "floating addresses of hbagent: raw frames in their name pass while their group is live")
	l.maps(b, familyNetdev, fromIPv4, fromIPv6, ofChain)
	for _, m := range l.members {
		l.speakers(b, familyNetdev, m, true)
	}
	for _, iface := range l.interfaces {
		c := nftChain{name: egress + "-" + plainName(iface), hooked: true, hook: unix.NF_NETDEV_EGRESS, device: iface, comment: "frames that leave " + iface}
		b.addChain(familyNetdev, c)
		b.addRule(familyNetdev, c.name, "sender address of ARP, by its place in the frame", join(
			isEther(unix.ETH_P_ARP), payload(expr.PayloadBaseLLHeader, 28, 4), vmap(fromIPv4))...)
		nd := exprs(meta(expr.MetaKeyPROTOCOL), equal(keyIPv6NDP...))
		for _, kind := range []byte{ndAdvertisement, ndSolicitation} {
			b.addRule(familyNetdev, c.name, "from a floating address", join(
				nd, isND(kind), payload(expr.PayloadBaseNetworkHeader, 8, 16), vmap(fromIPv6))...)
		}
		b.addRule(familyNetdev, c.name, "target of a neighbour advertisement", join(
			nd, isND(ndAdvertisement), ndTarget(), vmap(fromIPv6))...)
	}
}

// speakers are the rules of a group in a table where everything that is asked about speaks for it.
func (l layout) speakers(b *batch, f family, m member, has bool) {
	if !has {
		return
	}
	b.addSet(f, nftSet{name: m.liveSet(), key: nftables.TypeEtherType, bigKey: true, timed: true, comment: "group " + m.group.Name + " is live"})
	b.addRule(f, ofChain+m.name, "live", meta(expr.MetaKeyPROTOCOL), lookup(m.liveSet()), verdict(expr.VerdictReturn))
	b.addRule(f, ofChain+m.name, "shut", &expr.Counter{}, verdict(expr.VerdictDrop))
}

// layoutOf plans the tables for groups.
func layoutOf(f features, groups []Group, exists func(iface string) bool) layout {
	l := layout{features: f, index: make(map[string]int, len(groups))}
	for i, g := range groups {
		l.index[g.Name] = i
		l.members = append(l.members, memberOf(g))
		if !slices.Contains(l.interfaces, g.Interface) && exists(g.Interface) {
			l.interfaces = append(l.interfaces, g.Interface)
		}
	}
	slices.Sort(l.interfaces)
	return l
}
