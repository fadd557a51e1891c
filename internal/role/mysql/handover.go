package mysql

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hbagent/hbagent/internal/role"
)

// Chosen by us.
const (
	// settleRounds: an administrator, whom read_only does not stop, may write once
	// more; one who goes on and on cannot be waited for.
	settleRounds = 3
	// undoLimit bounds the way back, whose caller's time may be over.
	undoLimit = 10 * time.Second
	// See seenSince.
	seenLimit = time.Second
	seenPoll  = 10 * time.Millisecond
)

// HandOver implements agent.Role. Its steps: let finish what is under way; no writes
// any more; the target gets everything; nothing was written since.
func (r *Role) HandOver(ctx context.Context, c role.Claim, catchUp func(ctx context.Context, position string) error) error {
	step, done, err := r.begin(ctx, false)
	if err != nil {
		return fmt.Errorf("hand over: %w", err)
	}
	defer done()
	err = r.handOver(step, c, catchUp)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("hand over: %w", err)
	if undone := r.undo(ctx, c); undone != nil {
		return fmt.Errorf("%w; %w: %w", err, role.ErrNotUndone, undone)
	}
	return err
}

func (r *Role) handOver(ctx context.Context, c role.Claim, catchUp func(ctx context.Context, position string) error) error {
	if _, err := r.letFinish(ctx, r.o.DemoteTimeout); err != nil {
		return err
	}
	// The next look at the writers would have to wait: better now than without writes.
	if err := pause(ctx, time.Until(r.server.fresh)); err != nil {
		return err
	}
	if _, err := still(c); err != nil {
		return err
	}
	if !r.turnTo(master, handedOver) {
		return fmt.Errorf("this node is not the master: %w", errEnded)
	}
	limit, cancel := context.WithTimeout(ctx, r.o.DemoteTimeout+killGrace+killHarder) // the caller's time may be minutes, without writes
	defer cancel()
	killed, err := r.makeReadOnly(limit, killGrace)
	if err != nil {
		return err
	}
	if killed > 0 {
		r.event("connections were ended for a handover", fmt.Sprintf("%d that were still writing after %v", killed, r.o.DemoteTimeout))
	}
	var had Position
	for round := range settleRounds {
		st, _, err := look(ctx, r.server, time.Now())
		if err != nil {
			return err
		}
		if st.writable() {
			return errors.New("somebody has made the server writable meanwhile")
		}
		if round > 0 && had.Has(st.position) {
			return nil
		}
		had = st.position
		if err := catchUp(ctx, had.String()); err != nil {
			return fmt.Errorf("the target does not catch up: %w", err)
		}
		if _, err := still(c); err != nil {
			return err
		}
	}
	return errors.New("somebody writes in spite of read_only: look for accounts with READ_ONLY ADMIN (SUPER, CONNECTION_ADMIN in MySQL)")
}

// turnTo changes the intent, if it is still from.
func (r *Role) turnTo(from, to intent) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.intent != from {
		return false
	}
	r.intent = to
	if to == master {
		r.activated = time.Time{}
	}
	return true
}

// undo makes the server writable again, as far as the claim holds.
func (r *Role) undo(ctx context.Context, c role.Claim) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	switch i, _, _ := r.wanted(); i {
	case master:
		return nil // it had not begun
	case handedOver:
	default:
		return errEnded // it is to be read-only by now
	}
	r.turnTo(handedOver, master)
	st, _, err := look(ctx, r.server, time.Now())
	if err != nil {
		return err
	}
	if err := r.makeWritable(ctx, c); err != nil {
		return err
	}
	r.activatedNow(c, st)
	r.event("a handover was undone", "the server is writable again")
	return nil
}

// CatchUp implements agent.Role.
func (r *Role) CatchUp(ctx context.Context, position string) error {
	p, err := ParsePosition(position)
	if err != nil {
		return fmt.Errorf("catch up: %w", err)
	}
	// It changes nothing: no turn is needed, and Run may go on.
	if err := r.apply(ctx, p, nil); err != nil {
		return fmt.Errorf("catch up: %w", err)
	}
	r.seenSince(ctx, time.Now())
	return nil
}

// seenSince waits, for a moment at most, until the agent has been told what the server
// is like now: it is about to be asked for the group, and must not refuse because of
// how far behind it was before.
func (r *Role) seenSince(ctx context.Context, since time.Time) {
	for deadline := since.Add(seenLimit); time.Now().Before(deadline); {
		r.mu.Lock()
		seen := r.seenAt
		r.mu.Unlock()
		if seen.After(since) {
			return
		}
		r.hurry()
		if pause(ctx, seenPoll) != nil {
			return
		}
	}
}
