package lease

import (
	"hash/fnv"
	"maps"
	"slices"
	"time"
)

// Machine is one node's part in the agreement on all groups. It belongs to one
// goroutine. Every method that takes the time must be called with a Time read
// just before, never going back; after each, the caller carries out Effects.
type Machine struct {
	cfg    Config
	voters map[string]bool // of the current list
	nodes  map[string]bool
	quorum int
	list   uint64 // ListHash of voters

	voter  *voter // nil when this node has no vote
	groups map[string]*group
	names  []string // of groups, sorted: the order of iteration must not depend on chance
	// retired is the highest epoch of any group that is no longer configured, and of any lease of an earlier run. A group
	// that comes back starts above it: releases of its last lease may be on
	// their way.
	retired Epoch

	counter   uint64
	sent      sentLog
	admitted  map[string]bool // groups of the message at hand whose sequence was new
	nextRound Instant         // renewals of all groups share one rhythm
	heard     map[string]Instant
	heardRun  map[string]RunID   // of the last message
	latency   map[string]latency // of each voter's answers
	repeats   []repeat
	witness   witnessState

	out     outbox
	holding int // groups held or being confirmed, to spare work at rest

	writtenHolds map[string]Epoch // what the last Persist said of holds
	holdsChanged bool             // since then, perhaps
	stats        Stats
}

// Stats counts what happened since New. The counters only grow.
type Stats struct {
	Rounds     uint64
	Grants     uint64
	Refusals   [reasonEnd]uint64
	Rejected   [reasonEnd]uint64 // messages of others that were not acted on
	Lapsed     uint64
	Superseded uint64
}

// New returns the Machine of a node that starts at now. With a Record of the
// same boot it remembers its promises and tries to resume its leases;
// otherwise its voter is in quarantine.
func New(now Time, cfg Config) (*Machine, error) {
	if cfg.Margin == 0 {
		cfg.Margin = cfg.TTL / marginDivisor
	}
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	m := &Machine{cfg: cfg, heard: make(map[string]Instant), latency: make(map[string]latency), heardRun: make(map[string]RunID), groups: make(map[string]*group), admitted: make(map[string]bool)}
	m.setVoters(cfg.Nodes, cfg.Voters)
	for _, name := range cfg.Groups {
		m.groups[name] = newGroup(name)
	}
	m.names = slices.Sorted(maps.Keys(m.groups))
	if m.voters[cfg.Node] {
		m.voter = newVoter(cfg.TTL)
		if cfg.Record == nil {
			m.voter.quarantineUntil = now.Boot.Add(max(cfg.TTL, cfg.LastTTL))
		} else {
			m.voter.restore(now.Boot, cfg.Record)
			if cfg.Record.Generation != cfg.Generation {
				m.voter.renewOnlyUntil = now.Boot.Add(cfg.TTL)
				m.voter.changed = true
			}
		}
	}
	m.witness.start(now.Boot)
	if cfg.Record != nil {
		m.retired = cfg.Record.Claimed
		for _, g := range m.groups {
			g.highest = m.retired
			g.usedTicket = m.usedBefore(g.name)
		}
		m.resume(now)
	}
	m.flush(now)
	return m, nil
}

// usedBefore bounds the epochs of a group for which an earlier run may have used a ticket: those of its leases, of any group, and
// of this group where this node's own voter has heard of them. Its sender may repeat it still.
func (m *Machine) usedBefore(group string) Epoch {
	if m.voter == nil {
		return m.retired
	}
	return min(m.retired, m.voter.group(group).highest)
}

func (m *Machine) setVoters(nodes, voters []string) {
	m.nodes = make(map[string]bool, len(nodes))
	for _, n := range nodes {
		m.nodes[n] = true
	}
	m.voters = make(map[string]bool, len(voters))
	for _, v := range voters {
		m.voters[v] = true
	}
	maps.DeleteFunc(m.latency, func(v string, _ latency) bool { return !m.voters[v] })
	m.cfg.Nodes, m.cfg.Voters = nodes, slices.Sorted(slices.Values(voters))
	m.quorum = len(voters)/2 + 1
	m.list = ListHash(voters)
}

// Effects returns what the caller must do, in order, and forgets it.
func (m *Machine) Effects() []Effect { return m.out.take() }

// Step takes a message that arrived at now.
func (m *Machine) Step(now Time, msg Message) {
	if why := m.reject(&msg); why != ReasonNone {
		m.stats.Rejected[why]++
		return
	}
	m.lapse(now)
	silent := m.sinceHeard(msg.From, now.Boot)
	m.heard[msg.From], m.heardRun[msg.From] = now.Boot, msg.RunID
	m.witnessHeard(now, &msg, silent)
	m.entries(now, &msg)
	m.progress(now)
	m.flush(now)
}

func (m *Machine) reject(msg *Message) Reason {
	switch {
	case msg.Cluster != m.cfg.Cluster:
		return ReasonWrongCluster
	case !m.nodes[msg.From] || msg.From == m.cfg.Node:
		return ReasonUnknownNode
	case len(msg.Entries) > MaxGroups:
		return ReasonMalformed
	}
	return ReasonNone
}

// entries acts on each entry of a message, in order. A message may speak of a
// group twice (a release, then a request): its sequence is new for both.
func (m *Machine) entries(now Time, msg *Message) {
	clear(m.admitted)
	for i := range msg.Entries {
		m.entry(now, msg, &msg.Entries[i])
	}
}

// entry sorts what a peer (or this node itself, to its own voter) says.
func (m *Machine) entry(now Time, msg *Message, e *Entry) {
	switch e.Kind {
	case KindGrant, KindRefuse:
		m.answer(now, msg, e)
	case KindTicket:
		m.ticket(now, msg, e)
	case KindRequest, KindRelease, KindTransfer:
		m.vote(now, msg, e)
	default:
		m.stats.Rejected[ReasonMalformed]++
	}
}

// vote lets this node's voter act, and answers a request.
func (m *Machine) vote(now Time, msg *Message, e *Entry) {
	if why := m.cannotVote(msg, e); why != ReasonNone {
		m.stats.Rejected[why]++
		if e.Kind == KindRequest {
			m.reply(msg.From, Entry{Group: e.Group, Kind: KindRefuse, Epoch: e.Epoch, Ref: msg.Seq, Reason: why})
		}
		return
	}
	if !m.admitted[e.Group] && !m.voter.group(e.Group).fresh(now.Boot, msg.From, msg.Seq) {
		m.stats.Rejected[ReasonOldSequence]++
		return
	}
	m.admitted[e.Group] = true
	switch e.Kind {
	case KindRequest:
		// A transfer must go above every epoch that a candidate has asked for,
		// also in vain: some voter may have granted it.
		m.groups[e.Group].highest = max(m.groups[e.Group].highest, e.Epoch)
		m.outlive(now, e)
		m.acknowledge(msg.From, e)
		m.reply(msg.From, m.voter.request(now.Boot, msg, e))
	case KindRelease:
		if m.voter.release(now.Boot, msg, e) {
			m.released(now, e.Group, msg.From)
		}
		m.handedBack(now, msg.From, e)
	case KindTransfer:
		m.voter.transfer(now.Boot, msg, e)
	}
}

// cannotVote holds a message's header against this node's own config.
func (m *Machine) cannotVote(msg *Message, e *Entry) Reason {
	switch {
	case m.voter == nil:
		return ReasonNotVoter
	case m.groups[e.Group] == nil:
		return ReasonUnknownGroup
	case msg.TTL != m.cfg.TTL:
		return ReasonTTL
	case !m.sameElectorate(msg):
		return ReasonGeneration
	}
	return ReasonNone
}

// sameElectorate reports whether a majority of the sender's voters meets every
// majority of this node's: its list is the same, or one step away.
func (m *Machine) sameElectorate(msg *Message) bool {
	return adjacent(msg.Generation, m.cfg.Generation) && (msg.Generation != m.cfg.Generation || msg.Voters == m.list)
}

// ListHash identifies a list of voters, in any order (FNV-1a). Two files of one
// generation with different lists are a mistake, and refused as one.
func ListHash(voters []string) uint64 {
	h := fnv.New64a()
	for _, v := range slices.Sorted(slices.Values(voters)) {
		h.Write([]byte(v))
		h.Write([]byte{0})
	}
	return h.Sum64()
}

// adjacent: two voter lists that differ by one node have no disjoint
// majorities, so a request may come from one generation earlier or later.
// (Ongaro, "Consensus: Bridging Theory and Practice", section 4.1.)
func adjacent(a, b uint64) bool { return a == b || a+1 == b || b+1 == a }

func (m *Machine) reply(to string, e Entry) { m.out.entry(to, e) }

// Tick lets time pass. Call it at NextDeadline, or earlier.
func (m *Machine) Tick(now Time) {
	m.progress(now)
	m.flush(now)
}

// progress does what is due at now.
func (m *Machine) progress(now Time) {
	m.lapse(now)
	m.witnessTick(now)
	m.witnessExtend(now)
	if m.holding > 0 && now.Boot >= m.nextRound {
		m.nextRound = now.Boot.Add(RenewInterval(m.cfg.TTL))
		m.startRounds(now)
	}
	for _, name := range m.names {
		g := m.groups[name]
		m.holderTick(now, g)
		m.candidateTick(now, g)
	}
	m.repeatTick(now)
}

// NextDeadline returns when Tick must be called at the latest, or false when
// only a message or a call can change anything.
func (m *Machine) NextDeadline() (Instant, bool) {
	next := earliest{}
	if m.holding > 0 {
		next.add(m.nextRound)
	}
	for _, g := range m.groups {
		m.groupDeadline(g, &next)
	}
	for i := range m.repeats {
		next.add(m.repeats[i].at)
	}
	m.witnessDeadline(&next)
	return next.at, next.ok
}

type earliest struct {
	at Instant
	ok bool
}

func (e *earliest) add(at Instant) {
	if !e.ok || at < e.at {
		e.at, e.ok = at, true
	}
}

// Stats returns the counters.
func (m *Machine) Stats() Stats { return m.stats }

// Quarantine returns for how long this node's voter will grant nothing.
func (m *Machine) Quarantine(now Instant) time.Duration {
	if m.voter == nil {
		return 0
	}
	return max(m.voter.quarantineUntil.Sub(now), 0)
}

// Margin returns what a holder takes off the ttl: its lease is valid until that
// much less than a ttl after its request left.
func (m *Machine) Margin() time.Duration { return m.cfg.Margin }

// Quorum returns how many votes a lease needs, and of how many.
func (m *Machine) Quorum() (needed, voters int) { return m.quorum, len(m.voters) }
