package mysql

import (
	"net/netip"
	"time"

	"github.com/hbagent/hbagent/internal/role"
)

// downAfter so many looks in a row without an answer, the server is down (chosen by
// us: one may hit a restart of the network, or a moment without memory).
const downAfter = 3

// memory is what Run keeps from look to look.
type memory struct {
	seen      role.Observation
	currentTo time.Time // see role.Observation
	failures  int
	down      string

	// Asking the leader's server, and what was done about its answer.
	asking     bool
	askedAt    time.Time
	askedEpoch uint64
	move       move
	moveEpoch  uint64
	movedAt    time.Time
	moveWait   time.Duration

	uncertain time.Time // since when the claim is neither held nor lost; zero if it is one of them

	told   string // the last that was told by repeated
	toldAt time.Time
}

// failed takes a look that got no answer.
func (m *memory) failed(now time.Time, why error) role.Observation {
	if m.failures++; m.failures >= downAfter {
		m.down = why.Error()
	}
	m.seen.At, m.seen.Down = now, m.down
	m.seen.Connected, m.seen.LagMs = false, -1
	if m.down != "" {
		m.seen.Writable = false
	}
	return m.seen
}

// observed takes a look, and puts it into words. diverged and note are what following
// has found.
func (m *memory) observed(st state, nodes map[string]netip.Addr, diverged, note string) role.Observation {
	m.failures, m.down = 0, ""
	o := role.Observation{
		At: st.at, Position: st.position.String(), Writable: st.writable(), Connected: st.replica.connected(), LagMs: -1,
		Broken: st.broken(), Diverged: diverged, SemiSync: st.semi.word(st.writable()), Version: st.version,
		Warning: firstOf(note, st.semi.warn(st.writable()), st.warning),
	}
	if received := st.received().String(); received != o.Position {
		o.Received = received
	}
	if len(o.Position) > role.MaxPosition || len(o.Received) > role.MaxPosition {
		o.Position, o.Received = "", ""
		o.Broken = firstOf(o.Broken, "its position is too long to be passed on: too many servers have written here")
	}
	if r := st.replica; r.configured {
		if o.Following = nodeAt(r.host, nodes); o.Following == "" {
			o.Following = source{host: r.host, port: r.port}.addr()
		}
		if r.connected() && r.lagKnown {
			o.LagMs = r.lag.Milliseconds()
			// Whole seconds, cut: what is now 0 may be one.
			m.currentTo = latest(m.currentTo, st.at.Add(-r.lag))
		}
	}
	o.CurrentTo = m.currentTo
	m.seen = o
	return o
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
