package mysql

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"
)

// Chosen by us.
const (
	// killGrace is how long statements that hold read_only up may go on in a planned
	// move, beyond the transactions that were let finish.
	killGrace = 500 * time.Millisecond
	// killHarder is when those that only read are ended, too.
	killHarder  = 2 * time.Second
	writersPoll = 50 * time.Millisecond
	// trxCache: information_schema.INNODB_TRX shows what it showed before, as long as
	// it was read within 0.1 s (storage/innobase/trx/trx0i_s.cc,
	// CACHE_MIN_IDLE_TIME): asked more often, it never changes.
	trxCache     = 110 * time.Millisecond
	readOnlyWait = 30 // seconds, of a lock that read_only waits for; the context is shorter
)

// writer is a client of the server that is at something.
type writer struct {
	id          uint64 // of the connection
	running     bool   // a statement
	selecting   bool   // it begins with SELECT
	seconds     int64  // for so long
	transaction string // that it has begun; empty: none
	writing     bool   // has changed or locked rows in it
}

// holdsUp reports whether a client may keep the server from becoming read-only, or
// may still think that it can commit. Those that only read are spared, as long as
// that is possible.
func (w writer) holdsUp(harder bool) bool {
	switch {
	case w.writing:
		return true
	case harder:
		return w.running || w.transaction != ""
	}
	return w.running && w.transaction == "" && !w.selecting // DDL, other engines, or waiting for a lock on all tables
}

// writers asks who is at something now. It waits until the server looks anew.
func (s *server) writers(ctx context.Context) ([]writer, error) {
	var out []writer
	if err := pause(ctx, time.Until(s.fresh)); err != nil {
		return nil, err
	}
	defer func() { s.fresh = time.Now().Add(trxCache) }()
	err := s.each(ctx, askWriters, func(scan func(...any) error) error {
		var w writer
		err := scan(&w.id, &w.running, &w.selecting, &w.seconds, &w.transaction, &w.writing)
		out = append(out, w)
		return err
	})
	return out, err
}

// kill ends connections. One that has gone by itself is none to kill.
func (s *server) kill(ctx context.Context, ids []uint64) error {
	var all error
	for _, id := range ids {
		if err := s.exec(ctx, fmt.Sprintf("KILL CONNECTION %d", id)); err != nil && serverError(err) != erNoSuchThread {
			all = errors.Join(all, err)
		}
	}
	return all
}

// Deactivate implements agent.Role.
func (r *Role) Deactivate(ctx context.Context, reason string) error {
	r.wantReadOnly()
	r.log.Debug("deactivate", "reason", reason)
	ctx, done, err := r.begin(ctx, false)
	if err != nil {
		return fmt.Errorf("deactivate: %w", err)
	}
	defer done()
	if i, _, _ := r.wanted(); i != readOnly {
		return fmt.Errorf("deactivate: %w", errEnded) // it has waited so long that the lease is here again
	}
	// The gate is shut: nobody who came by the group's address hears an answer any
	// more, and another server may be the master by now. Nobody is waited for.
	if _, err := r.makeReadOnly(ctx, 0); err != nil {
		return fmt.Errorf("deactivate: %w", err)
	}
	return nil
}

// makeReadOnly switches read_only on, ends what stands in its way after grace, and
// then everybody who still has something to commit. It returns how many were ended.
func (r *Role) makeReadOnly(ctx context.Context, grace time.Duration) (killed int, err error) {
	st, d, err := look(ctx, r.server, time.Now())
	if err != nil {
		return 0, err
	}
	if st.writable() || d == &mySQL8 && !st.superOnly {
		if killed, err = r.switchReadOnly(ctx, d, grace); err != nil {
			return killed, err
		}
	} else if grace == 0 {
		return 0, nil
	}
	// A transaction from before cannot commit any more, and keeps its locks from
	// those that apply the new master's changes. Statements that the switch had held
	// up are just being told.
	left, err := r.letFinish(ctx, grace)
	if err != nil {
		return killed, err
	}
	ids := idsOf(left, func(w writer) bool { return w.writing })
	return killed + len(ids), r.server.kill(ctx, ids)
}

func idsOf(list []writer, which func(writer) bool) (ids []uint64) {
	for _, w := range list {
		if which(w) {
			ids = append(ids, w.id)
		}
	}
	return ids
}

// switchReadOnly runs the statement on a connection of its own, since it waits for
// the writes that are being carried out, and ends those beside it.
func (r *Role) switchReadOnly(ctx context.Context, d *dialect, grace time.Duration) (killed int, err error) {
	conn, err := r.server.connection(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := conn.exec(ctx, fmt.Sprintf("SET SESSION lock_wait_timeout = %d", readOnlyWait)); err != nil {
		return 0, err
	}
	result := make(chan error, 1)
	go func() { result <- conn.execUnbounded(ctx, d.readOnly) }()
	started := time.Now()
	poll := time.NewTicker(writersPoll)
	defer poll.Stop()
	for {
		select {
		case err := <-result:
			return killed, err
		case <-poll.C:
		}
		waited := time.Since(started)
		if waited < grace {
			continue
		}
		list, err := r.server.writers(ctx)
		if err == nil {
			ids := idsOf(list, func(w writer) bool { return w.holdsUp(waited > grace+killHarder) })
			killed += len(ids)
			err = r.server.kill(ctx, ids)
		}
		if err != nil && ctx.Err() == nil {
			r.log.Warn("cannot end what keeps the server from becoming read-only", "error", err)
		}
	}
}

// A work is something that a client has begun: the same connection may be at the
// next already.
type work struct {
	connection  uint64
	transaction string // empty: a statement without one, such as DDL
}

// underWay is what is worth waiting for: transactions that have written, and
// statements that take long.
func underWay(list []writer) map[work]bool {
	out := map[work]bool{}
	for _, w := range list {
		if w.writing || w.running && w.transaction == "" && !w.selecting && w.seconds >= 1 {
			out[work{w.id, w.transaction}] = true
		}
	}
	return out
}

// letFinish waits until what is under way now has ended, for a while at most. Others
// begin meanwhile, and are not waited for. It returns who is at something then.
func (r *Role) letFinish(ctx context.Context, wait time.Duration) ([]writer, error) {
	deadline := time.Now().Add(wait)
	list, err := r.server.writers(ctx)
	for left := underWay(list); err == nil && len(left) > 0 && time.Now().Before(deadline); {
		list, err = r.server.writers(ctx)
		now := underWay(list)
		maps.DeleteFunc(left, func(w work, _ bool) bool { return !now[w] })
	}
	return list, err
}
