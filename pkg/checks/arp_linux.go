package checks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// arpCheck asks whether a neighbour on the wire answers, by default the gateway:
// a link may be up while the switch behind it is not.
type arpCheck struct {
	probe  ARPProber
	iface  string     // empty: of the route
	target netip.Addr // zero: the default gateway
}

func newARP(s Spec, probe ARPProber) (Checker, error) {
	switch {
	case probe == nil:
		return nil, errors.New("this program has no ARP prober")
	case s.Target.IsValid() && (s.Target.IsUnspecified() || s.Target.IsMulticast() || s.Target.IsLoopback()):
		return nil, fmt.Errorf("target %v is not a neighbour's address", s.Target)
	}
	return &arpCheck{probe: probe, iface: s.Interface, target: s.Target.Unmap()}, nil
}

func (c *arpCheck) Check(ctx context.Context) Result {
	iface, target, err := c.neighbour()
	if err != nil {
		return fail("%v", err)
	}
	if _, err := c.probe(ctx, iface, target); err != nil {
		if expired(ctx) {
			return fail("no answer from %v on %s", target, iface)
		}
		return fail("no answer from %v on %s: %v", target, iface, err)
	}
	return pass("%v answers on %s", target, iface)
}

// neighbour fills in what the config leaves open. It looks at the routes each
// time: DHCP may change them.
func (c *arpCheck) neighbour() (iface string, target netip.Addr, err error) {
	switch {
	case c.iface != "" && c.target.IsValid():
		return c.iface, c.target, nil
	case c.target.IsValid():
		iface, err = interfaceTo(c.target)
		return iface, c.target, err
	}
	return defaultGateway(c.iface)
}

func interfaceTo(target netip.Addr) (string, error) {
	routes, err := netlink.RouteGet(target.AsSlice())
	if err != nil {
		return "", fmt.Errorf("no route to %v: %w", target, err)
	}
	if len(routes) == 0 {
		return "", fmt.Errorf("no route to %v", target)
	}
	if gw := routes[0].Gw; gw != nil {
		return "", fmt.Errorf("%v is not a neighbour: it is behind %v", target, gw)
	}
	return interfaceName(routes[0].LinkIndex)
}

// defaultGateway returns the gateway of the best default route, IPv4 first, on
// iface if that is given.
func defaultGateway(iface string) (string, netip.Addr, error) {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		// An interrupted dump may lack routes; the next probe sees them.
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return "", netip.Addr{}, fmt.Errorf("read the routes: %w", err)
		}
		var best *netlink.Route
		for i, r := range routes {
			if !isDefault(r) || r.Gw == nil {
				continue
			}
			if iface != "" {
				if name, err := interfaceName(r.LinkIndex); err != nil || name != iface {
					continue
				}
			}
			if best == nil || r.Priority < best.Priority {
				best = &routes[i]
			}
		}
		if best == nil {
			continue
		}
		gw, ok := netip.AddrFromSlice(best.Gw)
		if !ok {
			return "", netip.Addr{}, fmt.Errorf("the default route's gateway %v is not an address", best.Gw)
		}
		name, err := interfaceName(best.LinkIndex)
		return name, gw.Unmap(), err
	}
	if iface != "" {
		return "", netip.Addr{}, fmt.Errorf("no default gateway on %s: name a target", iface)
	}
	return "", netip.Addr{}, errors.New("no default gateway: name a target")
}

func isDefault(r netlink.Route) bool {
	if r.Dst == nil {
		return true
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0 && r.Dst.IP.IsUnspecified()
}

func interfaceName(index int) (string, error) {
	i, err := net.InterfaceByIndex(index)
	if err != nil {
		return "", fmt.Errorf("interface %d: %w", index, err)
	}
	return i.Name, nil
}
