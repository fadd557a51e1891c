package lease

import "time"

// voter is the part of a node that promises groups. It answers requests from
// memory and never asks anybody.
type voter struct {
	groups map[string]*promise
	// quarantineUntil: before it the voter grants nothing, because it may have
	// promised something that it does not remember.
	quarantineUntil Instant
	// renewOnlyUntil: before it the voter grants renewals only, because the
	// voter list has just changed.
	renewOnlyUntil Instant
	ttl            time.Duration
	// changed is set when something that a Record holds has changed.
	changed bool
}

// promise is what a voter knows of one group.
type promise struct {
	holder   string // empty: free
	run      RunID
	epoch    Epoch
	seq      Seq // of the holder's first request in its present incarnation; zero: none yet
	deadline Instant
	freed    Instant // when it was last released
	freedBy  string  // by whom
	proven   bool    // the holder has shown that a majority promised the same
	highest  Epoch
	seqs     map[string]seqMemo // per node; bounded by the configured nodes
}

type seqMemo struct {
	seq Seq
	at  Instant
}

func newVoter(ttl time.Duration) *voter {
	return &voter{groups: make(map[string]*promise), ttl: ttl}
}

func (v *voter) group(name string) *promise {
	p, ok := v.groups[name]
	if !ok {
		p = &promise{seqs: make(map[string]seqMemo)}
		v.groups[name] = p
	}
	return p
}

// fresh reports whether seq is the newest from node on this group, and
// remembers it.
func (p *promise) fresh(now Instant, node string, seq Seq) bool {
	memo, ok := p.seqs[node]
	if ok && now.Sub(memo.at) < sequenceMemory && seq.Compare(memo.seq) <= 0 {
		return false
	}
	p.seqs[node] = seqMemo{seq: seq, at: now}
	return true
}

func (p *promise) running(now Instant) bool { return p.holder != "" && now < p.deadline }

func (p *promise) is(node string, run RunID, epoch Epoch) bool {
	return p.holder == node && p.run == run && p.epoch == epoch
}

// request decides on an acquisition or a renewal; the caller has checked the
// header. The answer is a grant or a refusal with the reason.
func (v *voter) request(now Instant, m *Message, e *Entry) Entry {
	p := v.group(e.Group)
	if left := v.quarantineUntil.Sub(now); left > 0 {
		return p.refuse(now, m, e, ReasonQuarantine, left)
	}
	byTicket := !e.Ticket.zero() && e.Epoch > p.highest && p.is(e.Ticket.From, e.Ticket.RunID, e.Ticket.Epoch)
	renewal := p.is(m.From, m.RunID, e.Epoch)
	if p.running(now) && !renewal && !byTicket {
		why := ReasonHeld
		if !p.proven {
			why = ReasonContested
		}
		return p.refuse(now, m, e, why, p.deadline.Sub(now))
	}
	// A promise below the highest epoch was given to a holder that said its
	// lease was valid. That word may have been late: only a holder that still
	// says so renews it, or a lease that is over would come back (invariant 4).
	if renewal && e.Epoch < p.highest && !e.Valid {
		return p.refuse(now, m, e, ReasonEpoch, 0)
	}
	if !renewal && !byTicket {
		if left := v.renewOnlyUntil.Sub(now); left > 0 && !e.Valid {
			return p.refuse(now, m, e, ReasonVoterChange, left)
		}
		// A holder whose lease is valid proves that every higher epoch here
		// was asked for by a candidate that never won: see Entry.Valid.
		if e.Epoch <= p.highest && !e.Valid {
			return p.refuse(now, m, e, ReasonEpoch, 0)
		}
	}
	v.promise(p, m.From, m.RunID, e.Epoch)
	// Written down once in a run of the holder's agent: each renewal would be a
	// write, and an earlier sequence errs on the side of keeping the promise.
	if p.seq.Incarnation != m.Seq.Incarnation {
		p.seq, v.changed = m.Seq, true
	}
	p.deadline = now.Add(v.ttl)
	p.proven = p.proven || e.Valid
	return Entry{Group: e.Group, Kind: KindGrant, Epoch: e.Epoch, Ref: m.Seq}
}

// promise writes down who has the group. Invariant 4 is kept here: highest
// never falls.
func (v *voter) promise(p *promise, node string, run RunID, epoch Epoch) {
	if p.is(node, run, epoch) {
		return
	}
	p.holder, p.run, p.epoch, p.seq, p.proven = node, run, epoch, Seq{}, false
	p.highest = max(p.highest, epoch)
	v.changed = true
}

func (p *promise) refuse(now Instant, m *Message, e *Entry, why Reason, left time.Duration) Entry {
	r := Entry{
		Group: e.Group, Kind: KindRefuse, Epoch: e.Epoch, Ref: m.Seq,
		Reason: why, Left: left, Highest: p.highest,
	}
	if p.running(now) {
		r.Holder = p.holder
	}
	return r
}

// release frees a group that the sender holds, and reports whether it is free
// now. The memory of the epoch stays.
// What the holder said before it asked for this promise does not count: an earlier
// run of its agent, or an earlier try at the same epoch. A voter that has restarted
// in between has no other sequence to hold it against.
func (v *voter) release(now Instant, m *Message, e *Entry) bool {
	p := v.group(e.Group)
	if p.holder == "" {
		// Nothing to free here, but news: other voters had promised it.
		p.freed, p.freedBy = now, m.From
		return true
	}
	if !p.is(m.From, m.RunID, e.Epoch) || m.Seq.Compare(p.seq) < 0 {
		return false
	}
	p.holder, p.run, p.epoch, p.seq, p.deadline, p.freed, p.freedBy = "", 0, 0, Seq{}, 0, now, m.From
	v.changed = true
	return true
}

// transfer moves the promise of the sender to another node at a higher epoch.
func (v *voter) transfer(now Instant, m *Message, e *Entry) {
	p := v.group(e.Group)
	if now < v.quarantineUntil || !p.is(m.From, m.RunID, e.Epoch) || m.Seq.Compare(p.seq) < 0 || e.ToEpoch <= p.highest {
		return
	}
	v.promise(p, e.To, e.ToRun, e.ToEpoch)
	p.deadline = now.Add(v.ttl)
}

// restore takes over what an earlier run of the same boot had promised. The
// deadlines are not known: each may have been renewed just before the end.
func (v *voter) restore(now Instant, r *Record) {
	deadline := now.Add(max(v.ttl, r.TTL))
	// An honest record never asks for longer than that.
	v.quarantineUntil = min(r.Quarantine, now.Add(MaxTTL))
	v.renewOnlyUntil = min(r.RenewOnly, now.Add(MaxTTL))
	for _, pr := range r.Promises {
		p := v.group(pr.Group)
		p.highest = pr.Highest
		if pr.Holder != "" {
			p.holder, p.run, p.epoch, p.deadline = pr.Holder, pr.RunID, pr.Epoch, deadline
			p.seq = Seq{pr.Incarnation, pr.Counter}
			p.proven = true
		}
	}
}

// forget drops what is known of groups that are no longer configured and not
// promised any more, so that memory does not grow with reloads.
func (v *voter) forget(now Instant, configured func(string) bool) {
	for name, p := range v.groups {
		if !configured(name) && !p.running(now) {
			delete(v.groups, name)
			v.changed = true
		}
	}
}
