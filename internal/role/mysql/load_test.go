package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/hbagent/hbagent/internal/role"
)

// address stands for the floating address: it leads to one server, or nowhere.
type address struct{ to atomic.Pointer[node] }

// load are clients that insert one row after the other, each into the server that the
// address leads to, and remember what they were told.
type load struct {
	acked, failed, unknown atomic.Int64
	mu                     sync.Mutex
	rows                   map[string]bool // that were acknowledged
	maybe                  map[string]bool // whose answer was lost
	stop                   context.CancelFunc
	wg                     sync.WaitGroup
}

func startLoad(t *testing.T, a *address, clients int) *load {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	l := &load{rows: map[string]bool{}, maybe: map[string]bool{}, stop: stop}
	for c := range clients {
		l.wg.Go(func() { l.client(ctx, a, c) })
	}
	t.Cleanup(func() { stop(); l.wg.Wait() })
	return l
}

func (l *load) client(ctx context.Context, a *address, number int) {
	var at *node
	var db *sql.DB
	closeDB := func() {
		if db != nil {
			db.Close()
		}
	}
	defer func() { closeDB() }()
	for i := 0; ctx.Err() == nil; i++ {
		n := a.to.Load()
		if n == nil {
			_ = pause(ctx, time.Millisecond)
			continue
		}
		if n != at {
			closeDB()
			at, db = n, n.app()
			db.SetMaxOpenConns(1)
		}
		row := fmt.Sprintf("%d-%d", number, i)
		_, err := db.ExecContext(ctx, "INSERT INTO shop.t (v) VALUES (?)", row)
		l.mu.Lock()
		var refused *driver.MySQLError
		switch {
		case err == nil:
			l.acked.Add(1)
			l.rows[row] = true
		case errors.As(err, &refused):
			l.failed.Add(1)
		default:
			l.unknown.Add(1)
			l.maybe[row] = true
		}
		l.mu.Unlock()
		if err != nil {
			_ = pause(ctx, time.Millisecond) // as an application that tries again
		}
	}
}

// writes waits until so many more rows were acknowledged.
func (l *load) writes(t *testing.T, more int64) {
	t.Helper()
	want := l.acked.Load() + more
	soon(t, func() error {
		if got := l.acked.Load(); got < want {
			return fmt.Errorf("%d rows, waiting for %d", got, want)
		}
		return nil
	})
}

// Handed over to and fro under load, no row that was acknowledged is missing, none is
// there twice, and none is there that was refused.
func TestHandOverUnderLoad(t *testing.T) {
	s := newSite(t, 2)
	var a address
	a.to.Store(s.nodes[0])
	l := startLoad(t, &a, 4)
	l.writes(t, 200)
	began, before := time.Now(), l.acked.Load()
	l.writes(t, 400)
	rate := float64(l.acked.Load()-before) / time.Since(began).Seconds()

	var longest, handOver, activate time.Duration
	const moves = 6
	for move := range moves {
		from, to := s.nodes[move%2], s.nodes[(move+1)%2]
		epoch := uint64(move + 2)
		c := role.Claim{Epoch: epoch - 1, Held: s.held.Held}
		started := time.Now()
		must(t, from.role.HandOver(t.Context(), c, to.role.CatchUp))
		handOver = max(handOver, time.Since(started))
		a.to.Store(nil) // the gate is shut
		must(t, from.role.Deactivate(t.Context(), "handed over"))
		c.Epoch = epoch
		shut := time.Now()
		must(t, to.role.Prepare(t.Context(), c))
		must(t, to.role.Activate(t.Context(), c))
		a.to.Store(to)
		activate = max(activate, time.Since(shut))
		longest = max(longest, time.Since(started))
		from.role.Follow(role.Leader{Node: to.name, Epoch: epoch})
		to.role.Follow(role.Leader{Node: to.name, Epoch: epoch})
		l.writes(t, 100)
		from.sees("the old master following", func(o role.Observation) bool { return o.Connected && o.Following == to.name })
	}
	l.stop()
	l.wg.Wait()
	master, replica := s.nodes[moves%2], s.nodes[(moves+1)%2]
	replica.caughtUp(master)
	for _, n := range []*node{master, replica} {
		l.check(t, n)
		if d := n.last().Diverged; d != "" {
			t.Errorf("%s: %s", n.name, d)
		}
	}
	t.Logf("%.0f commits/s with %d clients; %d moves, the longest took %v (HandOver %v, Prepare and Activate %v); %d acknowledged, %d refused, %d without an answer",
		rate, 4, moves, longest.Round(time.Millisecond), handOver.Round(time.Millisecond), activate.Round(time.Millisecond), l.acked.Load(), l.failed.Load(), l.unknown.Load())
}

// check compares what a server has with what the clients were told.
func (l *load) check(t *testing.T, n *node) {
	t.Helper()
	rows, err := n.root.Query("SELECT v, COUNT(*) FROM shop.t GROUP BY v")
	must(t, err)
	defer rows.Close()
	found := map[string]bool{}
	for rows.Next() {
		var v string
		var count int
		must(t, rows.Scan(&v, &count))
		found[v] = true
		if count != 1 {
			t.Errorf("%s: row %s is there %d times", n.name, v, count)
		}
		if !l.rows[v] && !l.maybe[v] {
			t.Errorf("%s: row %s is there and was refused", n.name, v)
		}
	}
	must(t, rows.Err())
	lost := 0
	for v := range l.rows {
		if !found[v] {
			lost++
		}
	}
	if lost > 0 || len(l.rows) == 0 {
		t.Errorf("%s: %d of %d acknowledged rows are lost", n.name, lost, len(l.rows))
	}
}
