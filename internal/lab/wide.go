package lab

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// A place is where a machine sits on the segment.
type place struct {
	addr4, addr6 netip.Prefix
	mac          net.HardwareAddr // locally administered
}

// placeOf is that of the i-th machine.
func (w *World) placeOf(i int) place {
	if !w.wide {
		return narrow(firstHost + i)
	}
	return place{
		addr4: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 77, 1, byte(1 + i)}), 16),
		addr6: netip.MustParsePrefix(fmt.Sprintf("fd77::1:%d/64", 1+i)),
		mac:   net.HardwareAddr{0x02, 0x77, 0, 0, 1, byte(1 + i)},
	}
}

func (w *World) placeOfClient() place {
	p := narrow(clientHost)
	if w.wide {
		p.addr4 = netip.PrefixFrom(p.addr4.Addr(), 16)
	}
	return p
}

func narrow(host int) place {
	return place{
		addr4: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 77, 0, byte(host)}), 24),
		addr6: netip.MustParsePrefix(fmt.Sprintf("fd77::%d/64", host)),
		mac:   net.HardwareAddr{0x02, 0x77, 0, 0, 0, byte(host)},
	}
}

// Floating is the i-th floating address of a wide world; there are thousands.
func Floating(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 77, byte(2 + i/250), byte(1 + i%250)}), 16)
}

// knowOthers gives a machine of a wide world the hardware addresses of the others, for good. All namespaces share one
// table of neighbours in the kernel, which holds 1024 that were learnt (net.ipv4.neigh.default.gc_thresh3, arp(7)): those
// of a hundred machines would push each other out, as they do on no real machine.
func (n *Node) knowOthers(space *netspace) error {
	if !n.w.wide {
		return nil
	}
	link, err := space.link(nic)
	if err != nil {
		return err
	}
	for i := range n.w.machines {
		p := n.w.placeOf(i)
		if p.addr4 == n.Addr4 {
			continue
		}
		err := space.nl.NeighSet(&netlink.Neigh{
			LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT, IP: p.addr4.Addr().AsSlice(), HardwareAddr: p.mac,
		})
		if err != nil {
			return fmt.Errorf("neighbours of %s: %w", n.Name, err)
		}
	}
	return nil
}
