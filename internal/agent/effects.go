package agent

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/lease"
	"github.com/hbagent/hbagent/pkg/vip"
)

// openRetry is how long a node that could not add its addresses stays out
// (chosen by us: long enough for a person to see it, short enough to heal).
const openRetry = 10 * time.Second

// openDivisor: groups are opened for a twentieth of a ttl, then what else waits has its turn (chosen by us). Adding the addresses
// of hundreds takes longer than a lease lasts, and those that are open already must be renewed meanwhile.
const openDivisor = 20

// carryOut does what the lease machine asks for, in its order. Effects of
// effects are done in the next round.
func (l *loop) carryOut() {
	for l.fatal == nil {
		effects := l.machine.Effects()
		if len(effects) == 0 {
			l.openPending()
			return
		}
		for len(effects) > 0 {
			if n := renewals(effects); n > 0 {
				l.renew(effects[:n])
				effects = effects[n:]
				continue
			}
			if err := l.effect(effects[0]); err != nil {
				l.fatal = err
				return
			}
			effects = effects[1:]
		}
	}
}

// effect returns an error only for what the agent cannot live with.
func (l *loop) effect(e lease.Effect) error {
	switch e := e.(type) {
	case lease.Shut:
		return l.shut(e)
	case lease.Persist:
		l.dirty = true // who was promised what has changed, and with it who is known as the owner
		if err := l.store.save(e.Record); err != nil {
			return fmt.Errorf("cannot write the lease record, and must not promise without it: %w", err)
		}
	case lease.Open:
		l.open(e)
	case lease.Send:
		for _, datagram := range lease.Encode(e.Message) {
			if err := l.net.SendLease(e.To, datagram); err != nil {
				l.log.Debug("lease message not sent", "peer", e.To, "error", err)
			}
		}
	}
	return nil
}

func (l *loop) shut(e lease.Shut) error {
	g := l.groups[e.Group]
	if err := l.letGo(e, g); err != nil {
		return fmt.Errorf("cannot shut group %s: %w", e.Group, err)
	}
	l.dirty = true
	if g == nil {
		return nil
	}
	g.pending = nil
	if g.open {
		g.open = false
		g.shutAt = l.boot()
		l.metrics.Shut(e.Group, e.Reason)
	}
	if g.role != nil {
		l.roleShut(e.Group, g, e.Reason)
	}
	switch e.Reason {
	case lease.ReasonPaused:
		return nil // confirmed or lost within a round trip: the outcome is told
	case lease.ReasonTransferred, lease.ReasonReleased:
		g.lost = "" // this node's own decision: whoever decided has told why
	default:
		g.lost = e.Reason.String()
	}
	l.log.Info("group shut", "group", e.Group, "epoch", e.Epoch, "reason", e.Reason)
	return nil
}

// open opens a group that this node has just won, or puts it off while somebody
// else answers for an address: the last owner may be dying slowly, and gets one
// more ttl. Not longer: a router with proxy ARP answers for everything. An answer counts for a ttl, or until the look after
// the next where looks have become rare.
func (l *loop) open(e lease.Open) {
	g := l.groups[e.Group]
	g.epoch = uint64(e.Epoch)
	l.dirty = true
	fresh := e.Cause == lease.CauseFree || e.Cause == lease.CauseExpired
	switch {
	case e.Cause != lease.CauseConfirmed:
		g.won = e
	case g.won.Epoch == e.Epoch: // a pause before it was opened for the first time
		e.Cause, e.Note = g.won.Cause, g.won.Note
	}
	if fresh {
		g.health.note(l.boot(), 0)
	}
	if squatted := fresh && g.squatter != "" && l.boot()-g.squatterAt < max(l.ttl, 2*l.lookGap(g)); squatted {
		g.pending = &pendingOpen{effect: e, openAt: l.boot() + l.ttl}
		l.log.Warn("somebody still answers for an address: opening a ttl later", "group", e.Group, "mac", g.squatter)
		return
	}
	if !l.mayOpen() {
		g.pending = &pendingOpen{effect: e, queued: true}
		return
	}
	l.openWhenReady(g, e)
}

// mayOpen reports whether there is time left in this turn of the loop to open a group.
func (l *loop) mayOpen() bool { return l.boot()-l.turn < l.ttl/openDivisor }

// openPending opens what was put off, when its time has come or the other has
// fallen silent.
func (l *loop) openPending() {
	for _, name := range l.order {
		g := l.groups[name]
		switch {
		case g.pending == nil || g.pending.takingOver:
			continue
		case !l.mayOpen():
			return // the loop comes back at once: see arm
		case g.pending.queued:
			e := g.pending.effect
			g.pending = nil
			l.openWhenReady(g, e)
			continue
		}
		if g.squatter != "" && l.boot() < g.pending.openAt {
			continue
		}
		e := g.pending.effect
		g.pending = nil
		if g.squatter != "" {
			l.metrics.Conflict(name)
			l.history.add(control.Event{Group: name, Kind: kindConflict, Epoch: g.epoch, From: g.squatter,
				Reason: "another machine answered for an address; taken all the same after one ttl"})
		}
		l.openWhenReady(g, e)
	}
}

func (l *loop) openNow(g *groupRun, e lease.Open) {
	l.dirty = true
	won := e.Cause != lease.CauseConfirmed
	if won {
		g.heldSince = time.Now()
		last := cmp.Or(g.owner, g.lastOwner)
		if p := l.peers[last]; e.Cause == lease.CauseFree && p != nil && l.silent(last, p) {
			e.Cause = lease.CauseExpired // an earlier try of ours has taken its place, and was given back
		}
		g.cause, g.why = causeOf(e, last)
	}
	if err := l.addrs.Open(e.Group, time.Duration(e.Until)); err != nil {
		l.log.Error("cannot open the group", "group", e.Group, "error", err)
		if tooLate(err) && time.Since(g.lateAt) > openRetry {
			// This machine stood still on the way: nothing is wrong with it
			// now, so the voters are asked again. Twice in a row is a fault.
			g.lateAt = time.Now()
			l.machine.Confirm(l.now(), e.Group)
			return
		}
		g.openErr, g.openErrUntil = "cannot add the addresses: "+err.Error(), time.Now().Add(openRetry)
		l.machine.Release(l.now(), e.Group, lease.ReasonReleased)
		return
	}
	g.open, g.lost, g.until, g.won = true, "", time.Duration(e.Until), lease.Open{}
	l.reopened(e.Group, g, e.Cause == lease.CauseTransfer)
	if !won {
		return
	}
	l.metrics.Moved(e.Group, string(g.cause))
	if g.cause == CauseHealth {
		g.noteMove(uint64(e.Epoch), time.Now())
	}
	l.log.Info("group open", "group", e.Group, "epoch", e.Epoch, "reason", g.why, "cause", g.cause)
}

// causeOf turns what the lease knows into what people read. A ticket's note is
// written by note; last is the last owner that was known, if any.
func causeOf(e lease.Open, last string) (Cause, string) {
	switch e.Cause {
	case lease.CauseExpired:
		return CauseDeadOwner, "the last owner was not heard for one ttl"
	case lease.CauseResume:
		return CauseResume, "resumed after a restart of the agent"
	case lease.CauseTransfer:
		if cause, why, ok := parseNote(e.Note); ok {
			return cause, why
		}
		return CauseSwitchover, "handed over"
	}
	if last != "" {
		return CauseReleased, last + " let go of it"
	}
	return CauseStart, "nobody had it"
}

// renewals counts the renewals at the beginning of effects. They are carried out
// together: in the kernel a hundred cost about what one does.
func renewals(effects []lease.Effect) int {
	for i, e := range effects {
		if _, ok := e.(lease.Renew); !ok {
			return i
		}
	}
	return len(effects)
}

func (l *loop) renew(effects []lease.Effect) {
	deadlines := make(map[string]time.Duration, len(effects))
	for _, e := range effects {
		e := e.(lease.Renew)
		g := l.groups[e.Group]
		if g.role != nil && g.role.claim != nil {
			g.role.claim.renewed(e.Until)
		}
		if g.pending != nil {
			g.pending.effect.Until = e.Until
			continue
		}
		deadlines[e.Group] = time.Duration(e.Until)
	}
	if len(deadlines) == 0 {
		return
	}
	l.measureRenewals(deadlines)
	failed := l.addrs.RenewAll(deadlines)
	for _, e := range effects {
		e := e.(lease.Renew)
		if _, asked := deadlines[e.Group]; !asked {
			continue
		}
		if err := failed[e.Group]; err != nil {
			l.renewFailed(e, err)
			continue
		}
		// Every grant that is counted was asked for at until - ttl + margin or
		// later: a claim before that has been answered by a majority since.
		g := l.groups[e.Group]
		g.until = time.Duration(e.Until)
		asked := time.Duration(e.Until) - l.ttl
		if g.claimedAt != 0 && asked > g.claimedAt {
			g.claimedAt = 0
			l.addrs.Defend(e.Group)
		}
	}
}

// renewFailed is called when the kernel did not take a renewal. Where that was
// too late (the gate had shut by itself: this machine stood still), the voters
// are asked before anything is opened. A stall that was shorter costs one
// renewal: the group is open until the deadline it had, and the next one is near.
// Opening again is the cure for whatever else has gone missing; where that fails
// too, openNow gives the group up.
func (l *loop) renewFailed(e lease.Renew, err error) {
	if errors.Is(err, vip.ErrStalled) {
		l.metrics.RenewalPutOff()
		l.log.Warn("this machine stalls: a renewal is put off", "group", e.Group, "error", err)
		return
	}
	l.log.Error("cannot renew the group in the kernel", "group", e.Group, "error", err)
	if tooLate(err) || errors.Is(err, vip.ErrNotOpen) {
		l.metrics.GateRanOut()
		l.history.add(control.Event{Group: e.Group, Kind: kindAddress, Epoch: uint64(e.Epoch), Reason: "gate shut by itself", Detail: err.Error()})
		l.machine.Confirm(l.now(), e.Group)
		return
	}
	l.openNow(l.groups[e.Group], lease.Open{Group: e.Group, Epoch: e.Epoch, Until: e.Until, Cause: lease.CauseConfirmed})
}

// tooLate tells whether the kernel was asked too late: this machine stood still,
// and nothing else is wrong with it.
func tooLate(err error) bool {
	return errors.Is(err, vip.ErrDeadline) || errors.Is(err, vip.ErrStalled) || errors.Is(err, vip.ErrGateExpired)
}
