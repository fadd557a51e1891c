package lease

import (
	"maps"
	"slices"
)

type phase uint8

const (
	phaseIdle       phase = iota
	phaseAcquiring        // asks the voters for a group that is free
	phaseHolding          // gate open
	phaseConfirming       // has a lease by its memory, gate shut: after a restart or a pause
)

func (p phase) String() string {
	return [...]string{"idle", "acquiring", "holding", "confirming"}[p]
}

// group is this node's own claim to a group, as candidate and as holder.
type group struct {
	name     string
	phase    phase
	epoch    Epoch
	cause    Cause  // what Open will say
	note     string // what the old holder said with its ticket
	ticket   Ticket // what the requests of this acquisition carry
	started  Instant
	opened   Instant // when a takeover by the witness was won, until the witness is counted in full
	eligible bool
	rank     int

	round round
	// floor is the first message whose answer may count: what was sent for an
	// earlier claim, or before a release, never does.
	floor uint64
	// valid is until when each voter's grant is good, counted from before the
	// request was sent; until is the quorum-th largest of them.
	valid map[string]Instant
	until Instant

	askAt      Instant // a candidate does not ask before this
	hinted     bool    // askAt is what voters said of the time left of another's lease
	highest    Epoch   // highest epoch that any voter told of, or any candidate asked for
	won        Epoch   // of the last lease that this node had
	usedTicket Epoch   // highest epoch for which a ticket was taken or declined
	handed     Epoch   // epoch of the last transfer from this node, until it is handed back
	refusal    Reason  // the last one, for status
	refusedBy  string  // and whose it was
}

// round is one question to all voters, with its repetitions.
type round struct {
	open    bool   // undecided
	first   uint64 // counter of the first message of the round
	next    Instant
	answers map[string]answer
	asked   map[string]uint64 // counter of the newest request to each voter; unsent until it is built
}

const unsent = ^uint64(0)

type answer struct {
	ref     uint64
	granted bool
	reason  Reason
	freeAt  Instant // when the voter said it could grant
	soon    bool    // that is so near that it does not count as a refusal yet
	holder  string  // to whom the voter has promised
}

func newGroup(name string) *group { return &group{name: name, valid: make(map[string]Instant)} }

// claims reports whether the node has, or believes it has, a lease.
func (g *group) claims() bool { return g.phase == phaseHolding || g.phase == phaseConfirming }

// enter changes the phase and keeps count of the claims.
func (m *Machine) enter(g *group, p phase) {
	was := g.claims()
	g.phase = p
	switch {
	case !was && g.claims():
		m.holding++
		m.holdsChanged = true
	case was && !g.claims():
		m.holding--
		m.holdsChanged = true
	}
}

// begin starts a claim: nothing that was granted before counts for it. Its epoch
// is not used again in this run, even if a ticket of a lower one comes in between:
// what is said of an old claim must never fit a new one.
func (m *Machine) begin(now Time, g *group, p phase, epoch Epoch, cause Cause) {
	m.enter(g, p)
	m.holdsChanged = m.holdsChanged || g.claims() && epoch != g.epoch
	g.epoch, g.cause, g.note, g.started, g.hinted = epoch, cause, "", now.Boot, false
	g.highest = max(g.highest, epoch)
	g.floor = m.counter + 1
	clear(g.valid)
	g.until = 0
	m.startRound(now, g)
}

func (m *Machine) startRound(now Time, g *group) {
	g.round = round{open: true, first: m.counter + 1, answers: make(map[string]answer, len(m.voters)), asked: make(map[string]uint64, len(m.voters))}
	m.stats.Rounds++
	m.ask(now, g)
}

// lastWord reports whether a voter has refused the newest request that it got, and
// so has promised nothing.
func (g *group) lastWord(voter string) bool {
	a, ok := g.round.answers[voter]
	return ok && !a.granted && a.ref >= g.round.asked[voter]
}

// answered reports whether a voter need not be asked (again) in this round. A
// candidate asks a voter again that refused for a while, when the while is over:
// the other voters may be dead, and its vote the one that is missing.
func (g *group) answered(now Instant, voter string) bool {
	a, ok := g.round.answers[voter]
	return ok && (a.granted || g.phase != phaseAcquiring || now < a.freeAt)
}

// answer takes a voter's grant or refusal.
func (m *Machine) answer(now Time, msg *Message, e *Entry) {
	g := m.groups[e.Group]
	sentAt, known := m.sent.at(e.Ref.Counter)
	switch {
	case g == nil:
		m.stats.Rejected[ReasonUnknownGroup]++
		return
	case !m.voters[msg.From]:
		m.stats.Rejected[ReasonNotVoter]++
		return
	case g.phase == phaseIdle, e.Epoch != g.epoch, e.Ref.Incarnation != m.cfg.Incarnation, e.Ref.Counter < g.floor, !known:
		m.stats.Rejected[ReasonOldSequence]++
		return
	}
	m.noteLatency(msg.From, e.Ref.Counter, now.Boot.Sub(sentAt))
	if e.Kind == KindRefuse {
		m.refused(now, g, msg, e)
		return
	}
	if msg.TTL != m.cfg.TTL || !m.sameElectorate(msg) {
		m.stats.Rejected[ReasonMalformed]++
		return
	}
	m.stats.Grants++
	until := sentAt.Add(m.cfg.TTL - m.cfg.Margin)
	g.valid[msg.From] = max(g.valid[msg.From], until)
	if msg.From == m.cfg.Node {
		p := m.voter.group(g.name)
		assert(p.deadline >= g.valid[msg.From], 2, "own promise on %s ends before the validity counted from it", g.name)
	}
	g.round.take(msg.From, answer{ref: e.Ref.Counter, granted: true, freeAt: now.Boot})
	m.decide(now, g)
}

func (m *Machine) refused(now Time, g *group, msg *Message, e *Entry) {
	if e.Reason < reasonEnd {
		m.stats.Refusals[e.Reason]++
	}
	g.refusal, g.refusedBy = e.Reason, msg.From
	g.highest = max(g.highest, e.Highest)
	left := min(max(e.Left, 0), 2*MaxTTL)
	if e.Reason == ReasonContested {
		left = 0 // the other candidate wins, or gives its votes back, within a round trip
	}
	if m.knowsReleased(now, e) {
		left = 0 // the voter has not heard of it yet
	}
	// A request that came a moment too early is repeated at the right one, once: the
	// voter's second word counts, whatever it says.
	_, again := g.round.answers[msg.From]
	soon := g.phase == phaseAcquiring && !again && e.Reason == ReasonHeld && left > 0 && left <= m.cfg.TTL/soonDivisor
	wait := max(left, m.cfg.TTL/contestedDivisor)
	if soon {
		wait = max(left, min(soonest, wait))
	}
	freeAt := now.Boot.Add(wait)
	g.round.take(msg.From, answer{ref: e.Ref.Counter, reason: e.Reason, freeAt: freeAt, holder: e.Holder, soon: soon})
	if g.phase == phaseAcquiring {
		g.round.next = min(g.round.next, freeAt)
	}
	m.decide(now, g)
}

// knowsReleased reports whether a refusal names a holder that has given the
// group up, as this node's own voter knows: messages overtake each other.
func (m *Machine) knowsReleased(now Time, e *Entry) bool {
	if m.voter == nil || e.Reason != ReasonHeld {
		return false
	}
	p := m.voter.group(e.Group)
	return p.freedBy != "" && p.freedBy == e.Holder && now.Boot.Sub(p.freed) < m.cfg.TTL
}

// take keeps the answer to the newest request of the round.
func (r *round) take(voter string, a answer) {
	if a.ref < r.first {
		return
	}
	if old, ok := r.answers[voter]; !ok || old.ref <= a.ref {
		r.answers[voter] = a
	}
}

// vote counts a round: three values, because a voter that has not answered
// may still do so.
type vote uint8

const (
	votePending vote = iota
	voteWon
	voteLost
)

func (m *Machine) count(g *group) (result vote, superseded int) {
	granted, refused := 0, 0
	for _, a := range g.round.answers {
		switch {
		case a.granted:
			granted++
		case a.soon: // as good as not asked yet
		default:
			refused++
			if a.reason.superseded() {
				superseded++
			}
		}
	}
	if granted >= m.quorum {
		return voteWon, superseded
	}
	if len(m.voters)-refused < m.quorum {
		return voteLost, superseded
	}
	return votePending, superseded
}

// validity returns the quorum-th largest of the voters' individual times: until
// then a majority has promised the group to nobody else.
func (m *Machine) validity(g *group) Instant {
	times := make([]Instant, 0, len(g.valid))
	for _, t := range g.valid {
		times = append(times, t)
	}
	if len(times) < m.quorum {
		return 0
	}
	slices.Sort(times)
	return times[len(times)-m.quorum]
}

// decide draws the consequences of a new answer.
func (m *Machine) decide(now Time, g *group) {
	result, superseded := m.count(g)
	if result == voteWon {
		g.round.open = false
	}
	was := g.until
	g.until = max(g.until, m.validity(g))
	blocking := len(m.voters) - m.quorum + 1
	switch g.phase {
	case phaseHolding:
		if superseded >= blocking {
			m.stats.Superseded++
			m.lose(now, g, ReasonRefused)
			return
		}
		if g.until > was { // the answers beyond the majority rarely say more
			m.out.renew(Renew{Group: g.name, Epoch: g.epoch, Until: g.until})
		}
	case phaseConfirming:
		if superseded >= blocking {
			m.lose(now, g, ReasonRefused)
			return
		}
		m.win(now, g)
	case phaseAcquiring:
		if m.win(now, g) {
			return
		}
		if result == voteLost {
			m.giveUp(now, g, m.freeAgain(now, g))
			g.hinted = true
		}
	}
}

// win opens the gate if a quorum's grants reach into the future.
func (m *Machine) win(now Time, g *group) bool {
	if g.until <= now.Boot {
		return false
	}
	m.enter(g, phaseHolding)
	g.won = g.epoch
	if m.cfg.Witness {
		g.opened = now.Boot
	}
	g.ticket = Ticket{}
	g.refusal, g.refusedBy = ReasonNone, ""
	m.out.opens = append(m.out.opens, Open{Group: g.name, Epoch: g.epoch, Until: g.until, Cause: g.cause, Note: g.note})
	if m.nextRound <= now.Boot {
		m.nextRound = now.Boot.Add(RenewInterval(m.cfg.TTL))
	}
	return true
}

// leave ends a claim without telling anybody.
func (m *Machine) leave(g *group) {
	m.enter(g, phaseIdle)
	g.ticket = Ticket{}
	g.round = round{}
	clear(g.valid)
	g.until, g.opened = 0, 0
}

// tell sends an entry to every voter.
func (m *Machine) tell(e Entry) {
	for _, v := range m.cfg.Voters {
		m.out.entry(v, e)
	}
}

// recordChanged reports whether what must survive a restart is not yet written. It is asked after each message, and most
// change nothing: then it does not look at the groups.
func (m *Machine) recordChanged() bool {
	if !m.holdsChanged && (m.voter == nil || !m.voter.changed) {
		return false
	}
	m.holdsChanged = false
	holds := make(map[string]Epoch)
	for name, g := range m.groups {
		if g.claims() {
			holds[name] = g.epoch
		}
	}
	changed := !maps.Equal(holds, m.writtenHolds) || m.voter != nil && m.voter.changed
	m.writtenHolds = holds
	if m.voter != nil {
		m.voter.changed = false
	}
	return changed
}

func (m *Machine) claimed() Epoch {
	highest := m.retired
	for _, g := range m.groups {
		highest = max(highest, g.won)
	}
	return highest
}

func (m *Machine) record() Record {
	r := Record{Cluster: m.cfg.Cluster, Node: m.cfg.Node, RunID: m.cfg.RunID, Generation: m.cfg.Generation, TTL: m.cfg.TTL}
	for _, name := range m.names {
		if g := m.groups[name]; g.claims() {
			r.Holds = append(r.Holds, HoldRecord{Group: name, Epoch: g.epoch})
		}
	}
	r.Claimed = m.claimed()
	if m.voter != nil {
		r.Quarantine, r.RenewOnly = m.voter.quarantineUntil, m.voter.renewOnlyUntil
		for _, name := range slices.Sorted(maps.Keys(m.voter.groups)) {
			p := m.voter.groups[name]
			r.Promises = append(r.Promises, PromiseRecord{Group: name, Holder: p.holder, RunID: p.run, Epoch: p.epoch, Highest: p.highest, Incarnation: p.seq.Incarnation, Counter: p.seq.Counter})
		}
	}
	return r
}
