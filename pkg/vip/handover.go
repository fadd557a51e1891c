package vip

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Errors of handovers that callers act on.
var (
	// ErrNoHandover: the gate in force cannot drain. The text says why.
	ErrNoHandover = errors.New("connections cannot be handed over")
	// ErrNextHop: the other node's addresses do not fit the group, or this node has none to tell.
	ErrNextHop = errors.New("no usable address of the other node")
	// ErrNotDraining: the group has no connections of an earlier time here.
	ErrNotDraining = errors.New("group is not draining")
)

// NextHop is a node as its neighbours on a group's segment reach it. The node itself tells it (Manager.NextHop), the
// others get it from the agent.
type NextHop struct {
	// IPv4 and IPv6 are addresses of its own on the interface (for IPv6 a link-local one, if it has one),
	// never floating ones. A group needs those of its families.
	IPv4 netip.Addr `json:"ipv4,omitzero"`
	IPv6 netip.Addr `json:"ipv6,omitzero"`
	// MAC is the hardware address of the interface. Packets that come from it have been there.
	MAC net.HardwareAddr `json:"mac"`
}

func (n NextHop) valid() bool { return n.IPv4.IsValid() || n.IPv6.IsValid() }

// flow is a TCP connection of this machine.
type flow struct {
	local, remote netip.AddrPort
	family        uint8           // of the socket: AF_INET6 may have IPv4 addresses
	id            [diagIDLen]byte // how the kernel names it
}

// handoverGate is implemented by a gate that can let connections go on without letting anything speak for the
// group, and send packets on to another machine. NFTGate does.
type handoverGate interface {
	Drain(group string, asks map[netip.Addr]netip.Addr, until time.Duration) error
	EndDrain(group string) error
	Learn(s steering) error
	Own(group string, flows []flow) error
	Steer(s steering) error
	Unsteer(group string) error
	SweepHandovers(keep func(group string) bool) error
}

func (m *Manager) handoverGate() (handoverGate, error) {
	g, ok := m.gate.(handoverGate)
	if !ok {
		return nil, fmt.Errorf("%w: the gate is %q, and only one of nf_tables can do it", ErrNoHandover, m.gate)
	}
	return g, nil
}

// NextHop is this node as the others reach it on the group's interface. ErrNextHop: it lacks an address of its own
// for a family of the group.
func (m *Manager) NextHop(group string) (NextHop, error) {
	g, err := m.group(group)
	if err != nil {
		return NextHop{}, err
	}
	l, err := m.kernel.Link(g.Interface)
	if err != nil {
		return NextHop{}, fmt.Errorf("vip: group %s: %s: %w", group, g.Interface, err)
	}
	have, err := m.kernel.Addresses()
	if err != nil {
		return NextHop{}, fmt.Errorf("vip: group %s: %w", group, err)
	}
	n := NextHop{MAC: l.MAC}
	for _, p := range g.Addresses {
		own := m.ownAddress(have, l.Index, p)
		if own.Is4() && !n.IPv4.IsValid() {
			n.IPv4 = own
		}
		if own.Is6() && (!n.IPv6.IsValid() || own.IsLinkLocalUnicast()) {
			n.IPv6 = own
		}
	}
	if err := n.fits(g); err != nil {
		return n, fmt.Errorf("vip: group %s: %s: %w", group, g.Interface, err)
	}
	return n, nil
}

// fits tells whether the group's packets can be sent to the node.
func (n NextHop) fits(g Group) error {
	for _, a := range g.addrs() {
		if a.Is4() && !n.IPv4.Is4() || a.Is6() && !n.IPv6.Is6() {
			return fmt.Errorf("%w: %v needs one of its family, there is %v and %v", ErrNextHop, a, n.IPv4, n.IPv6)
		}
	}
	if len(n.MAC) != 6 {
		return fmt.Errorf("%w: no Ethernet address", ErrNextHop)
	}
	return nil
}

// ownAddress is an address of the interface that does not float, for IPv4 preferably one of the same network as
// the floating address, for IPv6 a link-local one; invalid where there is none.
func (m *Manager) ownAddress(have []placed, index int, floating netip.Prefix) netip.Addr {
	m.mu.Lock()
	defer m.mu.Unlock()
	var best netip.Addr
	score := 0
	for _, p := range have {
		a := p.Addr.Addr()
		if p.Index != index || a.Is4() != floating.Addr().Is4() || m.byAddr[a] != "" {
			continue
		}
		s := 1
		if floating.Masked().Contains(a) {
			s = 2
		}
		if a.Is6() && a.IsLinkLocalUnicast() {
			s = 3
		}
		if s > score || s == score && a.Less(best) {
			best, score = a, s
		}
	}
	return best
}

func (m *Manager) group(name string) (Group, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g, known := m.groups[name]
	if !known {
		return g, fmt.Errorf("vip: %w: %s", ErrUnknownGroup, name)
	}
	return g, nil
}

// checkUntil refuses an end that is over or cannot be meant.
func (m *Manager) checkUntil(until time.Duration) error {
	if left := until - m.now(); left <= 0 || left > maxHandover {
		return fmt.Errorf("%w: %v left", ErrDeadline, left)
	}
	return nil
}

// Connections counts the group's TCP connections on this machine: sockets with one of its addresses as their own,
// without those that only listen, are in the middle of the first handshake, or have said all (TIME_WAIT).
// Sockets in other network namespaces (containers) are not seen. Any goroutine.
func (m *Manager) Connections(group string) (int, error) {
	g, err := m.group(group)
	if err != nil {
		return 0, err
	}
	n := 0
	if err := m.kernel.Connections(g.addrs(), statesOpen, func(flow) { n++ }); err != nil {
		return 0, fmt.Errorf("vip: group %s: %w", group, err)
	}
	return n, nil
}
