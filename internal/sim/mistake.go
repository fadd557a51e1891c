package sim

import (
	"slices"

	"github.com/hbagent/hbagent/pkg/lease"
)

// The breakages that would be mistakes inside pkg/lease. They are made by what a
// node gets to read: a message is changed, or one is put before or after it, so
// that the machine does what a broken one would do.
const (
	OldGrant        Breakage = "a grant of an old round counts"
	LiveHandout     Breakage = "a voter hands a live lease to a higher epoch"
	QuorumTooSmall  Breakage = "quorum is one too small"
	SeqUnchecked    Breakage = "sequence numbers are not checked"
	SeqAndEpoch     Breakage = "neither sequence nor epoch of a release is checked"
	TransferTwice   Breakage = "a transfer is counted twice"
	TicketTwice     Breakage = "a ticket is used twice"
	TicketTwiceOnly Breakage = "a ticket is used twice, by its target alone"
	TwoVotersAtOnce Breakage = "two voters change at once"
	UngatedChange   Breakage = "the next voter list does not wait for the last one"
	UngatedRemoved  Breakage = "the next voter list waits for its voters, and not for one just removed"
	UngatedRestart  Breakage = "a restart takes the next voter list without asking who has the last one"
	RefusalsUnread  Breakage = "refusals are not read"
	OwnersUnread    Breakage = "later owners are not heard"
	NewsUnread      Breakage = "neither refusals are read nor later owners heard"
)

// mistakes is what a broken node remembers.
type mistakes struct {
	asked   map[string]lease.Entry    // by group: the newest request, with its sequence as Ref
	said    lease.Seq                 // of the newest message
	newest  map[string]lease.Seq      // by sender
	renamed map[lease.Seq]lease.Seq   // what was shown to the machine, and what it was
	used    map[lease.Ticket]struct{} // tickets that were acted on
}

// breakSend looks at what the node says.
func (h *host) breakSend(m *lease.Message) {
	if h.w.o.Break == None {
		return
	}
	h.said = m.Seq
	for i := range m.Entries {
		e := &m.Entries[i]
		if e.Kind == lease.KindRequest {
			if h.asked == nil {
				h.asked = make(map[string]lease.Entry)
			}
			asked := *e
			asked.Ref = m.Seq
			h.asked[e.Group] = asked
		}
		if seq, ok := h.renamed[e.Ref]; ok {
			e.Ref = seq
		}
	}
}

// mishear returns what a broken node makes of a message.
func (h *host) mishear(m lease.Message) []lease.Message {
	w := h.w
	switch w.o.Break {
	case VisibleQuorum:
		m.Voters = lease.ListHash(h.visible())
	case OldGrant:
		for i := range m.Entries {
			if e := &m.Entries[i]; e.Kind == lease.KindGrant {
				e.Ref, e.Epoch = h.asked[e.Group].Ref, h.asked[e.Group].Epoch
			}
		}
	case RefusalsUnread, OwnersUnread, NewsUnread:
		if w.o.Break != OwnersUnread {
			m.Entries = slices.DeleteFunc(m.Entries, func(e lease.Entry) bool { return e.Kind == lease.KindRefuse })
		}
		for i := range m.Entries {
			m.Entries[i].Valid = m.Entries[i].Valid && w.o.Break == RefusalsUnread
		}
	case QuorumTooSmall:
		return h.oneMore(m)
	case SeqUnchecked, SeqAndEpoch:
		h.makeNew(&m)
	case LiveHandout:
		return h.takeAway(m, func(e *lease.Entry, p *lease.PromiseRecord) bool {
			return e.Kind == lease.KindRequest && e.Epoch > p.Epoch && m.From != p.Holder
		})
	case TransferTwice:
		return h.takeAway(m, func(e *lease.Entry, p *lease.PromiseRecord) bool {
			return e.Kind == lease.KindTransfer && p.Holder != e.To && !h.use(e.Ticket)
		})
	case TicketTwice, TicketTwiceOnly:
		h.useAgain(&m)
	}
	return []lease.Message{m}
}

// oneMore adds a vote that nobody gave to each that somebody gave.
func (h *host) oneMore(m lease.Message) []lease.Message {
	more := m
	more.Entries = slices.DeleteFunc(slices.Clone(m.Entries), func(e lease.Entry) bool { return e.Kind != lease.KindGrant })
	other := slices.IndexFunc(h.list().voters, func(v string) bool { return v != h.name && v != m.From })
	if len(more.Entries) == 0 || other < 0 {
		return []lease.Message{m}
	}
	more.From = h.list().voters[other]
	return []lease.Message{m, more}
}

// makeNew gives an old or repeated message a sequence that looks new. The answer
// to it bears the old one again.
func (h *host) makeNew(m *lease.Message) {
	if h.newest == nil {
		h.newest, h.renamed = make(map[string]lease.Seq), make(map[lease.Seq]lease.Seq)
	}
	last := h.newest[m.From]
	if m.Seq.Compare(last) <= 0 {
		next := lease.Seq{Incarnation: last.Incarnation, Counter: last.Counter + 1}
		h.renamed[next] = m.Seq
		m.Seq = next
		for i := range m.Entries {
			if p := h.promise(m.Entries[i].Group); h.w.o.Break == SeqAndEpoch && m.Entries[i].Kind == lease.KindRelease && p != nil && p.Holder == m.From {
				m.Entries[i].Epoch = p.Epoch
			}
		}
	}
	h.newest[m.From] = m.Seq
}

// promise is what this node's voter has promised, by its record.
func (h *host) promise(group string) *lease.PromiseRecord {
	if h.record == nil {
		return nil
	}
	i := slices.IndexFunc(h.record.Promises, func(p lease.PromiseRecord) bool { return p.Group == group && p.Holder != "" })
	if i < 0 {
		return nil
	}
	return &h.record.Promises[i]
}

// takeAway lets the voter forget a promise before it reads a message, where
// wrong says so: it is told that the holder had let go.
func (h *host) takeAway(m lease.Message, wrong func(e *lease.Entry, p *lease.PromiseRecord) bool) []lease.Message {
	var all []lease.Message
	for i := range m.Entries {
		e := &m.Entries[i]
		p := h.promise(e.Group)
		if p == nil || p.Holder == h.name || !wrong(e, p) {
			continue
		}
		holder := h.w.host(p.Holder)
		all = append(all, lease.Message{
			Cluster: m.Cluster, From: p.Holder, RunID: p.RunID, Generation: m.Generation, Voters: m.Voters, TTL: m.TTL,
			Seq:     lease.Seq{Incarnation: max(holder.starts, holder.said.Incarnation), Counter: holder.said.Counter + 1},
			Entries: []lease.Entry{{Group: e.Group, Kind: lease.KindRelease, Epoch: p.Epoch}},
		})
	}
	return append(all, m)
}

// use marks a ticket, and reports whether it is the first time.
func (h *host) use(t lease.Ticket) bool {
	t.Seq = lease.Seq{} // a repeated ticket is the same one
	if h.used == nil {
		h.used = make(map[lease.Ticket]struct{})
	}
	_, again := h.used[t]
	h.used[t] = struct{}{}
	return !again
}

// useAgain lets a target take a ticket up a second time, at a new epoch, and
// voters accept it from whoever has the group by then.
func (h *host) useAgain(m *lease.Message) {
	for i := range m.Entries {
		e := &m.Entries[i]
		switch {
		case e.Kind == lease.KindTicket:
			g := h.group(e.Group)
			if e.To == h.name && !h.use(e.Ticket) && !h.claims[g].open {
				e.ToEpoch = h.w.groups[g].epoch + 1 + lease.Epoch(h.w.rng.IntN(3))
			}
		case e.Kind == lease.KindRequest && e.Ticket != (lease.Ticket{}) && h.w.o.Break == TicketTwice:
			if p := h.promise(e.Group); p != nil && !h.use(e.Ticket) {
				e.Ticket = lease.Ticket{From: p.Holder, RunID: p.RunID, Epoch: p.Epoch}
			}
		}
	}
}
