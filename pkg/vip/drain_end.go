package vip

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// stay gives the addresses of a drain a lifetime on the loopback interface. It stops at the first error, and says at
// which address. The caller holds turn.
func (m *Manager) stay(d *drain, now time.Duration) (netip.Addr, error) {
	left := min(d.until-now, drainLife)
	for _, a := range d.addrs {
		if err := m.kernel.Put(loopbackIndex, a, int((left+lifetimeUnit-1)/lifetimeUnit)); err != nil {
			return a, err
		}
	}
	d.told = now
	return netip.Addr{}, nil
}

// refreshDrains lets the addresses of drains live on, at most once a second. Run calls it.
func (m *Manager) refreshDrains() error {
	var errs []error
	for _, group := range m.draining() {
		m.turn.Lock()
		now := m.now()
		// While the gate is lost nothing would keep the address silent.
		if d := m.drainOf(group); d != nil && !m.gateLost && now < d.until && now-d.told >= refreshEvery {
			if a, err := m.stay(d, now); err != nil {
				errs = append(errs, fmt.Errorf("vip: draining group %s: %v on %s: %w", group, a, loopback, err))
			}
		}
		m.turn.Unlock()
	}
	return errors.Join(errs...)
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
