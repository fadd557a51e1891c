package vip

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"time"
)

// Chosen by us.
const (
	// ownChunk is how many connections go to the kernel in one transaction before steering begins.
	ownChunk = 2048
	// heirSlack is how much longer than a drain its steering may be.
	heirSlack = 10 * time.Second
)

// Steer sends the TCP packets to the group's addresses that are not of this machine's own connections to the node
// `to`, the group's owner, until the instant `until` at the latest: the kernel ends it by itself. This machine's own
// are those that exist now, and those that begin from now on. It is called before the lease is asked
// for; while the group is not open here, no packet comes and nothing is steered.
//
// Calling it again prolongs it, or sends to another node. What is already steered elsewhere stays: packets from the
// node that this one drained to (see Drain) have seen the nodes behind it, and go on to the earlier hop, or stay.
// So a group may come back, and chains of moves end everywhere (docs/handover.md).
//
// With thousands of own connections it takes a while (10 µs each). It may be called from any goroutine, one at a time for
// a group, also beside Open, Shut and Drain of the same group.
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
	s := steeringOf(g, l.Index, m.hops(group, to, until))
	s.prolongs = m.steersNow(group)
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
	// A Drain at the same time may have changed where packets go: look again, in turn with it.
	m.turn.Lock()
	defer m.turn.Unlock()
	if now, err := m.group(group); err != nil || now.Interface != g.Interface || !slices.Equal(now.addrs(), g.addrs()) {
		return errors.Join(err, fmt.Errorf("%w: the group was reconfigured meanwhile", ErrNoHandover))
	}
	s = steeringOf(g, l.Index, m.hops(group, to, until))
	if err := gate.Steer(s); err != nil {
		return err
	}
	m.mu.Lock()
	m.steers[group] = s.hops
	m.mu.Unlock()
	m.log.Debug("steering", "group", group, "to", to.MAC, "own", len(own), "hops", len(s.hops))
	return nil
}

// steersNow tells whether anything of the group may be on its way to another machine now.
func (m *Manager) steersNow(group string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	return slices.ContainsFunc(m.steers[group], func(h hop) bool { return h.until > now })
}

func steeringOf(g Group, ifindex int, hops []hop) steering {
	s := steering{group: g, ifindex: ifindex, hops: hops}
	for _, h := range hops {
		s.until = max(s.until, h.until)
	}
	return s
}

// An heir is a node that this one drained to. It steers to this one.
type heir struct {
	mac   net.HardwareAddr
	until time.Duration
}

// hops are where packets go when the group's owner is `to`, the last one for whoever has no other.
//
// A packet that is nobody's here goes back through the owners in the order of their time. What comes from an heir
// is on its way through the owners before this machine's last time: it goes where it went before, or stays
// here. And nothing goes to where everything goes first: it has been there.
func (m *Manager) hops(group string, to NextHop, until time.Duration) []hop {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	m.expireHeirs(now)
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
	for _, e := range m.heirs[group] {
		if e.until > now && !hasDetour(detours, e.mac) {
			h := before
			h.from = e.mac
			detours = append(detours, h)
		}
	}
	for i, h := range detours {
		// To where it comes from a packet may return: that node has a detour for what comes from here.
		been := string(h.to.MAC) == string(to.MAC) && string(h.from) != string(to.MAC)
		if been || h.until <= now {
			detours[i] = hop{from: h.from, until: until}
		}
	}
	if len(detours) > maxDetours-1 {
		detours = detours[len(detours)-(maxDetours-1):]
	}
	return append(detours, hop{to: to, until: until})
}

func hasDetour(hops []hop, mac net.HardwareAddr) bool {
	return slices.ContainsFunc(hops, func(h hop) bool { return string(h.from) == string(mac) })
}

// inherit notes that the group goes to a node, which will steer to this one. What came from it in its earlier time
// took a detour; from now on it goes the way of all, except where that leads back to it. It returns the
// hops if they have changed.
func (m *Manager) inherit(group string, to NextHop, until time.Duration) []hop {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expireHeirs(m.now())
	heirs := slices.DeleteFunc(m.heirs[group], func(e heir) bool { return string(e.mac) == string(to.MAC) })
	m.heirs[group] = append(heirs, heir{mac: to.MAC, until: until + heirSlack})
	hops := m.steers[group]
	if !hasDetour(hops, to.MAC) || string(hops[len(hops)-1].to.MAC) == string(to.MAC) {
		return nil
	}
	hops = slices.DeleteFunc(slices.Clone(hops), func(h hop) bool { return string(h.from) == string(to.MAC) })
	m.steers[group] = hops
	return hops
}

// expireHeirs forgets the nodes that steer to this one no more, of all groups: a group may never be drained again. The
// caller holds mu.
func (m *Manager) expireHeirs(now time.Duration) {
	for group, heirs := range m.heirs {
		heirs = slices.DeleteFunc(heirs, func(e heir) bool { return e.until <= now })
		if m.heirs[group] = heirs; len(heirs) == 0 {
			delete(m.heirs, group)
		}
	}
}

// Unsteer ends all steering of the group on this machine. Packets of other machines' connections are then answered
// with a reset. It is nothing for a group that is not steered.
func (m *Manager) Unsteer(group string) error {
	m.turn.Lock()
	defer m.turn.Unlock()
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
