package lease

import (
	"fmt"
	"maps"
	"slices"
)

// Reconfigure loads another list of voters, of the next generation. The caller
// has made sure that every node of the config, voter or not, already uses the
// present generation: one that has just lost its vote, and does not know it,
// counts by the list before. Promises are kept; for one ttl this voter grants
// renewals only, and this node asks for nothing.
func (m *Machine) Reconfigure(now Time, nodes, voters []string, generation uint64) error {
	if !adjacent(generation, m.cfg.Generation) || difference(voters, m.cfg.Voters) > 1 {
		return fmt.Errorf("lease: voter list of generation %d to %d: change one voter and raise the generation by one at a time", m.cfg.Generation, generation)
	}
	if len(voters) == 0 || len(nodes) > MaxNodes || m.cfg.Witness && len(voters) != 2 {
		return fmt.Errorf("lease: %d voters among %d nodes cannot be loaded", len(voters), len(nodes))
	}
	m.cfg.Generation = generation
	m.setVoters(nodes, voters)
	switch {
	case m.voter == nil && m.voters[m.cfg.Node]:
		// A new voter knows nothing of what others were promised.
		m.voter = newVoter(m.cfg.TTL)
		m.voter.quarantineUntil = now.Boot.Add(m.cfg.TTL)
		m.voter.changed = true
	case m.voter != nil && !m.voters[m.cfg.Node]:
		m.voter = nil
	}
	if m.voter != nil {
		m.voter.renewOnlyUntil = now.Boot.Add(m.cfg.TTL)
		m.voter.changed = true
	}
	for _, name := range m.names {
		g := m.groups[name]
		maps.DeleteFunc(g.valid, func(v string, _ Instant) bool { return v != witnessName && !m.voters[v] })
		maps.DeleteFunc(g.round.answers, func(v string, _ answer) bool { return !m.voters[v] })
		if g.phase == phaseHolding {
			g.until = m.validity(g)
		}
		if g.phase == phaseAcquiring {
			m.giveUp(now, g, now.Boot.Add(m.cfg.TTL))
		}
		g.askAt = max(g.askAt, now.Boot.Add(m.cfg.TTL))
	}
	m.lapse(now)
	m.flush(now)
	return nil
}

// difference counts the names that are in one list only.
func difference(a, b []string) int {
	n := 0
	for _, x := range a {
		if !slices.Contains(b, x) {
			n++
		}
	}
	for _, x := range b {
		if !slices.Contains(a, x) {
			n++
		}
	}
	return n
}

// SetGroups replaces the configured groups. Groups that are gone are released;
// what was promised on them is remembered until it has run out.
func (m *Machine) SetGroups(now Time, names []string) error {
	if len(names) > MaxGroups {
		return fmt.Errorf("lease: %d groups, at most %d", len(names), MaxGroups)
	}
	for _, name := range m.names {
		if g := m.groups[name]; !slices.Contains(names, name) {
			switch {
			case g.claims():
				m.drop(g, ReasonRemoved)
			case g.phase == phaseAcquiring:
				m.giveUp(now, g, now.Boot)
			}
			m.retired = max(m.retired, g.epoch, g.highest)
		}
	}
	m.flush(now) // the releases still need this node's own voter to know the groups
	next := make(map[string]*group, len(names))
	for _, name := range names {
		if next[name] = m.groups[name]; next[name] == nil {
			next[name] = newGroup(name)
			next[name].highest = m.retired
		}
	}
	m.groups = next
	m.names = slices.Sorted(maps.Keys(next))
	if m.voter != nil {
		m.voter.forget(now.Boot, func(name string) bool { return next[name] != nil })
	}
	m.flush(now)
	return nil
}
