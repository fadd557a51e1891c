package lease

// startRounds asks all voters to renew every lease that this node has.
func (m *Machine) startRounds(now Time) {
	for _, name := range m.names {
		g := m.groups[name]
		if m.cfg.Witness && g.phase == phaseHolding {
			m.countWitness(now, g)
		}
		if g.claims() {
			m.startRound(now, g)
		}
	}
}

// lapse ends the leases whose validity is over. It runs before a message is
// looked at: a grant that arrives too late must not bridge a gap in which
// another node may have held the group.
func (m *Machine) lapse(now Time) {
	if m.holding == 0 {
		return
	}
	for _, name := range m.names {
		if g := m.groups[name]; g.phase == phaseHolding && now.Boot >= g.until {
			m.stats.Lapsed++
			m.lose(now, g, ReasonExpired)
		}
	}
}

func (m *Machine) holderTick(now Time, g *group) {
	if !g.claims() {
		return
	}
	if g.phase == phaseConfirming && now.Boot >= g.started.Add(m.cfg.TTL) {
		m.lose(now, g, ReasonResume)
		return
	}
	if g.round.open && now.Boot >= g.round.next {
		m.ask(now, g)
	}
}

// lose shuts the gate of a lease that is over, and frees the votes: some voters
// may still promise it, and the next owner may need them. The node
// does not ask again for more than one ttl: if it can send but not hear, the
// others get their turn in between.
func (m *Machine) lose(now Time, g *group, why Reason) {
	epoch := g.epoch
	m.drop(g, why)
	m.repeatRelease(now, g.name, epoch)
	g.askAt = now.Boot.Add(m.cfg.TTL + m.jitter(m.cfg.TTL))
	g.refusal, g.refusedBy = why, ""
}

// outlive ends a lease when a request shows that it is over: another node has a valid
// one of a higher epoch, and epochs of established leases grow (invariant 4). A machine that was paused from
// outside finds the new owner's renewals in its queue when it goes on, and need not
// wait for its own next round. With a witness in place of a majority both may
// be valid, and other rules say who yields.
func (m *Machine) outlive(now Time, e *Entry) {
	if g := m.groups[e.Group]; e.Valid && g.claims() && e.Epoch > g.epoch && !m.cfg.Witness {
		m.stats.Superseded++
		m.lose(now, g, ReasonRefused)
	}
}

// drop shuts the gate, forgets the claim, and only then releases the votes
// (the outbox keeps that order: invariant 3).
func (m *Machine) drop(g *group, why Reason) {
	epoch := g.epoch
	m.leave(g)
	m.out.shut(Shut{Group: g.name, Epoch: epoch, Reason: why})
	m.tell(Entry{Group: g.name, Kind: KindRelease, Epoch: epoch})
}

// Release gives a group up at once: the gate is shut, then the voters are told.
// It reports whether there was anything to give up.
func (m *Machine) Release(now Time, name string, why Reason) bool {
	g := m.groups[name]
	if g == nil || g.phase == phaseIdle {
		return false
	}
	if g.phase == phaseAcquiring {
		m.giveUp(now, g, now.Boot.Add(m.cfg.TTL))
	} else {
		epoch := g.epoch
		m.drop(g, why)
		m.repeatRelease(now, g.name, epoch)
		// Others first; this node only if nobody wants it.
		g.askAt = now.Boot.Add(m.cfg.TTL)
	}
	m.flush(now)
	return true
}

// Paused says that this machine or process stood still: gates are shut first,
// and the voters asked second. With reverted true the machine's memory may be
// older than its promises (a snapshot was restored, or a clock says so), and
// the voter grants nothing for one ttl.
func (m *Machine) Paused(now Time, reverted bool) {
	if reverted && m.voter != nil {
		m.voter.quarantineUntil = max(m.voter.quarantineUntil, now.Boot.Add(m.cfg.TTL))
		m.voter.changed = true
	}
	for _, name := range m.names {
		g := m.groups[name]
		switch g.phase {
		case phaseHolding:
			m.confirm(now, g)
		case phaseAcquiring:
			// The votes are given back, and asked for again soon: nobody else
			// need be a candidate. The others that are have their turn meanwhile.
			m.giveUp(now, g, now.Boot.Add(m.jitter(m.cfg.TTL/rankDivisor)))
		}
	}
	m.flush(now)
}

// Confirm does for one group what Paused does for all: its gate could not be
// opened or renewed in time, so it is shut, and the voters are asked again. Call
// it before anything else is asked of the Machine.
func (m *Machine) Confirm(now Time, name string) {
	if g := m.groups[name]; g != nil && g.phase == phaseHolding {
		m.confirm(now, g)
		m.flush(now)
	}
}

func (m *Machine) confirm(now Time, g *group) {
	m.out.shut(Shut{Group: g.name, Epoch: g.epoch, Reason: ReasonPaused})
	m.begin(now, g, phaseConfirming, g.epoch, CauseConfirmed)
}

// resume claims again what the last run of this boot held.
func (m *Machine) resume(now Time) {
	for _, h := range m.cfg.Record.Holds {
		if g := m.groups[h.Group]; g != nil {
			// The ticket by which it was won may still be repeated.
			g.won = h.Epoch
			m.begin(now, g, phaseConfirming, h.Epoch, CauseResume)
		}
	}
	m.nextRound = now.Boot.Add(RenewInterval(m.cfg.TTL))
}
