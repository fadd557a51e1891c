package vip

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// verifier is the gate, if others can take it away.
func (m *Manager) verifier() Verifier {
	v, _ := m.gate.(Verifier)
	return v
}

// verifyPause is the time between two looks at the gate.
func (m *Manager) verifyPause() time.Duration {
	if o, ok := m.gate.(owned); ok && o.Owned() {
		return verifyOwned
	}
	return verifyEvery
}

// followGate has the gate looked at whenever it may have been touched by somebody else.
func (m *Manager) followGate(ctx context.Context) {
	v := m.verifier()
	if v == nil {
		return
	}
	for ctx.Err() == nil {
		err := v.Watch(ctx, m.keeper.pokeGate)
		if ctx.Err() != nil {
			return
		}
		m.events(Event{Kind: WatchError, Detail: err.Error()})
		m.keeper.pokeGate() // a report may be lost
		select {
		case <-ctx.Done():
		case <-time.After(resubscribeAfter):
		}
	}
}

// renewGate renews the gate of groups; when somebody has taken the gate away, it is made anew first.
func (m *Manager) renewGate(deadlines map[string]time.Duration) map[string]error {
	if len(deadlines) == 0 {
		return nil
	}
	failed := m.gate.Renew(deadlines)
	again := make(map[string]time.Duration) // also those that were renewed: a gate made anew has their old deadlines
	lost := false
	for name, deadline := range deadlines {
		err := failed[name]
		lost = lost || errors.Is(err, ErrGateLost)
		if err == nil || errors.Is(err, ErrGateLost) {
			again[name] = deadline
		}
	}
	if !lost || m.mend() != nil {
		return failed
	}
	rest := m.gate.Renew(again)
	for name := range again {
		delete(failed, name)
		if err := rest[name]; err != nil {
			failed[name] = err
		}
	}
	return failed
}

// mend looks whether the gate stands. If it does not, the order is: the addresses go, for nothing bounds them
// any more; the gate is built with everything shut; it is opened for the groups whose lease is valid still;
// their addresses come back. Any goroutine.
func (m *Manager) mend() error {
	v := m.verifier()
	if v == nil {
		return nil
	}
	// Without a lock at first: mostly there is nothing to do, and a Shut must not wait for a look.
	stands, err := v.Verify()
	if err != nil {
		return fmt.Errorf("vip: %w", err)
	}
	if stands && !slices.ContainsFunc(m.holds(), (*hold).isAway) {
		return nil
	}
	m.turn.Lock()
	defer m.turn.Unlock()
	if stands, err = v.Verify(); err != nil {
		return fmt.Errorf("vip: %w", err)
	}
	holds := m.holds()
	if !stands {
		if !m.gateLost {
			m.gateLost = true
			m.events(Event{Kind: GateLost, Detail: "somebody removed or changed the tables of the gate; addresses deleted until it stands again"})
		}
		for _, h := range holds {
			err = errors.Join(err, m.sendAway(h))
		}
		for _, group := range m.draining() { // nothing keeps them silent any more
			err = errors.Join(err, m.endDrain(group))
		}
		if err := errors.Join(err, v.Restore()); err != nil {
			return fmt.Errorf("vip: gate: building it again: %w", err)
		}
	}
	for _, h := range holds {
		err = errors.Join(err, m.bringBack(h))
	}
	if err == nil && m.gateLost {
		m.gateLost = false
		m.events(Event{Kind: GateRestored, Detail: "the gate stands again"})
	}
	return err
}

// sendAway deletes the addresses of a hold, and keeps everybody from putting them back.
func (m *Manager) sendAway(h *hold) error {
	h.place.Lock()
	defer h.place.Unlock()
	h.away = true
	return h.withdraw(m.kernel, h.addrs)
}

func (h *hold) isAway() bool {
	h.place.Lock()
	defer h.place.Unlock()
	return h.away
}

// bringBack opens the gate for a hold whose addresses were sent away, and adds them again.
func (m *Manager) bringBack(h *hold) error {
	if !h.isAway() {
		return nil
	}
	m.gating.Lock() // against a Shut at this moment
	deadline, alive := h.until(m.now())
	var err error
	if alive {
		err = m.gate.Open(h.name, deadline)
	}
	m.gating.Unlock()
	if !alive || errors.Is(err, ErrDeadline) {
		return nil // over, or nearly: whoever renews it opens it again
	}
	if err != nil {
		return fmt.Errorf("vip: group %s: gate: %w", h.name, err)
	}
	h.place.Lock()
	h.away = false
	h.place.Unlock()
	a, err := m.fill(h)
	if err != nil && !errors.Is(err, ErrNotOpen) && !errors.Is(err, ErrDeadline) && !errors.Is(err, ErrNoInterface) {
		return fmt.Errorf("vip: group %s: adding %v: %w", h.name, a, err)
	}
	m.announcer.start(h)
	return nil
}
