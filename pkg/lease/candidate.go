package lease

import (
	"slices"
	"time"
)

// EligibleIs reports whether SetEligible with these would change nothing, as for a group that is not known.
func (m *Machine) EligibleIs(name string, eligible bool, rank int) bool {
	g := m.groups[name]
	return g == nil || g.eligible == eligible && g.rank == max(rank, 0)
}

// SetEligible says whether this node may take a group when it is free, and how
// many better candidates there are. An acquisition under way is given up when
// the node is no longer eligible; a lease that is held is not touched.
func (m *Machine) SetEligible(now Time, name string, eligible bool, rank int) {
	g := m.groups[name]
	if g == nil || m.EligibleIs(name, eligible, rank) {
		return
	}
	if eligible && !g.eligible {
		g.askAt = max(g.askAt, now.Boot) // from when askTime counts the turn of a node without a vote
	}
	g.eligible, g.rank = eligible, max(rank, 0)
	if !eligible && g.phase == phaseAcquiring {
		m.giveUp(now, g, now.Boot)
	}
	m.flush(now)
}

// askTime returns when a candidate may ask: not before the group is free as
// far as this node knows, and each later candidate a little later.
func (m *Machine) askTime(g *group) Instant {
	if m.voter == nil {
		return g.askAt.Add(m.turn(g))
	}
	p := m.voter.group(g.name)
	free := max(p.freed, m.voter.quarantineUntil, m.voter.renewOnlyUntil)
	if p.holder != "" {
		free = max(free, p.deadline)
	}
	return max(g.askAt, free.Add(time.Duration(g.rank)*m.cfg.TTL/rankDivisor))
}

// turn is how much later than the first candidate one without a vote asks. It sees no renewal, so it asks when the lease that it was
// told of is over, and is told of the next. The holder has renewed meanwhile, some times an interval; so later candidates come
// in order within an interval whatever that number is, and not so close to its end that a voter would have them wait for
// the end of a promise (soonDivisor). Then whole intervals are added, up to one ttl: the later a candidate comes, the less often
// it asks, so that a hundred of them are no herd.
func (m *Machine) turn(g *group) time.Duration {
	interval := RenewInterval(m.cfg.TTL)
	order := interval * 4 / 5 * time.Duration(g.rank) / time.Duration(g.rank+turnHalf)
	if !g.hinted {
		return order
	}
	return order + interval*time.Duration(min(g.rank/turnHalf, renewDivisor))
}

func (m *Machine) candidateTick(now Time, g *group) {
	switch g.phase {
	case phaseIdle:
		if g.eligible && m.mayAsk(now, g) {
			m.acquire(now, g)
		}
	case phaseAcquiring:
		if now.Boot >= g.started.Add(m.cfg.TTL/acquireDivisor) {
			m.giveUp(now, g, m.afterUndecided(now, g))
			g.hinted = true
		} else if g.round.open && now.Boot >= g.round.next {
			m.ask(now, g)
		}
	}
}

// mayAsk reports whether it is this candidate's turn. The back-off after an
// unanswered question does not count once the witness has proved that the peer
// is gone.
func (m *Machine) mayAsk(now Time, g *group) bool {
	if m.cfg.Witness && m.voter != nil && m.sinceHeard(m.peer(), now.Boot) >= m.cfg.TTL {
		return m.mayTakeAlone(now, g) && !m.voter.group(g.name).running(now.Boot)
	}
	return now.Boot >= m.askTime(g)
}

func (m *Machine) acquire(now Time, g *group) {
	cause := CauseFree
	highest := g.highest
	if m.voter != nil {
		p := m.voter.group(g.name)
		highest = max(highest, p.highest)
		if p.holder != "" && p.holder != m.cfg.Node {
			cause = CauseExpired
		}
	}
	m.begin(now, g, phaseAcquiring, m.newEpoch(now, max(highest, g.epoch)), cause)
	if m.cfg.Witness {
		m.countWitness(now, g)
	}
}

func (m *Machine) newEpoch(now Time, highest Epoch) Epoch {
	return max(highest+1, Epoch(max(now.Unix, 0)))
}

// giveUp ends an acquisition and hands its votes back at once, so that a
// minority of votes does not keep others out.
func (m *Machine) giveUp(now Time, g *group, askAgain Instant) {
	e := Entry{Group: g.name, Kind: KindRelease, Epoch: g.epoch}
	for _, v := range m.cfg.Voters {
		if !g.lastWord(v) {
			m.out.entry(v, e)
		}
	}
	m.leave(g)
	g.askAt = max(askAgain, now.Boot)
}

// released forgets what voters said about the time left of a lease that its
// holder has just given up: the question is open again at once.
func (m *Machine) released(now Time, name, holder string) {
	g := m.groups[name]
	if holder == m.cfg.Node {
		return
	}
	if g.phase == phaseIdle && g.hinted {
		g.askAt, g.hinted = now.Boot, false
	}
	for v, a := range g.round.answers {
		if g.phase == phaseAcquiring && !a.granted && a.holder == holder {
			delete(g.round.answers, v)
			g.round.next = now.Boot
		}
	}
}

// afterUndecided returns when to ask again after a round that came to no
// decision. If a quorum has answered, the voters that are missing are gone, and
// those that refused have said when. If not, this node may be mute or deaf, and
// leaves the others their turn.
func (m *Machine) afterUndecided(now Time, g *group) Instant {
	if len(g.round.answers) >= m.quorum {
		return m.freeAgain(now, g)
	}
	return now.Boot.Add(m.cfg.TTL + m.jitter(m.cfg.TTL))
}

// freeAgain returns when a quorum of voters could grant, by what they said,
// and a little later, at random: two candidates that split the votes must not
// meet again.
func (m *Machine) freeAgain(now Time, g *group) Instant {
	var at []Instant
	for _, a := range g.round.answers {
		at = append(at, max(a.freeAt, now.Boot))
	}
	slices.Sort(at)
	free := now.Boot
	if len(at) >= m.quorum {
		free = at[m.quorum-1]
	}
	if contested := free == now.Boot; contested {
		return free.Add(m.cfg.TTL/100 + m.jitter(m.cfg.TTL/10))
	}
	return free.Add(m.jitter(m.cfg.TTL / 100))
}

// jitter returns a random time below d.
func (m *Machine) jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(m.cfg.Rand.Int64N(int64(d)))
}

func (m *Machine) groupDeadline(g *group, next *earliest) {
	switch g.phase {
	case phaseIdle:
		// With a witness the hello rhythm ticks often enough, and asking may
		// wait for a proof whose time is not known.
		if g.eligible && !m.cfg.Witness {
			next.add(m.askTime(g))
		}
		return
	case phaseAcquiring:
		next.add(g.started.Add(m.cfg.TTL / acquireDivisor))
	case phaseHolding:
		next.add(g.until)
		if g.opened != 0 {
			next.add(g.opened + 1)
		}
	case phaseConfirming:
		next.add(g.started.Add(m.cfg.TTL))
	}
	if g.round.open {
		next.add(g.round.next)
	}
}
