package lease

import (
	"math"
	"time"
)

// ask sends the round's request to every voter that has not answered it, and whose turn it is.
func (m *Machine) ask(now Time, g *group) {
	e := Entry{Group: g.name, Kind: KindRequest, Epoch: g.epoch, Ticket: g.ticket}
	e.Valid = g.phase == phaseHolding && now.Boot < g.until
	every := m.cfg.TTL / resendDivisor
	if !g.ticket.zero() && g.phase == phaseAcquiring {
		every = m.cfg.TTL / transferDivisor
	}
	next := earliest{}
	next.add(now.Boot.Add(RenewInterval(m.cfg.TTL)))
	for _, v := range m.cfg.Voters {
		if g.answered(now.Boot, v) {
			continue
		}
		wait := max(every, m.patience(now, v))
		due := m.askedAt(g, v).Add(wait)
		if now.Boot >= due {
			m.out.entry(v, e)
			g.round.asked[v] = unsent
			due = now.Boot.Add(wait)
		}
		next.add(due)
	}
	g.round.next = next.at
	for _, a := range g.round.answers {
		if !a.granted && a.freeAt > now.Boot {
			g.round.next = min(g.round.next, a.freeAt)
		}
	}
}

// askedAt returns when the question left that a voter has not answered yet; long ago if there is none.
func (m *Machine) askedAt(g *group, voter string) Instant {
	counter, asked := g.round.asked[voter]
	if !asked || g.lastWord(voter) {
		return math.MinInt64 / 2
	}
	at, known := m.sent.at(counter)
	if !known {
		return math.MinInt64 / 2
	}
	return at
}

// latency is how long the answers of a voter take until they are read here: the longest, until shorter ones have come for a
// while. Each names its question, so that of a repeated one is measured, too (RFC 6298, section 3).
type latency struct {
	d   time.Duration
	ref uint64 // the question of the last answer
}

func (m *Machine) noteLatency(voter string, ref uint64, d time.Duration) {
	was := m.latency[voter]
	if ref != was.ref { // a message answers for many groups
		was.d -= was.d / latencyDecay
	}
	m.latency[voter] = latency{d: max(was.d, min(d, RenewInterval(m.cfg.TTL)/2)), ref: ref}
}

// patience is how long to wait for a voter's answer before it is asked again: twice what its answers take, and no longer
// than a round. A node that has more to read than it can would otherwise ask for more, and never catch up.
// A voter that has not been heard for a while may be dead, and is asked as if it were quick.
func (m *Machine) patience(now Time, voter string) time.Duration {
	if at, ok := m.heard[voter]; !ok || now.Boot.Sub(at) > m.cfg.TTL/2 {
		return 0
	}
	return 2 * m.latency[voter].d
}
