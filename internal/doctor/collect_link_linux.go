package doctor

import (
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// links reads interfaces, addresses, routes and the sysctls that matter to them. It needs no privilege.
func (c *collector) links() {
	c.Self = ownCapabilities()
	all, err := netlink.LinkList()
	if err != nil {
		return // then no interface exists, and that is said
	}
	wanted := map[string]bool{}
	for _, name := range c.interfaces() {
		wanted[name] = true
		c.Links[name] = Link{Name: name}
	}
	for _, l := range all {
		a := l.Attrs()
		switch {
		case wanted[a.Name]:
			c.Links[a.Name] = linkOf(l)
		case a.Name == "lo":
			c.Lo = addressesOf(l)
		default:
			c.Others = append(c.Others, linkOf(l))
		}
	}
	c.Routes = Routes{Default4: defaultRoute(netlink.FAMILY_V4)}
	c.NonLocal = map[bool]bool{false: sysctl("ipv4/ip_nonlocal_bind") == 1, true: sysctl("ipv6/ip_nonlocal_bind") == 1}
}

func linkOf(l netlink.Link) Link {
	a := l.Attrs()
	out := Link{
		Name: a.Name, Exists: true, MAC: a.HardwareAddr.String(),
		Up: a.RawFlags&unix.IFF_UP != 0, Carrier: a.RawFlags&unix.IFF_LOWER_UP != 0,
		Ethernet: len(a.HardwareAddr) == 6 && a.EncapType == "ether",
		Bridge:   l.Type() == "bridge",
		Addrs:    addressesOf(l),
	}
	conf := func(key string) int {
		return max(sysctl(filepath.Join("ipv4/conf/all", key)), sysctl(filepath.Join("ipv4/conf", a.Name, key)))
	}
	out.ARP = ARP{Ignore: conf("arp_ignore"), RPFilter: conf("rp_filter"), DropGratuitous: conf("drop_gratuitous_arp") > 0}
	out.NoIPv6 = sysctl(filepath.Join("ipv6/conf", a.Name, "disable_ipv6")) != 0 // missing, too: no IPv6 at all
	out.BridgeNF = sysctl("bridge/bridge-nf-call-iptables") == 1
	return out
}

func addressesOf(l netlink.Link) []Address {
	list, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return nil
	}
	var out []Address
	for _, a := range list {
		ip, ok := netip.AddrFromSlice(a.IP)
		if !ok {
			continue
		}
		ones, _ := a.Mask.Size()
		out = append(out, Address{
			Prefix:    netip.PrefixFrom(ip.Unmap(), ones),
			Permanent: a.ValidLft == math.MaxUint32 || a.ValidLft == 0 && a.Flags&unix.IFA_F_PERMANENT != 0,
		})
	}
	return out
}

// sysctl reads a number below /proc/sys/net; -1: there is none.
func sysctl(key string) int {
	b, err := os.ReadFile("/proc/sys/net/" + key)
	if err != nil {
		return -1
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return -1
	}
	return n
}

// defaultRoute is the interface of the best default route of a family, or "".
func defaultRoute(family int) string {
	routes, err := netlink.RouteList(nil, family)
	if err != nil {
		return ""
	}
	best, name := math.MaxInt, ""
	for _, r := range routes {
		if r.Dst != nil {
			if ones, _ := r.Dst.Mask.Size(); ones != 0 {
				continue
			}
		}
		index := r.LinkIndex
		if index == 0 && len(r.MultiPath) > 0 {
			index = r.MultiPath[0].LinkIndex
		}
		l, err := netlink.LinkByIndex(index)
		if err == nil && r.Priority < best {
			best, name = r.Priority, l.Attrs().Name
		}
	}
	return name
}
