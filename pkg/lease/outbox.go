package lease

import (
	"cmp"
	"maps"
	"slices"
)

// outbox collects what one call of a method causes, and puts it in the one
// order that the invariants allow: gates are shut first, then the record is
// written, then gates are opened, and only then is anybody told.
type outbox struct {
	shuts   []Effect
	opens   []Effect
	entries map[string][]Entry // per addressee
	hello   map[string]bool    // addressees that get a message even without entries
	ready   []Effect
}

func (o *outbox) entry(to string, e Entry) {
	if o.entries == nil {
		o.entries = make(map[string][]Entry)
	}
	o.entries[to] = append(o.entries[to], e)
}

// shut also takes back an opening of the same batch: it never happened.
func (o *outbox) shut(s Shut) {
	o.opens = slices.DeleteFunc(o.opens, func(e Effect) bool {
		switch e := e.(type) {
		case Open:
			return e.Group == s.Group
		case Renew:
			return e.Group == s.Group
		}
		return false
	})
	o.shuts = append(o.shuts, s)
}

// renew keeps only the newest of a batch.
func (o *outbox) renew(r Renew) {
	for i, e := range o.opens {
		switch e := e.(type) {
		case Renew:
			if e.Group == r.Group {
				o.opens[i] = r
				return
			}
		case Open:
			if e.Group == r.Group {
				e.Until = r.Until
				o.opens[i] = e
				return
			}
		}
	}
	o.opens = append(o.opens, r)
}

func (o *outbox) take() []Effect {
	out := o.ready
	o.ready = nil
	return out
}

// flush turns what has gathered into effects. Messages to this node's own
// voter are delivered on the spot; what they cause joins the same batch, which
// is why the loop runs until nothing is left (bounded: a voter's answer causes
// no request to itself that it has not already answered in this batch).
func (m *Machine) flush(now Time) {
	var wire []Effect
	for range 8 {
		if len(m.out.entries) == 0 && len(m.out.hello) == 0 {
			break
		}
		entries, hello := m.out.entries, m.out.hello
		m.out.entries, m.out.hello = nil, nil
		for to := range hello {
			if _, ok := entries[to]; !ok {
				if entries == nil {
					entries = make(map[string][]Entry)
				}
				entries[to] = nil
			}
		}
		// Nobody owns a group that is being handed over until its target has asked the voters. Before the messages have
		// sequences: what is sent first has the lower one.
		addressees := slices.SortedFunc(maps.Keys(entries), func(a, b string) int {
			return cmp.Or(cmp.Compare(urgency(entries[a]), urgency(entries[b])), cmp.Compare(a, b))
		})
		for _, to := range addressees {
			msg := m.message(now, to, entries[to])
			if to != m.cfg.Node {
				wire = append(wire, Send{To: to, Message: msg})
				continue
			}
			m.entries(now, &msg)
		}
	}
	assert(len(m.out.entries) == 0, 5, "messages to oneself do not come to rest")

	m.out.ready = append(m.out.ready, m.out.shuts...)
	if m.recordChanged() {
		m.out.ready = append(m.out.ready, Persist{Record: m.record()})
	}
	m.out.ready = append(m.out.ready, m.out.opens...)
	m.out.ready = append(m.out.ready, wire...)
	m.out.shuts, m.out.opens = nil, nil
}

// urgency orders what is sent at one time: tickets first.
func urgency(entries []Entry) int {
	if slices.ContainsFunc(entries, func(e Entry) bool { return e.Kind == KindTicket }) {
		return 0
	}
	return 1
}

// message builds a datagram with a new sequence, and notes when requests left:
// now was read before, so the holder counts from before the request was sent.
func (m *Machine) message(now Time, to string, entries []Entry) Message {
	m.counter++
	m.sent.note(m.counter, now.Boot)
	for i := range entries {
		if g := m.groups[entries[i].Group]; g != nil && entries[i].Kind == KindRequest && g.round.asked[to] == unsent {
			g.round.asked[to] = m.counter
		}
	}
	return Message{
		Cluster: m.cfg.Cluster, From: m.cfg.Node, RunID: m.cfg.RunID, Generation: m.cfg.Generation, Voters: m.list, TTL: m.cfg.TTL,
		Seq:   Seq{Incarnation: m.cfg.Incarnation, Counter: m.counter},
		Heard: m.sinceHeard(to, now.Boot), Entries: entries,
	}
}
