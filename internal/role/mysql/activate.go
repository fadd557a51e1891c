package mysql

import (
	"context"
	"fmt"
	"time"

	"github.com/hbagent/hbagent/internal/role"
)

// Prepare implements agent.Role: receive no more, apply what has been received, and
// stop.
func (r *Role) Prepare(ctx context.Context, c role.Claim) error {
	if err := r.wantWith(preparing, c); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	ctx, done, err := r.begin(ctx, false)
	if err != nil {
		return err
	}
	defer done()
	if err := r.prepare(ctx, c); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	return nil
}

func (r *Role) prepare(ctx context.Context, c role.Claim) error {
	st, d, err := look(ctx, r.server, time.Now())
	if err != nil {
		return err
	}
	if st.unfit != "" {
		return fmt.Errorf("%s", st.unfit)
	}
	if !st.replica.configured {
		return nil
	}
	if _, err := still(c); err != nil {
		return err
	}
	if st.replica.receiving() {
		if err := r.server.stop(ctx, d.stopReceiver); err != nil {
			return err
		}
		if st, d, err = look(ctx, r.server, time.Now()); err != nil {
			return err
		}
	}
	if !st.position.Has(st.replica.received) {
		if !st.replica.applier && st.replica.applierErrno == 0 {
			if err := r.server.exec(ctx, d.startApplier); err != nil {
				return err
			}
		}
		switch err := r.apply(ctx, st.replica.received, c.Held); {
		case err != nil && c.Forced:
			lost := st.position.Lacks(st.replica.received)
			r.event("takes over by force without what it had received", fmt.Sprintf("%s (%s): %v", transactions(lost.Transactions), lost.Detail, err))
		case err != nil:
			return err
		}
	} else if st.replica.applierErrno != 0 && !c.Forced {
		return fmt.Errorf("%s", st.broken())
	}
	if _, err := still(c); err != nil {
		return err
	}
	return r.server.stop(ctx, d.stopReplica)
}

// Chosen by us.
const (
	waitMoment = 250 * time.Millisecond // one question for a position: then the lease is looked at
	waitRetry  = 50 * time.Millisecond  // when the server answers at once that it has it not
)

// apply waits until the server has p, for as long as it gets on. held may be nil.
func (r *Role) apply(ctx context.Context, p Position, held func() (time.Duration, error)) error {
	mark, since := "", time.Now()
	for {
		st, d, err := look(ctx, r.server, time.Now())
		switch {
		case err != nil:
			return err
		case st.position.Has(p):
			return nil
		case st.replica.applierErrno != 0:
			return fmt.Errorf("%s", st.broken())
		case !st.replica.configured || !st.replica.applier:
			return fmt.Errorf("replication is stopped: %w", role.ErrNotNow)
		}
		if held != nil {
			if _, err := still(role.Claim{Held: held}); err != nil {
				return err
			}
		}
		if now := st.position.String() + st.replica.mark; now != mark {
			mark, since = now, time.Now()
		} else if time.Since(since) > r.o.ApplyTimeout {
			lacks := st.position.Lacks(p)
			return fmt.Errorf("%s not applied (%s), and no progress for %v: %w", transactions(lacks.Transactions), lacks.Detail, r.o.ApplyTimeout, role.ErrNotNow)
		}
		asked := time.Now()
		var answer any
		if err := r.server.row(ctx, d.wait(p, waitMoment), &answer); err != nil {
			return err
		}
		if time.Since(asked) < waitMoment { // reached, or no replica any more: the next look tells
			if err := pause(ctx, waitRetry); err != nil {
				return err
			}
		}
	}
}

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// Activate implements agent.Role.
func (r *Role) Activate(ctx context.Context, c role.Claim) error {
	if err := r.wantWith(master, c); err != nil {
		return fmt.Errorf("activate: %w", err)
	}
	ctx, done, err := r.begin(ctx, false)
	if err != nil {
		return err
	}
	defer done()
	if err := r.activate(ctx, c); err != nil {
		return fmt.Errorf("activate: %w", err)
	}
	return nil
}

func (r *Role) activate(ctx context.Context, c role.Claim) error {
	st, d, err := look(ctx, r.server, time.Now())
	if err != nil {
		return err
	}
	if st.replica.configured {
		if st.replica.receiving() || st.replica.applier {
			return fmt.Errorf("replication runs: %w", role.ErrNotNow)
		}
		if _, err := still(c); err != nil {
			return err
		}
		// What was received and cannot be applied stays, for a person to look at.
		if st.position.Has(st.replica.received) {
			if err := r.server.exec(ctx, d.forgetSource); err != nil {
				return err
			}
		}
	}
	if st.writable() {
		r.activatedNow(c, st)
		return nil
	}
	if err := r.makeWritable(ctx, c); err != nil {
		return err
	}
	r.activatedNow(c, st)
	r.tellLoss(st, c)
	return nil
}

// activatedNow notes when: a server that was started since has lost it again.
func (r *Role) activatedNow(c role.Claim, st state) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.intent == master && r.claim.Epoch == c.Epoch {
		r.activated, r.started, r.diverged = time.Now(), st.started(), ""
	}
}

// makeWritable switches read_only off, no later than the claim is certain.
func (r *Role) makeWritable(ctx context.Context, c role.Claim) error {
	left, err := still(c)
	if err != nil {
		return err
	}
	if err := r.server.exec(ctx, writable(time.Now().Add(left))); err != nil {
		return err
	}
	var on string
	if err := r.server.row(ctx, "SELECT @@global.read_only", &on); err != nil {
		return err
	}
	_, lost := still(c)
	switch {
	case isOn(on):
		return fmt.Errorf("the statement came too late for the lease: %w", role.ErrLost)
	case lost != nil:
		return lost // whoever called deactivates
	}
	return nil
}

// tellLoss counts what the last master is known to have had, and this one has not.
func (r *Role) tellLoss(st state, c role.Claim) {
	if c.Last.Node == "" || c.Last.Node == r.o.Node {
		return
	}
	last, err := ParsePosition(c.Last.Position)
	if err != nil {
		return
	}
	if lacks := st.position.Lacks(last); lacks.Transactions > 0 {
		r.event("transactions are missing", fmt.Sprintf("%s had %s at %s that this server has not: %s",
			c.Last.Node, transactions(lacks.Transactions), c.Last.At.UTC().Format("15:04:05.000 UTC"), lacks.Detail))
	}
}
