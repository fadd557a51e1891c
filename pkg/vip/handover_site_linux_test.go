package vip

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// site is a switch with nodes a, b and c, a client on the same segment, and one behind a router:
//
//	a .1   b .2   c .3   client .5   router .9 --- far
//	  10.9.0.0/24, fd09::/64               10.8.0.0/24, fd08::/64
type site struct {
	t       testing.TB
	sw      netns.NsHandle
	a, b, c *node
	client  netns.NsHandle
	router  netns.NsHandle
	far     netns.NsHandle
}

const floating4, floating6 = "10.9.0.50", "fd09::50"

func webOn(iface string) Group {
	return Group{Name: "web", Interface: iface, Addresses: prefixes(floating4+"/24", floating6+"/64")}
}

func newSite(t testing.TB, groups ...Group) *site {
	t.Helper()
	return newSiteOver(t, "veth", groups...)
}

// newSiteOver makes a site whose nodes have an eth0 of that kind: veth or macvlan.
func newSiteOver(t testing.TB, kind string, groups ...Group) *site {
	t.Helper()
	needKernel(t)
	if len(groups) == 0 {
		groups = []Group{webOn("eth0")}
	}
	s := &site{t: t}
	for _, ns := range []*netns.NsHandle{&s.sw, &s.client, &s.router, &s.far} {
		*ns = newNamespace(t)
		t.Cleanup(func() { _ = ns.Close() })
		s.in(*ns, func(h *netlink.Handle) error { return up(h, "lo") })
	}
	s.in(s.sw, func(h *netlink.Handle) error {
		no := false
		if err := h.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}, MulticastSnooping: &no}); err != nil {
			return err
		}
		return up(h, "br0")
	})
	for i, n := range []**node{&s.a, &s.b, &s.c} {
		ns := newNamespace(t)
		*n = &node{t: t, name: string(rune('a' + i)), ns: ns, conf: nodeConfig{RunDir: t.TempDir(), Groups: groups}}
		t.Cleanup(func() { _ = ns.Close() })
		s.in(ns, func(h *netlink.Handle) error { return up(h, "lo") })
		s.plugNode(ns, kind, "p"+(*n).name, i+1)
		sysctl(t, ns, "ipv4/conf/all/rp_filter", "1")
		sysctl(t, ns, "ipv4/conf/eth0/rp_filter", "1")
	}
	s.plug(s.client, "pclient", 5)
	s.plug(s.router, "prouter", 9)
	s.in(s.router, func(h *netlink.Handle) error {
		return h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "far0"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(s.far)})
	})
	s.address(s.router, "far0", "10.8.0.1/24", "fd08::1/64")
	s.address(s.far, "eth0", "10.8.0.2/24", "fd08::2/64")
	s.route(s.far, "0.0.0.0/0", "10.8.0.1")
	s.route(s.far, "::/0", "fd08::1")
	sysctl(t, s.router, "ipv4/ip_forward", "1")
	sysctl(t, s.router, "ipv6/conf/all/forwarding", "1")
	for _, ns := range []netns.NsHandle{s.a.ns, s.b.ns, s.c.ns, s.client} {
		s.route(ns, "10.8.0.0/24", "10.9.0.9")
		s.route(ns, "fd08::/64", "fd09::9")
	}
	for _, n := range s.nodes() {
		n.start()
		t.Cleanup(func() { n.stop(false) })
	}
	return s
}

func (s *site) nodes() []*node { return []*node{s.a, s.b, s.c} }

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) in(ns netns.NsHandle, f func(h *netlink.Handle) error) {
	s.t.Helper()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	s.must(err)
	defer h.Close()
	s.must(f(h))
}

func up(h *netlink.Handle, name string) error {
	l, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	return h.LinkSetUp(l)
}

// plugNode connects a node by an interface of that kind.
func (s *site) plugNode(ns netns.NsHandle, kind, port string, n int) {
	s.t.Helper()
	if kind == "veth" {
		s.plug(ns, port, n)
		return
	}
	s.plug(ns, port, 100+n)
	runIn(s.t, ns, "ip", "addr", "flush", "dev", "eth0")
	runIn(s.t, ns, "ip", "link", "set", "eth0", "down")
	runIn(s.t, ns, "ip", "link", "set", "eth0", "name", "phys0", "up")
	runIn(s.t, ns, "ip", "link", "add", "link", "phys0", "name", "eth0", "address", fmt.Sprintf("02:00:00:00:00:%02x", n), "type", kind, "mode", "bridge")
	s.address(ns, "eth0", fmt.Sprintf("10.9.0.%d/24", n), fmt.Sprintf("fd09::%d/64", n))
}

// plug connects a namespace to the switch, as eth0 with the addresses .n and ::n.
func (s *site) plug(ns netns.NsHandle, port string, n int) {
	s.t.Helper()
	s.in(s.sw, func(h *netlink.Handle) error {
		if err := h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: port}, PeerName: "eth0", PeerNamespace: netlink.NsFd(ns),
			PeerHardwareAddr: []byte{2, 0, 0, 0, 0, byte(n)}}); err != nil {
			return err
		}
		l, err := h.LinkByName(port)
		if err != nil {
			return err
		}
		br, err := h.LinkByName("br0")
		if err != nil {
			return err
		}
		if err := h.LinkSetMaster(l, br); err != nil {
			return err
		}
		return h.LinkSetUp(l)
	})
	s.address(ns, "eth0", fmt.Sprintf("10.9.0.%d/24", n), fmt.Sprintf("fd09::%d/64", n))
}

func (s *site) address(ns netns.NsHandle, iface string, addrs ...string) {
	s.t.Helper()
	sysctl(s.t, ns, "ipv6/conf/"+iface+"/accept_dad", "0")
	s.in(ns, func(h *netlink.Handle) error {
		l, err := h.LinkByName(iface)
		if err != nil {
			return err
		}
		for _, a := range addrs {
			p, err := netlink.ParseAddr(a)
			if err != nil {
				return err
			}
			if strings.Contains(a, ":") {
				p.Flags = unix.IFA_F_NODAD
			}
			if err := h.AddrAdd(l, p); err != nil {
				return err
			}
		}
		return h.LinkSetUp(l)
	})
}

func (s *site) route(ns netns.NsHandle, dst, via string) {
	s.t.Helper()
	args := []string{"route", "replace", dst, "via", via}
	if strings.Contains(dst, ":") {
		args = append([]string{"-6"}, args...)
	}
	runIn(s.t, ns, "ip", args...)
}

// move is a planned move as the agent makes it. It returns how long each step took.
func (s *site) move(from, to *node, drain time.Duration) (steer, drained, opened time.Duration) {
	s.t.Helper()
	hop := from.do(order{Op: "hop"}).Hop
	steer = to.do(order{Op: "steer", To: hop, For: drain + 2*time.Second}).Took
	drained = from.do(order{Op: "drain", To: to.do(order{Op: "hop"}).Hop, For: drain}).Took
	opened = to.do(order{Op: "open"}).Took
	return steer, drained, opened
}

// eventually is for conditions that nobody reports.
func (s *site) eventually(what string, cond func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for !cond() {
		if time.Now().After(deadline) {
			s.t.Fatalf("not within %v: %s", patience, what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// floatingAt is the floating address of a family with a port.
func floatingAt(v6 bool, port uint16) netip.AddrPort {
	a := floating4
	if v6 {
		a = floating6
	}
	return netip.AddrPortFrom(netip.MustParseAddr(a), port)
}

// mustInterface is an interface of the namespace that the calling thread is in.
func mustInterface(name string) *net.Interface {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		panic(err)
	}
	return ifi
}

// neighbourOf is the hardware address that a namespace knows for an address on its eth0.
func neighbourOf(t testing.TB, ns netns.NsHandle, a netip.Addr) net.HardwareAddr {
	t.Helper()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	list, err := h.NeighList(0, netlink.FAMILY_ALL)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range list {
		if got, ok := netip.AddrFromSlice(n.IP); ok && got.Unmap() == a && len(n.HardwareAddr) == 6 {
			return n.HardwareAddr
		}
	}
	t.Fatalf("no neighbour entry for %v: %v", a, list)
	return nil
}

// lastSeen waits until something is no longer seen. It was certainly there at the first time, when the last look that saw it
// began, and certainly not at the second. A busy machine widens what lies between, and lets neither lie.
func lastSeen(t testing.TB, what string, look func() bool) (seen, gone time.Time) {
	t.Helper()
	for began := time.Now(); ; {
		now := time.Now()
		if !look() {
			return seen, time.Now()
		}
		if seen = now; time.Since(began) > patience {
			t.Fatalf("still there after %v: %s", patience, what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// drains tells whether a node still has the floating addresses on loopback.
func (n *node) drains() bool {
	out := n.run("ip", "-o", "addr", "show", "dev", "lo")
	return strings.Contains(out, floating4) || strings.Contains(out, floating6)
}
