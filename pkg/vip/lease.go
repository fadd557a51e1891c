package vip

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Open lets this machine speak for the group until deadline: record, gate, addresses, announcement, in this
// order. Opening an open group renews it and puts back what is missing. After an error the group is
// shut, all of it: no service is better than half of one that nobody notices.
//
// An IPv6 address is in use, and announced, a moment after Open has returned: when a worker of the kernel gets to it
// (net/ipv6/addrconf.c addrconf_dad_work), which others that hold the network lock delay.
func (m *Manager) Open(group string, deadline time.Duration) error {
	m.mu.Lock()
	g, known := m.groups[group]
	old := m.held[group]
	m.mu.Unlock()
	if !known {
		return fmt.Errorf("vip: %w: %s", ErrUnknownGroup, group)
	}
	var err error = ErrNotOpen
	if old != nil {
		if err = m.Renew(group, deadline); err == nil {
			_, err = m.fill(old)
		}
	}
	if errors.Is(err, ErrNotOpen) || errors.Is(err, ErrGateExpired) { // never opened, or just lapsed
		err = m.open(g, deadline)
		if errors.Is(err, ErrGateLost) && m.clear(group, nil) == nil && m.mend() == nil {
			err = m.open(g, deadline)
		}
	}
	if err != nil {
		err = fmt.Errorf("vip: opening group %s: %w", group, err)
		return errors.Join(err, m.Shut(group, "opening failed"))
	}
	return nil
}

func (m *Manager) open(g Group, deadline time.Duration) error {
	m.turn.Lock()
	defer m.turn.Unlock()
	if old := m.release(g.Name); old != nil { // past its deadline: its addresses are taken over
		old.close()
		m.announcer.stop(old)
	}
	began := m.now()
	if _, err := m.role.seconds(deadline - began); err != nil {
		return err
	}
	l, err := m.kernel.Link(g.Interface)
	if err != nil {
		return fmt.Errorf("%s: %w", g.Interface, err)
	}
	if err := m.record.add(g.entries()); err != nil {
		return err
	}
	// A group that resumes may have had other addresses before the restart.
	others := m.record.others(g)
	if _, draining := m.Draining(g.Name); draining {
		// It comes back. Its connections need the addresses on loopback until they are on the interface.
		others = slices.DeleteFunc(others, func(e entry) bool { return e.Interface == loopback })
	}
	if _, err := m.record.sweep(m.kernel, others); err != nil {
		return err
	}
	if err := m.gate.Open(g.Name, deadline); err != nil {
		return fmt.Errorf("gate: %w", err)
	}
	h := &hold{name: g.Name, deadline: deadline, iface: g.Interface, index: l.Index, addrs: g.addrs()}
	if a, err := m.fill(h); err != nil {
		return fmt.Errorf("adding %v to %s: %w", a, g.Interface, err)
	}
	if _, draining := m.Draining(g.Name); draining { // before the addresses of a drain go from loopback
		m.settle(l.Index, h.addrs)
	}
	if err := m.endDrain(g.Name); err != nil {
		return err
	}
	m.mu.Lock()
	m.held[g.Name] = h
	m.mu.Unlock()
	m.announcer.start(h)
	// What happened to an address between its addition and this line nobody has seen: look once.
	m.keeper.pokeSoon(m.now())
	m.log.Debug("group opened", "group", g.Name, "addresses", len(h.addrs), "took", m.now()-began)
	return nil
}

// fill puts every address of h into the kernel, or gives them new lifetimes. It stops at the first error, and
// says at which address.
func (m *Manager) fill(h *hold) (netip.Addr, error) {
	iface, addrs := h.where()
	h.beginRefresh(m.now())
	for _, a := range addrs {
		h.place.Lock() // one at a time: Shut waits for one request at most
		err := h.put(m.kernel, m.role, m.now, a)
		h.place.Unlock()
		if err != nil {
			m.log.Debug("address not set", "group", h.name, "addr", a, "interface", iface, "error", err)
			return a, err
		}
	}
	return netip.Addr{}, nil
}

// Renew is RenewAll for one group.
func (m *Manager) Renew(group string, deadline time.Duration) error {
	return m.RenewAll(map[string]time.Duration{group: deadline})[group]
}

// RenewAll moves the deadlines of open groups, and returns an error for each group of which it could not; nil:
// all were renewed. The gate is renewed here and now, for all groups at once; the lifetimes of the addresses
// are refreshed by Run, at most once a second, because a request to the kernel can wait for its network
// lock longer than a lease may. RenewAll therefore makes no such request. ErrGateExpired,
// ErrNotOpen and ErrDeadline say that this machine stood still: confirm the lease before opening again. After
// ErrStalled the group is open until the deadline that it had: renew it again. After another error shut it or
// open it again. Trouble with addresses is an AddressError event instead.
func (m *Manager) RenewAll(deadlines map[string]time.Duration) map[string]error {
	now := m.now()
	failed := make(map[string]error)
	holds := make(map[string]*hold, len(deadlines))
	ask := make(map[string]time.Duration, len(deadlines))
	for name, deadline := range deadlines {
		h := m.holding(name)
		switch left := deadline - now; {
		case h == nil:
			failed[name] = fmt.Errorf("vip: %w: %s", ErrNotOpen, name)
			continue
		case left <= 0 || left > maxLeaseLeft:
			failed[name] = fmt.Errorf("vip: renewing group %s: %w: %v left", name, ErrDeadline, left)
			continue
		}
		if _, alive := h.until(now); !alive {
			failed[name] = fmt.Errorf("vip: %w: %s", ErrNotOpen, name)
			continue
		}
		holds[name], ask[name] = h, deadline
	}
	for name, err := range m.renewGate(ask) {
		failed[name] = fmt.Errorf("vip: renewing group %s: gate: %w", name, err)
		delete(ask, name)
	}
	for name, deadline := range ask {
		if !holds[name].extend(deadline) {
			failed[name] = fmt.Errorf("vip: %w: %s", ErrNotOpen, name)
			continue
		}
		m.keeper.renewed(holds[name], now)
	}
	if len(failed) == 0 {
		return nil
	}
	return failed
}

// Shut ends the group on this machine: when it returns, the gate is shut, no announcement is under way, and
// the addresses are deleted. Shutting a shut group is nothing, except that addresses kept for resuming
// (Options.Keep) go too, and a drain ends without telling its connections (EndDrain does). With an error, what could not be deleted has a lifetime of its own and stays in
// the record; Shut may be called again.
func (m *Manager) Shut(group, reason string) error {
	began := m.now()
	h := m.release(group)
	if h != nil {
		h.close()
		m.announcer.stop(h)
		m.keeper.forget(h)
	}
	err := m.shut(group, h)
	if h != nil {
		m.log.Debug("group shut", "group", group, "reason", reason, "took", m.now()-began)
	}
	return err
}

// shut is what Shut does to a group whose hold, if it has one, is closed.
func (m *Manager) shut(group string, h *hold) error {
	var errs []error
	m.gating.Lock()
	err := m.gate.Shut(group)
	m.gating.Unlock()
	if err != nil {
		errs = append(errs, fmt.Errorf("vip: shutting group %s: gate: %w", group, err))
	}
	if err := m.clear(group, h); err != nil {
		errs = append(errs, fmt.Errorf("vip: shutting group %s: %w", group, err))
	}
	return errors.Join(errs...)
}

// clear deletes the addresses of a group whose hold is closed, or that has none, and forgets them.
func (m *Manager) clear(group string, h *hold) error {
	m.turn.Lock()
	defer m.turn.Unlock()
	if h != nil {
		if err := m.empty(h); err != nil {
			return err
		}
	}
	if err := m.endDrain(group); err != nil {
		return err
	}
	_, err := m.record.sweep(m.kernel, m.record.of(group)) // mostly nothing is left
	return err
}

// empty deletes the addresses of a closed hold, and forgets them.
func (m *Manager) empty(h *hold) error {
	h.place.Lock()
	defer h.place.Unlock()
	if err := h.withdraw(m.kernel, h.addrs); err != nil {
		return err
	}
	return m.record.drop(entriesOf(h.name, h.iface, h.addrs))
}

// release takes the hold of a group out of the list, so that nobody finds it any more; nil if there is none.
func (m *Manager) release(group string) *hold {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.held[group]
	delete(m.held, group)
	return h
}

// lapse withdraws a hold whose deadline passed without Renew or Shut. The gate has ended by itself; it is
// called by the owner only. Run calls this.
func (m *Manager) lapse(h *hold) error {
	m.turn.Lock()
	defer m.turn.Unlock()
	if m.holding(h.name) != h || !h.closeIfOver(m.now()) {
		return nil
	}
	m.release(h.name)
	m.announcer.stop(h)
	m.events(Event{Kind: Lapsed, Group: h.name, Detail: "the deadline passed without a renewal; addresses withdrawn"})
	return m.empty(h)
}
