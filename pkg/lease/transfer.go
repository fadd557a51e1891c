package lease

import "slices"

// repeat is something said once and to be said again a few times, because
// datagrams get lost. It ends by count, or when the addressee has acted.
type repeat struct {
	at      Instant
	left    int
	group   string
	to      string // target of a transfer, else empty
	epoch   Epoch  // of the claim it creates or ends
	entries map[string][]Entry
}

// Target is the node that a group is handed to.
type Target struct {
	Node  string
	RunID RunID  // as gossip tells it: a node that has booted since declines
	Note  string // why, for the target's history
}

// Transfer hands a group to another node: the gate is shut, the record is
// deleted, the voters move their promise, and the target gets a ticket with
// the note. The run id is the target's, as gossip tells it. A reason other than ReasonNone
// says that nothing was done.
func (m *Machine) Transfer(now Time, name string, to Target) Reason {
	g := m.groups[name]
	switch {
	case g == nil:
		return ReasonUnknownGroup
	case g.phase != phaseHolding || now.Boot >= g.until:
		return ReasonExpired
	case to.Node == m.cfg.Node || !m.nodes[to.Node]:
		return ReasonUnknownNode
	}
	epoch, highest := g.epoch, max(g.epoch, g.highest)
	if m.voter != nil {
		highest = max(highest, m.voter.group(name).highest)
	}
	toEpoch := m.newEpoch(now, highest)
	m.leave(g)
	m.out.shut(Shut{Group: name, Epoch: epoch, Reason: ReasonTransferred})
	g.highest = toEpoch
	g.handed = toEpoch
	// The target first, and then, if it does not come up, one ttl of promise
	// later, everybody else.
	g.askAt = now.Boot.Add(m.cfg.TTL)

	e := Entry{
		Group: name, Kind: KindTransfer, Epoch: epoch, To: to.Node, ToRun: to.RunID, ToEpoch: toEpoch,
		Ticket: Ticket{From: m.cfg.Node, RunID: m.cfg.RunID, Epoch: epoch, Seq: Seq{m.cfg.Incarnation, m.counter + 1}},
	}
	entries := make(map[string][]Entry)
	for _, v := range m.cfg.Voters {
		entries[v] = append(entries[v], e)
	}
	e.Kind, e.Note = KindTicket, to.Note
	entries[to.Node] = append(entries[to.Node], e)
	m.say(now, repeat{left: transferRepeats, group: name, to: to.Node, epoch: toEpoch, entries: entries})
	m.flush(now)
	return ReasonNone
}

// ticket takes over a group that its holder hands to this node.
func (m *Machine) ticket(now Time, msg *Message, e *Entry) {
	g := m.groups[e.Group]
	switch {
	case g == nil:
		m.stats.Rejected[ReasonUnknownGroup]++
		return
	case e.To != m.cfg.Node || e.ToRun != m.cfg.RunID || e.Ticket.From != msg.From || e.Ticket.RunID != msg.RunID ||
		msg.TTL != m.cfg.TTL || !m.sameElectorate(msg):
		m.stats.Rejected[ReasonMalformed]++
		return
	case e.ToEpoch <= g.usedTicket || e.ToEpoch <= g.won || g.claims():
		m.stats.Rejected[ReasonOldSequence]++
		return
	}
	g.usedTicket = e.ToEpoch
	g.highest = max(g.highest, e.ToEpoch) // the release of a declined one must never fit a lease of this node
	if !g.eligible {
		m.stats.Rejected[ReasonUnwanted]++
		m.tell(Entry{Group: g.name, Kind: KindRelease, Epoch: e.ToEpoch})
		m.repeatRelease(now, g.name, e.ToEpoch)
		return
	}
	if g.phase == phaseAcquiring {
		m.giveUp(now, g, now.Boot)
	}
	g.ticket = e.Ticket
	m.begin(now, g, phaseAcquiring, e.ToEpoch, CauseTransfer)
	g.note = e.Note
}

// acknowledge stops repeating a transfer once its target has been heard: it
// asks for the group itself from then on. Others that ask, because they know of
// no holder, do not stop it.
func (m *Machine) acknowledge(from string, e *Entry) {
	m.repeats = slices.DeleteFunc(m.repeats, func(r repeat) bool {
		return r.group == e.Group && e.Epoch >= r.epoch && from == r.to
	})
}

// handedBack lets the old holder ask at once when the target of its transfer
// gives the group up without having kept it.
func (m *Machine) handedBack(now Time, from string, e *Entry) {
	g := m.groups[e.Group]
	if g.handed == 0 || e.Epoch != g.handed || from == m.cfg.Node {
		return
	}
	g.handed = 0
	m.acknowledge(from, e)
	if g.phase == phaseIdle {
		g.askAt = now.Boot
	}
}

// repeatRelease says a release again, twice: a lost one costs the cluster a ttl.
func (m *Machine) repeatRelease(now Time, name string, epoch Epoch) {
	entries := make(map[string][]Entry)
	for _, v := range m.cfg.Voters {
		entries[v] = []Entry{{Group: name, Kind: KindRelease, Epoch: epoch}}
	}
	m.addRepeat(repeat{
		at: now.Boot.Add(m.cfg.TTL / transferDivisor), left: releaseRepeats, group: name, epoch: epoch, entries: entries,
	})
}

// addRepeat makes room by forgetting the group's oldest: peers' tickets may ask
// for releases faster than they are said, and must not fill the memory.
func (m *Machine) addRepeat(r repeat) {
	same := func(o repeat) bool { return o.group == r.group }
	n := 0
	for _, o := range m.repeats {
		if same(o) {
			n++
		}
	}
	if n >= maxRepeats {
		i := slices.IndexFunc(m.repeats, same)
		m.repeats = slices.Delete(m.repeats, i, i+1)
	}
	m.repeats = append(m.repeats, r)
}

// say sends the entries now and again every ttl/50.
func (m *Machine) say(now Time, r repeat) {
	r.at = now.Boot
	m.addRepeat(r)
	m.repeatTick(now)
}

func (m *Machine) repeatTick(now Time) {
	for i := range m.repeats {
		r := &m.repeats[i]
		if now.Boot < r.at {
			continue
		}
		r.at = now.Boot.Add(m.cfg.TTL / transferDivisor)
		r.left--
		for to, entries := range r.entries {
			for _, e := range entries {
				m.out.entry(to, e)
			}
		}
	}
	m.repeats = slices.DeleteFunc(m.repeats, func(r repeat) bool { return r.left <= 0 })
}
