package vip

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Chosen by us.
const (
	// netlinkTimeout bounds one request. The kernel answers in 20 µs unless somebody holds its big
	// network lock, as the end of many containers does for some 100 ms.
	netlinkTimeout = time.Second
	// dumpTries repeats a listing that changed under our eyes.
	dumpTries = 3
)

// bootTime reads CLOCK_BOOTTIME: monotonic, and counting while the machine is suspended.
func bootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("vip: clock_gettime(CLOCK_BOOTTIME): " + err.Error()) // since Linux 2.6.39 it cannot fail
	}
	return time.Duration(ts.Nano())
}

// linux is the real kernel. Two netlink sockets: a long listing must not make an addition wait.
type linux struct {
	write *netlink.Handle
	read  *netlink.Handle
}

func newKernel() (kernel, error) {
	write, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("vip: netlink: %w", err)
	}
	read, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		write.Close()
		return nil, fmt.Errorf("vip: netlink: %w", err)
	}
	k := &linux{write: write, read: read}
	for _, h := range []*netlink.Handle{write, read} {
		if err := h.SetSocketTimeout(netlinkTimeout); err != nil {
			_ = k.Close()
			return nil, fmt.Errorf("vip: netlink: %w", err)
		}
	}
	return k, nil
}

func (k *linux) Close() error {
	k.write.Close()
	k.read.Close()
	return nil
}

func (k *linux) Link(name string) (link, error) {
	l, err := k.read.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return link{}, ErrNoInterface
	}
	if err != nil {
		return link{}, fmt.Errorf("link %s: %w", name, err)
	}
	return linkOf(l.Attrs()), nil
}

func (k *linux) Links() ([]link, error) {
	ls, err := dump(k.read.LinkList)
	if err != nil {
		return nil, fmt.Errorf("listing links: %w", err)
	}
	out := make([]link, len(ls))
	for i, l := range ls {
		out[i] = linkOf(l.Attrs())
	}
	return out, nil
}

func linkOf(a *netlink.LinkAttrs) link {
	const up = unix.IFF_UP | unix.IFF_LOWER_UP
	return link{
		Name: a.Name, Index: a.Index, MAC: a.HardwareAddr,
		AdminUp: a.RawFlags&unix.IFF_UP != 0, Up: a.RawFlags&up == up,
	}
}

func (k *linux) Addresses() ([]placed, error) {
	as, err := dump(func() ([]netlink.Addr, error) { return k.read.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("listing addresses: %w", err)
	}
	out := make([]placed, 0, len(as))
	for _, a := range as {
		if p, ok := prefixOf(a.IPNet); ok {
			out = append(out, placed{Index: a.LinkIndex, Addr: p})
		}
	}
	return out, nil
}

func (k *linux) Put(index int, a netip.Addr, valid int) error {
	err := k.write.AddrReplace(nil, message(index, a, valid))
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENODEV):
		return ErrNoInterface
	case a.Is6() && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)) && CheckCapabilities() == nil:
		return fmt.Errorf("%w: IPv6 is switched off on this interface (sysctl net.ipv6.conf.*.disable_ipv6)", err)
	}
	return err
}

func (k *linux) Remove(index int, a netip.Addr) error {
	err := k.write.AddrDel(nil, message(index, a, 0))
	if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// message is the address as the kernel is told about it.
//
// noprefixroute: the length says nothing about a network, no route is wanted. nodad: the question whether the
// address is in use was asked by Probe; the kernel's own check would keep it unusable for a second.
// Preferred lifetime 0 makes it deprecated: IPv6 never chooses it as a source (RFC 6724 rule 3). IPv4
// knows no such rule, there being added last and a /32 does it: inet_select_addr takes the first
// address whose network holds the next hop. It is 0 for IPv4 all the same, so that `ip addr` shows both alike
// and no timer of the kernel changes the address in between.
func message(index int, a netip.Addr, valid int) *netlink.Addr {
	flags := unix.IFA_F_NOPREFIXROUTE
	if a.Is6() {
		flags |= unix.IFA_F_NODAD
	}
	scope := unix.RT_SCOPE_UNIVERSE
	if index == loopbackIndex && a.Is4() {
		// inet_select_addr looks at loopback first when an interface has no address of its own.
		scope = unix.RT_SCOPE_HOST
	}
	return &netlink.Addr{
		Scope:     scope,
		IPNet:     &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())},
		LinkIndex: index,
		Flags:     flags,
		ValidLft:  valid,
	}
}

func (k *linux) Neighbours(index, limit int) ([]net.HardwareAddr, error) {
	ns, err := dump(func() ([]netlink.Neigh, error) { return k.read.NeighList(index, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("listing neighbours: %w", err)
	}
	gateways, err := k.gateways(index)
	if err != nil {
		return nil, err
	}
	const known = unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE | unix.NUD_PERMANENT
	var first, rest []net.HardwareAddr
	seen := make(map[string]bool)
	for _, n := range ns {
		usable := n.State&known != 0 && len(n.HardwareAddr) == 6 && n.HardwareAddr[0]&1 == 0
		if !usable {
			continue
		}
		if ip, ok := netip.AddrFromSlice(n.IP); ok && gateways[ip.Unmap()] {
			first = append(first, n.HardwareAddr)
		} else {
			rest = append(rest, n.HardwareAddr)
		}
	}
	out := slices.DeleteFunc(append(first, rest...), func(m net.HardwareAddr) bool {
		dup := seen[string(m)]
		seen[string(m)] = true
		return dup
	})
	return out[:min(len(out), limit)], nil
}

// gateways are the next hops of the interface's default routes in the main table.
func (k *linux) gateways(index int) (map[netip.Addr]bool, error) {
	out := make(map[netip.Addr]bool)
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := dump(func() ([]netlink.Route, error) {
			return k.read.RouteListFiltered(family, &netlink.Route{LinkIndex: index}, netlink.RT_FILTER_OIF)
		})
		if err != nil {
			return nil, fmt.Errorf("listing routes: %w", err)
		}
		for _, r := range routes {
			if ones := maskLen(r.Dst); ones != 0 {
				continue
			}
			if gw, ok := netip.AddrFromSlice(r.Gw); ok {
				out[gw.Unmap()] = true
			}
		}
	}
	return out, nil
}

func (k *linux) Forwarding(name string) bool {
	b, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + name + "/forwarding")
	return err == nil && strings.TrimSpace(string(b)) != "0"
}

// Dial binds with protocol 0: the socket receives nothing, and the kernel reads the protocol of each frame
// from its header, so that filters on the way out see it.
func (k *linux) Dial(l link) (wire, error) { return k.Listen(l, 0, nil) }

func (k *linux) Listen(l link, protocol int, filter []bpf.RawInstruction) (wire, error) {
	ifi := &net.Interface{Index: l.Index, Name: l.Name, HardwareAddr: l.MAC}
	c, err := packet.Listen(ifi, packet.Raw, protocol, &packet.Config{Filter: filter})
	if err != nil {
		if errors.Is(err, unix.EPERM) {
			return nil, fmt.Errorf("%w: CAP_NET_RAW: %w", ErrNoCapability, err)
		}
		return nil, fmt.Errorf("packet socket on %s: %w", l.Name, err)
	}
	rc, err := c.SyscallConn()
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("packet socket on %s: %w", l.Name, err)
	}
	return &packetWire{Conn: c, raw: rc}, nil
}

// dump repeats a listing that the kernel says was interrupted by a change.
func dump[T any](list func() ([]T, error)) ([]T, error) {
	var out []T
	var err error
	for range dumpTries {
		if out, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return out, err
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	return netip.PrefixFrom(a, ones), ok && bits == a.BitLen()
}

// Settled looks for the routes in the local table. The kernel adds one when its duplicate detection is over, in a worker
// of its own (net/ipv6/addrconf.c addrconf_dad_work), also where there is none (nodad); until then packets to the
// address are not for this machine.
func (k *linux) Settled(index int, addrs []netip.Addr) (bool, error) {
	routes, err := dump(func() ([]netlink.Route, error) {
		return k.read.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{LinkIndex: index, Table: unix.RT_TABLE_LOCAL},
			netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return false, fmt.Errorf("listing routes: %w", err)
	}
	have := make(map[netip.Addr]bool, len(routes))
	for _, r := range routes {
		if p, ok := prefixOf(r.Dst); ok && p.IsSingleIP() {
			have[p.Addr()] = true
		}
	}
	return !slices.ContainsFunc(addrs, func(a netip.Addr) bool { return !have[a] }), nil
}

func maskLen(n *net.IPNet) int {
	if n == nil {
		return 0
	}
	ones, _ := n.Mask.Size()
	return ones
}
