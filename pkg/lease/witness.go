package lease

import "time"

// Two machines cannot have a majority of each other. With a witness (the
// gateway, asked by ARP) the rule is:
//
//   - A holder keeps its lease while it hears its peer's grants or the witness;
//     it lets go when it has lost both, or when the peer reports that it has
//     not heard this node for one ttl, although this node hears the peer.
//   - A standby takes over only after two ttl of silence from its peer, with
//     the witness answering three spaced probes and nobody answering for the
//     floating address for one ttl.
//
// The witness is counted like the grant of a third voter, under those
// conditions. This is weaker than three voters: the guide and `status` say so.

const (
	// witnessName stands for the witness among the voters; no node can have it.
	witnessName = "\x00witness"

	witnessProbes      = 3 // answers needed before a takeover (chosen by us)
	witnessSilence     = 2 // ttl of silence from the peer before a takeover
	witnessHelloPerTTL = 5 // hellos in a ttl: silence means something after one

	// addressProof divides the ttl: so long after its probe was sent, a silent
	// address proves that nobody opens. Two idle nodes that hear each other's
	// ARP but not each other's messages must not both find silence, so it is
	// short, and the first validity of a takeover ends with it (chosen by us:
	// longer than a probe and a round together).
	addressProof = 2
	// addressGap, in eighths of a ttl: silent probes further apart than that do
	// not belong together, because one between them may have been answered.
	// They are due every ttl/4.
	addressGap = 3
	// mutualSilence divides the ttl: a node that has not heard its peer for so long
	// was cut off from it both ways, or is the one that stood still.
	mutualSilence = 2
	// reunionGrace divides the ttl: so long after a silence on both sides the peer
	// may still report it, because the holder's answer is on its way or was lost, once
	// (chosen by us: longer than the time between two hellos). A peer that was cut
	// off altogether needs twice as long before the witness lets it take over.
	reunionGrace = 4
	// witnessGap, in eighths of a ttl: how old the witness's last answer may be for a
	// silent address to count. One of its answers, due every ttl/4, may get lost.
	witnessGap = 5
)

type witnessState struct {
	started  Instant
	nextSay  Instant
	reunited Instant                // when the peer was heard again after a silence that it still reports, 0: it reports none
	answered [witnessProbes]Instant // when the last answered probes were sent, newest first
	silent   map[string]silence     // per group
}

// silence is what probes of a group's address have shown: nobody answered any
// that was sent from since to last.
type silence struct{ since, last Instant }

func (w *witnessState) start(now Instant) {
	w.started = now
	w.nextSay = now
	w.silent = make(map[string]silence)
}

// peer returns the other voter's name, in two-machine mode.
func (m *Machine) peer() string {
	for _, v := range m.cfg.Voters {
		if v != m.cfg.Node {
			return v
		}
	}
	return ""
}

func (m *Machine) sinceHeard(node string, now Instant) time.Duration {
	if at, ok := m.heard[node]; ok {
		return now.Sub(at)
	}
	return now.Sub(m.witness.started)
}

// WitnessAnswered says that the witness answered a probe sent at sent. Probes
// that are to count as spaced are at least ttl/10 apart.
func (m *Machine) WitnessAnswered(now Time, sent Instant) {
	if !m.cfg.Witness || !m.voters[m.cfg.Node] {
		return
	}
	w := &m.witness
	if sent.Sub(w.answered[0]) >= m.cfg.TTL/10 {
		copy(w.answered[1:], w.answered[:])
		w.answered[0] = sent
	}
	m.lapse(now)
	for _, name := range m.names {
		m.countWitness(now, m.groups[name])
	}
	m.progress(now)
	m.flush(now)
}

// AddressSilent says that a probe of a group's addresses, sent at sent, was
// answered by nobody, and that the peer has not probed them since ttl/2 before
// it: of two nodes that probe at the same time, neither knows that it is alone
// (RFC 5227, section 2.1.1, calls that a conflict too). A node that has heard
// the peer's probe, and is lower in preference, holds its own back for one ttl.
// Probes are due every ttl/4 while WantsAddressProbe says so.
func (m *Machine) AddressSilent(now Time, name string, sent Instant) {
	if g := m.groups[name]; g != nil && m.cfg.Witness {
		if sent.Sub(m.witness.answered[0]) > m.cfg.TTL*witnessGap/8 {
			// The witness does not answer either: this node may be cut off itself, and
			// what it does not hear proves nothing.
			delete(m.witness.silent, name)
			return
		}
		s := m.witness.silent[name]
		if s.last == 0 || sent.Sub(s.last) > m.cfg.TTL*addressGap/8 {
			s.since = sent
		}
		s.last = max(s.last, sent)
		m.witness.silent[name] = s
		m.countWitness(now, g)
		m.progress(now)
		m.flush(now)
	}
}

// AddressConflict says that another machine answers for a held address. With
// two machines the one lower in preference yields.
func (m *Machine) AddressConflict(now Time, name string, lowerInPreference bool) {
	g := m.groups[name]
	if g == nil || !m.cfg.Witness || !g.claims() || !lowerInPreference {
		return
	}
	m.lose(now, g, ReasonConflict)
	m.flush(now)
}

// countWitness counts the newest answer of the witness as a grant where the
// rule allows it.
func (m *Machine) countWitness(now Time, g *group) {
	newest := m.witness.answered[0]
	if newest == 0 {
		return
	}
	// A lease that is held keeps what it has; one that is taken, or confirmed
	// after a pause or a restart, needs the proof that the peer is gone.
	if g.phase == phaseIdle || g.phase != phaseHolding && !m.mayTakeAlone(now, g) {
		return
	}
	until := newest.Add(m.cfg.TTL - m.cfg.Margin)
	if g.phase != phaseHolding {
		// The gate opens before the proof is old, or not at all; witnessExtend
		// brings the rest.
		until = min(until, m.witness.silent[g.name].last.Add(m.cfg.TTL/addressProof))
	}
	g.valid[witnessName] = max(g.valid[witnessName], until)
	m.decide(now, g)
}

// witnessExtend counts the witness in full where a takeover has opened the gate
// for as long as the proof was good, which may be a few milliseconds: what the
// witness last answered keeps a holder. It needs a later call than the one that
// won, because the gate is open only when the caller has carried out Effects.
func (m *Machine) witnessExtend(now Time) {
	if !m.cfg.Witness {
		return
	}
	for _, name := range m.names {
		if g := m.groups[name]; g.phase == phaseHolding && g.opened != 0 && now.Boot > g.opened {
			g.opened = 0
			m.countWitness(now, g)
		}
	}
}

// mayTakeAlone holds the three conditions of a takeover without the peer. The
// address must have been silent for a whole ttl: a holder that has just been
// cut off from the witness, and from this node's ARP too, lives no longer.
func (m *Machine) mayTakeAlone(now Time, g *group) bool {
	oldest := m.witness.answered[witnessProbes-1]
	silent := m.witness.silent[g.name]
	return m.sinceHeard(m.peer(), now.Boot) >= witnessSilence*m.cfg.TTL &&
		oldest != 0 && now.Boot.Sub(oldest) < witnessSilence*m.cfg.TTL &&
		silent.last != 0 && now.Boot.Sub(silent.since) >= m.cfg.TTL && now.Boot.Sub(silent.last) < m.cfg.TTL/addressProof
}

// witnessHeard looks at what the peer says of its own hearing; silent is for how long this node had not heard it. A peer that
// was cut off, or stood still, first reports a silence that was mutual, and is over: it has one grace to hear this node again.
func (m *Machine) witnessHeard(now Time, msg *Message, silent time.Duration) {
	w := &m.witness
	if !m.cfg.Witness || msg.From != m.peer() {
		return
	}
	if msg.Heard < m.cfg.TTL {
		w.reunited = 0
		return
	}
	if w.reunited == 0 && silent >= m.cfg.TTL/mutualSilence {
		w.reunited, w.nextSay = now.Boot, now.Boot
	}
	if w.reunited != 0 && now.Boot < w.reunited.Add(m.cfg.TTL/reunionGrace) {
		return
	}
	for _, name := range m.names {
		if g := m.groups[name]; g.claims() {
			m.lose(now, g, ReasonPeerSilence)
		}
	}
}

// witnessTick keeps the two machines talking when neither has a reason to, so
// that silence means something.
func (m *Machine) witnessTick(now Time) {
	if !m.cfg.Witness || now.Boot < m.witness.nextSay {
		return
	}
	m.witness.nextSay = now.Boot.Add(m.cfg.TTL / witnessHelloPerTTL)
	if m.out.hello == nil {
		m.out.hello = make(map[string]bool)
	}
	m.out.hello[m.peer()] = true
}

func (m *Machine) witnessDeadline(next *earliest) {
	if m.cfg.Witness {
		next.add(m.witness.nextSay)
	}
}

// WantsAddressProbe reports whether a takeover waits for the answer to
// AddressSilent: the peer is silent, the witness answers, and this node's gate
// is shut. Probes are due every ttl/4 then.
func (m *Machine) WantsAddressProbe(now Instant, name string) bool {
	g := m.groups[name]
	return g != nil && m.cfg.Witness && g.eligible && g.phase != phaseHolding &&
		m.sinceHeard(m.peer(), now) >= m.cfg.TTL && now.Sub(m.witness.answered[0]) < m.cfg.TTL
}
