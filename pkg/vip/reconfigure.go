package vip

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Reconfigure makes groups the complete list. A group that is gone is shut; an open group keeps its lease, loses
// the addresses that are gone and gets the new ones, on another interface if that changed, and announces
// itself. A list that is refused (as in New) changes nothing, and with one that the gate refuses the old one stays
// in force, without the groups that were to go. After another error the new list is in force, and the event
// AddressError follows for what is still missing.
func (m *Manager) Reconfigure(groups []Group) error {
	if _, err := m.check(groups); err != nil {
		return err
	}
	defer m.keeper.poke() // another interface may have to be watched
	var errs []error
	next := make(map[string]Group, len(groups))
	for _, g := range groups {
		next[g.Name] = g
	}
	open := m.holds()
	// Everything goes before anything comes: an address may move from one group to another.
	for _, h := range open {
		g, stays := next[h.name]
		if !stays {
			errs = append(errs, m.Shut(h.name, "removed from the configuration"))
			continue
		}
		errs = append(errs, m.shrink(h, g))
	}
	// What goes is gone before the gate forgets it, and what comes is known to it before it is added.
	if s, ok := m.gate.(GroupSetter); ok {
		if err := s.SetGroups(groups, nil); err != nil {
			return errors.Join(append(errs, fmt.Errorf("vip: gate: %w", err), m.regrow(open))...)
		}
	}
	m.setGroups(groups)
	m.conflicts.reconfigured()
	for _, h := range open {
		if g, stays := next[h.name]; stays {
			errs = append(errs, m.grow(h, g))
		}
	}
	return errors.Join(errs...)
}

// regrow gives groups back what the list has that stays in force.
func (m *Manager) regrow(open []*hold) error {
	var errs []error
	for _, h := range open {
		m.mu.Lock()
		g := m.groups[h.name]
		m.mu.Unlock()
		if !h.isClosed() {
			errs = append(errs, m.grow(h, g))
		}
	}
	return errors.Join(errs...)
}

// shrink takes away what the group no longer has, or has on another interface.
func (m *Manager) shrink(h *hold, g Group) error {
	h.place.Lock()
	defer h.place.Unlock()
	gone := slices.Clone(h.addrs)
	if h.iface == g.Interface {
		want := g.addrs()
		gone = slices.DeleteFunc(gone, func(a netip.Addr) bool { return slices.Contains(want, a) })
	}
	if len(gone) == 0 {
		return nil
	}
	// First out of the list, then out of the kernel: nothing puts them back.
	h.addrs = slices.DeleteFunc(h.addrs, func(a netip.Addr) bool { return slices.Contains(gone, a) })
	err := h.withdraw(m.kernel, gone)
	if err == nil {
		err = m.record.drop(entriesOf(h.name, h.iface, gone))
	}
	if err != nil {
		return fmt.Errorf("vip: group %s: %w", h.name, err)
	}
	return nil
}

// grow adds what the group has new.
func (m *Manager) grow(h *hold, g Group) error {
	iface, addrs := h.where()
	if iface == g.Interface && slices.Equal(addrs, g.addrs()) {
		return nil
	}
	if err := m.record.add(g.entries()); err != nil {
		return err
	}
	l, err := m.kernel.Link(g.Interface)
	if err != nil && !errors.Is(err, ErrNoInterface) {
		return fmt.Errorf("vip: group %s: %s: %w", h.name, g.Interface, err)
	}
	h.place.Lock()
	h.iface, h.index, h.addrs = g.Interface, l.Index, g.addrs()
	h.place.Unlock()
	if a, err := m.fill(h); err != nil {
		m.keeper.poke()
		return fmt.Errorf("vip: group %s: adding %v to %s: %w", h.name, a, g.Interface, err)
	}
	m.announcer.start(h)
	return nil
}
