package vip

import "errors"

// Close gives up the gate's and the manager's own resources. The addresses of open groups stay for a restart that
// resumes them, and so does the gate in the kernel. What nobody can resume is withdrawn here, because nobody else does
// it any more: groups whose lease has run out since Run returned, those that were to resume and did not, and what
// could not be deleted before. The gate takes its rules away only when no address is left for them to stop: behind
// no gate it would answer until its lifetime ends. Call it after Run has returned.
func (m *Manager) Close() error {
	lapsed := m.lapseAll()
	swept := m.sweepDead()
	closed := m.gate.Close(!m.record.empty())
	// Once more for one that ran out between the two.
	return errors.Join(lapsed, swept, closed, m.lapseAll(), m.kernel.Close())
}

// lapseAll withdraws every hold whose deadline has passed.
func (m *Manager) lapseAll() error {
	var errs []error
	for _, h := range m.holds() {
		errs = append(errs, m.lapse(h))
	}
	return errors.Join(errs...)
}

// sweepDead deletes the recorded addresses of groups that are not alive in any way.
func (m *Manager) sweepDead() error {
	m.turn.Lock()
	defer m.turn.Unlock()
	var errs []error
	for _, group := range m.record.groups() {
		if m.alive(group) {
			continue
		}
		_, err := m.record.sweep(m.kernel, m.record.of(group))
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// alive tells whether addresses of the group may be on this machine for good reason.
func (m *Manager) alive(group string) bool {
	now := m.now()
	if h := m.holding(group); h != nil {
		if _, alive := h.until(now); alive {
			return true
		}
	}
	if until, draining := m.Draining(group); draining && now < until {
		return true
	}
	c, knows := m.gate.(carrier)
	// A gate that does not know has no rules that would be missed. The lifetimes of the addresses end them.
	return !knows || c.Carries(group)
}
