package mysql

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/role"
)

// The lease is looked at before each step: lost at the first look, the second, and so
// on, the server never becomes writable for longer than it takes to notice, and the
// node can go back to following.
func TestLeaseLostAtEachStep(t *testing.T) {
	s := newSite(t, 2)
	db1, db2 := s.nodes[0], s.nodes[1]
	var readOnly atomic.Bool // at the look at which the lease was lost
	for ask := 1; ; ask++ {
		c, held := claim(uint64(1 + ask))
		readOnly.Store(true)
		held.on = func(n int) {
			if n == ask {
				readOnly.Store(db2.isReadOnly())
			}
			if n >= ask {
				held.left, held.err = 0, role.ErrLost
			}
		}
		err := db2.role.Prepare(t.Context(), c)
		if err == nil {
			err = db2.role.Activate(t.Context(), c)
		}
		if err == nil {
			if ask < 5 {
				t.Errorf("the lease was looked at %d times only", ask-1)
			}
			break
		}
		if !errors.Is(err, role.ErrLost) {
			t.Fatalf("lost at look %d: %v, want ErrLost", ask, err)
		}
		if ask > 50 {
			t.Fatal("no end of it")
		}
		must(t, db2.role.Deactivate(t.Context(), "lost"))
		if !db2.isReadOnly() {
			t.Fatalf("lost at look %d: writable", ask)
		}
		db1.do(fmt.Sprintf("INSERT INTO shop.t (v) VALUES ('%d')", ask))
		db2.role.Follow(role.Leader{Node: "db1", Epoch: uint64(1 + ask)})
		db2.caughtUp(db1)
	}
	// And now it is the master, whose lease is lost while nobody says so: at the first look after Activate, which may
	// be over by now.
	soon(t, func() error {
		if !db2.isReadOnly() {
			return errors.New("writable without a lease")
		}
		return nil
	})
	db2.told("the lease is lost")
	soon(t, func() error {
		if readOnly.Load() {
			return errors.New("it has not become writable in the end")
		}
		return nil
	})
	soon(t, func() error {
		db2.mu.Lock()
		defer db2.mu.Unlock()
		if len(db2.letGo) == 0 {
			return errors.New("the agent was not told")
		}
		return nil
	})
}

// A statement that waits in the socket of a frozen server does nothing when it thaws
// after the end of the lease.
func TestFrozenServerStaysReadOnly(t *testing.T) {
	s := newSite(t, 1)
	db1 := s.nodes[0]
	must(t, db1.role.Deactivate(t.Context(), "test"))
	// Run does nothing any more: the statement alone decides.
	defer occupy(t, db1.role)()
	c, held := claim(2)
	held.left = 300 * time.Millisecond
	db1.freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if err := db1.role.makeWritable(ctx, c); !errors.Is(err, errNoAnswer) {
		t.Errorf("on a frozen server: %v, want %v", err, errNoAnswer)
	}
	db1.thaw()
	// It has been through with the statement when the connection that it came by is gone.
	soon(t, func() error {
		if db1.ask("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'hbagent' AND COMMAND <> 'Sleep'") != "0" {
			return errors.New("it is at it")
		}
		return nil
	})
	for range 200 {
		if !db1.isReadOnly() {
			t.Fatal("the statement was carried out after the end of the lease")
		}
	}
}

// occupy takes the role's turn, so that Run does nothing.
func occupy(t *testing.T, r *Role) (release func()) {
	t.Helper()
	r.turn <- struct{}{}
	return func() { <-r.turn }
}

// Deactivate ends whatever is under way, and does not wait for it.
func TestDeactivateEndsPrepare(t *testing.T) {
	s := newSite(t, 2)
	db1, db2 := s.nodes[0], s.nodes[1]
	defer db2.hold()()
	db1.do("INSERT INTO shop.t (v) VALUES ('a')")
	db2.received(db1)
	c, held := claim(2)
	prepared := make(chan error, 1)
	go func() { prepared <- db2.role.Prepare(t.Context(), c) }()
	soon(t, func() error {
		held.mu.Lock()
		defer held.mu.Unlock()
		if held.asks < 3 {
			return errors.New("Prepare does not wait")
		}
		return nil
	})
	must(t, db2.role.Deactivate(t.Context(), "lost"))
	if err := <-prepared; !errors.Is(err, errEnded) {
		t.Errorf("Prepare: %v, want %v", err, errEnded)
	}
}
