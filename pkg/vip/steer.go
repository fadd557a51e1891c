package vip

import (
	"fmt"
	"net"
	"slices"
	"time"
)

// Chosen by us: how many connections go to the kernel in one transaction before steering begins.
const ownChunk = 2048

// Steer sends the TCP packets to the group's addresses that are not of this machine's own connections to the node
// `to`, the group's owner, until the instant `until` at the latest: the kernel ends it by itself. This machine's own
// are those that exist now, and those that begin from now on. It is called before the lease is asked
// for; while the group is not open here, no packet comes and nothing is steered.
//
// Calling it again prolongs it, or sends to another node. What is already steered elsewhere stays: packets from the
// node that this one drained to (see Drain) have seen the nodes behind it, and go on to the earlier hop, or stay.
// So a group may come back, and chains of moves end everywhere (docs/handover.md).
func (m *Manager) Steer(group string, to NextHop, until time.Duration) error {
	if err := m.steer(group, to, until); err != nil {
		return fmt.Errorf("vip: steering group %s: %w", group, err)
	}
	return nil
}

func (m *Manager) steer(group string, to NextHop, until time.Duration) error {
	gate, err := m.handoverGate()
	if err != nil {
		return err
	}
	g, err := m.group(group)
	if err != nil {
		return err
	}
	if err := to.fits(g); err != nil {
		return err
	}
	if err := m.checkUntil(until); err != nil {
		return err
	}
	l, err := m.kernel.Link(g.Interface)
	if err != nil {
		return fmt.Errorf("%s: %w", g.Interface, err)
	}
	if string(to.MAC) == string(l.MAC) {
		return fmt.Errorf("%w: %v is this machine", ErrNextHop, to.MAC)
	}
	s := steering{group: g, ifindex: l.Index, hops: m.hops(group, to, until)}
	for _, h := range s.hops {
		s.until = max(s.until, h.until)
	}
	if err := gate.Learn(s); err != nil {
		return err
	}
	var own []flow
	if err := m.kernel.Connections(g.addrs(), statesAll, func(f flow) { own = append(own, f) }); err != nil {
		return err
	}
	for chunk := range slices.Chunk(own, ownChunk) {
		if err := gate.Own(group, chunk); err != nil {
			return err
		}
	}
	if err := gate.Steer(s); err != nil {
		return err
	}
	m.mu.Lock()
	m.steers[group] = s.hops
	m.mu.Unlock()
	m.log.Debug("steering", "group", group, "to", to.MAC, "own", len(own), "hops", len(s.hops))
	return nil
}

// hops are where packets go when the group's owner is `to`, the last one for whoever has no other.
//
// A node that this one drains to stands behind it in the order of owners: what comes from there has been at `to` as
// well, and goes where it would have gone before, or stays here. And nothing goes back to where it comes from.
func (m *Manager) hops(group string, to NextHop, until time.Duration) []hop {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	var detours []hop
	var before hop // the hop of those that have none of their own
	for _, h := range m.steers[group] {
		switch {
		case h.until <= now:
		case h.from == nil:
			before = h
		default:
			detours = append(detours, h)
		}
	}
	put := func(from net.HardwareAddr, h hop) {
		if len(from) != 6 || slices.ContainsFunc(detours, func(d hop) bool { return string(d.from) == string(from) }) {
			return // the oldest counts: all that came later have been there
		}
		h.from = from
		if !h.to.valid() || string(h.to.MAC) == string(from) {
			h.to, h.until = NextHop{}, until
		}
		detours = append(detours, h)
	}
	if d := m.drains[group]; d != nil && d.until > now {
		put(d.to.MAC, before)
	}
	put(to.MAC, hop{})
	if len(detours) > maxDetours-1 {
		detours = detours[len(detours)-(maxDetours-1):]
	}
	return append(detours, hop{to: to, until: until})
}

// Unsteer ends all steering of the group on this machine. Packets of other machines' connections are then answered
// with a reset. It is nothing for a group that is not steered.
func (m *Manager) Unsteer(group string) error {
	m.mu.Lock()
	delete(m.steers, group)
	m.mu.Unlock()
	gate, err := m.handoverGate()
	if err != nil {
		return nil // there never was anything
	}
	if err := gate.Unsteer(group); err != nil {
		return fmt.Errorf("vip: ending the steering of group %s: %w", group, err)
	}
	return nil
}

// Steering tells where packets of the group go that are not this machine's, and until when.
func (m *Manager) Steering(group string) (to NextHop, until time.Duration, steering bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	for _, h := range m.steers[group] {
		if h.from == nil && h.until > now {
			return h.to, h.until, true
		}
	}
	return NextHop{}, 0, false
}
