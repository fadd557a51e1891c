package vip

import (
	"errors"
	"fmt"
	"net/netip"
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
	// drainLife is how long the addresses stay on the loopback interface when nobody looks after them: an agent that
	// is dead would not notice that somebody has removed the gate, and the kernel would answer ARP for them.
	drainLife = 5 * time.Second
)

// drain is a group that another node owns, and whose connections of before go on here.
type drain struct {
	to    NextHop
	until time.Duration
	addrs []netip.Addr
	// told is when the kernel was last told how long the addresses live; guarded by turn.
	told time.Duration
}

// Drain is Shut for a group whose connections are to go on here until they end, or until the instant `until`. When
// it returns, nothing speaks for the group any more: no announcement is under way, no ARP or ND message leaves in
// its name, and its addresses are on the loopback interface, where existing connections have them. The caller may
// then tell `to` that it can have the group. UDP ends here.
//
// The kernel ends all of it at `until` by itself: TCP packets pass no longer, and the addresses go within 3.5 s. The addresses
// also go within drainLife when Run does not work beside it. Call
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
	d := &drain{to: to, until: until, addrs: h.addrs, told: began}
	m.drains[h.name] = d
	m.mu.Unlock()
	// They come to loopback first, while this node speaks for them by its lease: from the moment at which the gate
	// silences them to the one at which the next owner answers, clients wait.
	if a, err := m.stay(d, began); err != nil {
		return fmt.Errorf("adding %v to %s: %w", a, loopback, err)
	}
	m.settle(loopbackIndex, h.addrs)
	m.gating.Lock()
	// All of that takes time, and the gate lets TCP pass until the drain's end: only who still has the lease may say so.
	if left := h.left(m.now()); left > 0 {
		err = gate.Drain(h.name, asks, until)
	} else {
		err = fmt.Errorf("%w: %v left", ErrDeadline, left)
	}
	m.gating.Unlock()
	if err == nil {
		if hops := m.inherit(h.name, to, until); hops != nil {
			err = gate.Steer(steeringOf(g, h.index, hops))
		}
	}
	if err != nil {
		return fmt.Errorf("gate: %w", err)
	}
	// Never missing: they are on loopback already.
	if err := h.withdraw(m.kernel, h.addrs); err != nil {
		return err
	}
	if err := m.record.drop(entriesOf(h.name, h.iface, h.addrs)); err != nil {
		return err
	}
	m.keeper.signal() // it has their lifetimes to look after
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
