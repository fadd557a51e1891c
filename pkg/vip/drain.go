package vip

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// Given by the kernel (include/net/net_namespace.h LOOPBACK_IFINDEX; the name follows from it).
const (
	loopback      = "lo"
	loopbackIndex = 1
)

// Chosen by us: together the most that a call waits for the kernel's worker.
const (
	settleTries = 40
	settlePause = 500 * time.Microsecond
	// resetChunk is how many connections are reset while others wait for their turn: some 6 ms.
	resetChunk = 200
)

// drain is a group that another node owns, and whose connections of before go on here.
type drain struct {
	to    NextHop
	until time.Duration
	addrs []netip.Addr
}

// Drain is Shut for a group whose connections are to go on here until they end, or until the instant `until`. When
// it returns, nothing speaks for the group any more: no announcement is under way, no ARP or ND message leaves in
// its name, and its addresses are on the loopback interface, where existing connections have them. The caller may
// then tell `to` that it can have the group. UDP ends here.
//
// The kernel ends all of it at `until` by itself: TCP packets pass no longer, and the addresses go within 3.5 s. Call
// EndDrain shortly before, so that the rest is told. After an error the group is shut, as after Shut.
func (m *Manager) Drain(group string, to NextHop, until time.Duration) error {
	h := m.release(group)
	if h == nil {
		return fmt.Errorf("vip: draining group %s: %w", group, ErrNotOpen)
	}
	_, alive := h.until(m.now())
	h.close()
	m.announcer.stop(h)
	m.keeper.forget(h)
	err := error(ErrNotOpen)
	if alive {
		err = m.drain(h, to, until)
	}
	if err != nil {
		err = fmt.Errorf("vip: draining group %s: %w", group, err)
		return errors.Join(err, m.shut(group, h))
	}
	return nil
}

func (m *Manager) drain(h *hold, to NextHop, until time.Duration) error {
	m.turn.Lock()
	defer m.turn.Unlock()
	began := m.now()
	gate, err := m.handoverGate()
	if err != nil {
		return err
	}
	if err := m.checkUntil(until); err != nil {
		return err
	}
	h.place.Lock()
	defer h.place.Unlock()
	g, err := m.group(h.name)
	if err != nil {
		return err
	}
	asks, err := m.asks(h, g)
	if err != nil {
		return err
	}
	if err := m.record.add(entriesOf(h.name, loopback, h.addrs)); err != nil {
		return err
	}
	m.mu.Lock()
	m.drains[h.name] = &drain{to: to, until: until, addrs: h.addrs}
	m.mu.Unlock()
	// In this order: nothing speaks for the address when it comes to the loopback interface, and it is
	// never missing.
	m.gating.Lock()
	err = gate.Drain(h.name, asks, until)
	m.gating.Unlock()
	if err == nil {
		if hops := m.inherit(h.name, to, until); hops != nil {
			err = gate.Steer(steeringOf(g, h.index, hops))
		}
	}
	if err != nil {
		return fmt.Errorf("gate: %w", err)
	}
	valid := int((until - began + lifetimeUnit - 1) / lifetimeUnit)
	for _, a := range h.addrs {
		if err := m.kernel.Put(loopbackIndex, a, valid); err != nil {
			return fmt.Errorf("adding %v to %s: %w", a, loopback, err)
		}
	}
	m.settle(loopbackIndex, h.addrs)
	if err := h.withdraw(m.kernel, h.addrs); err != nil {
		return err
	}
	if err := m.record.drop(entriesOf(h.name, h.iface, h.addrs)); err != nil {
		return err
	}
	m.log.Debug("group draining", "group", h.name, "addresses", len(h.addrs), "took", m.now()-began)
	return nil
}

// settle waits until IPv6 addresses that were just added are in use, so that there is no moment without. It takes a
// fraction of a millisecond, and is given up when the kernel is busy: then a packet may be lost, and comes again.
func (m *Manager) settle(index int, addrs []netip.Addr) {
	_, v6 := split(addrs)
	if len(v6) == 0 {
		return
	}
	for range settleTries {
		if ok, err := m.kernel.Settled(index, v6); ok || err != nil {
			return
		}
		<-time.After(settlePause)
	}
	m.log.Debug("IPv6 addresses are slow to come into use", "interface", index, "addresses", len(v6))
}

// asks says in which address's name this machine asks for the hardware addresses of its clients while it has a
// floating one on loopback only: its own, or 0.0.0.0, as a probe does (RFC 5227 section 2.1.1), which
// everybody answers. The caller holds h.place.
func (m *Manager) asks(h *hold, g Group) (map[netip.Addr]netip.Addr, error) {
	have, err := m.kernel.Addresses()
	if err != nil {
		return nil, err
	}
	out := make(map[netip.Addr]netip.Addr)
	for _, a := range h.addrs {
		if !a.Is4() {
			continue
		}
		p := host(a)
		for _, q := range g.Addresses {
			if q.Addr() == a {
				p = q
			}
		}
		if out[a] = m.ownAddress(have, h.index, p); !out[a].IsValid() {
			out[a] = netip.IPv4Unspecified()
		}
	}
	return out, nil
}

// Draining tells until when the group drains here; false: it does not.
func (m *Manager) Draining(group string) (until time.Duration, draining bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := m.drains[group]; d != nil {
		return d.until, true
	}
	return 0, false
}

// EndDrain ends the drain of a group at once: connections that are left are reset (their number is returned), the
// addresses go from the loopback interface, and nothing of the drain is left in the kernel. Where the kernel cannot
// end connections of others, they stay silent, and the new owner resets them when it stops steering. It is
// nothing for a group that does not drain. With many connections it takes a while (30 µs each). It may be called from any
// goroutine, also beside Open, Shut and Drain of the same group: when one of them has ended the drain that EndDrain found,
// what it has left to do is nothing.
func (m *Manager) EndDrain(group string) (reset int, err error) {
	d := m.drainOf(group)
	if d == nil {
		return 0, nil
	}
	reset, err = m.resetDrain(group, d)
	if errors.Is(err, errNoDestroy) || errors.Is(err, errNoDiag) {
		m.log.Info("connections are left to the new owner to reset", "group", group, "error", err)
		err = nil
	}
	m.turn.Lock()
	defer m.turn.Unlock()
	if m.drainOf(group) != d {
		return reset, nil // the group was opened, shut or drained again: nothing of that is ours to end
	}
	if err := errors.Join(err, m.endDrain(group)); err != nil {
		return reset, fmt.Errorf("vip: ending the drain of group %s: %w", group, err)
	}
	return reset, nil
}

// drainOf is the drain of a group, nil where there is none.
func (m *Manager) drainOf(group string) *drain {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.drains[group]
}

// resetDrain ends the connections of a drain while it lasts: many take long, and an Open must not wait for all of
// them, nor lose any once it is through.
func (m *Manager) resetDrain(group string, d *drain) (reset int, err error) {
	var flows []flow
	if err := m.kernel.Connections(d.addrs, statesOpen, func(f flow) { flows = append(flows, f) }); err != nil {
		return 0, err
	}
	for chunk := range slices.Chunk(flows, resetChunk) {
		m.turn.Lock()
		if m.drainOf(group) != d {
			m.turn.Unlock()
			return reset, nil
		}
		err := m.kernel.Destroy(chunk)
		m.turn.Unlock()
		if err != nil {
			return reset, err
		}
		reset += len(chunk)
	}
	return reset, nil
}

// resetConnections ends every open TCP connection of the addresses.
func resetConnections(k kernel, addrs []netip.Addr) (int, error) {
	var flows []flow
	if err := k.Connections(addrs, statesOpen, func(f flow) { flows = append(flows, f) }); err != nil {
		return 0, err
	}
	if len(flows) == 0 {
		return 0, nil
	}
	return len(flows), k.Destroy(flows)
}

// endDrain removes what a drain has put into the kernel. The caller holds turn.
func (m *Manager) endDrain(group string) error {
	d := m.drainOf(group)
	if d == nil {
		return nil
	}
	var first error
	for _, a := range d.addrs { // before the gate forgets that they are to be silent
		if err := m.kernel.Remove(loopbackIndex, a); err != nil && first == nil {
			first = fmt.Errorf("%v on %s: %w", a, loopback, err)
		}
	}
	if first == nil {
		first = m.record.drop(entriesOf(group, loopback, d.addrs))
	}
	if first != nil {
		return first // an address that stays needs the gate
	}
	gate, err := m.handoverGate()
	if err == nil {
		err = gate.EndDrain(group)
	}
	if err != nil {
		return err
	}
	m.mu.Lock()
	delete(m.drains, group)
	m.mu.Unlock()
	return nil
}

// draining are the groups that drain here.
func (m *Manager) draining() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.drains))
}

// resetDrained resets the connections that a predecessor was draining, as far as they may still send.
func resetDrained(k kernel, entries []entry) error {
	var addrs []netip.Addr
	for _, e := range entries {
		if e.Interface == loopback {
			addrs = append(addrs, e.Address)
		}
	}
	if len(addrs) == 0 {
		return nil
	}
	_, err := resetConnections(k, addrs)
	return err
}
