package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/role"
)

// client opens one connection of an application, and runs a statement on it.
func client(t *testing.T, n *node, statements ...string) *sql.Conn {
	t.Helper()
	conn, err := n.app().Conn(t.Context())
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	for _, s := range statements {
		_, err := conn.ExecContext(t.Context(), s)
		must(t, err)
	}
	return conn
}

// start runs a statement that takes long.
func start(t *testing.T, conn *sql.Conn, statement string) <-chan error {
	t.Helper()
	var id int64
	must(t, conn.QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&id))
	done := make(chan error, 1)
	go func() { _, err := conn.ExecContext(context.WithoutCancel(t.Context()), statement); done <- err }()
	return done
}

// runs waits until the server carries something out.
func (n *node) runs(what string, count int) {
	n.t.Helper()
	soon(n.t, func() error {
		if got := n.ask("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE COMMAND = 'Query' AND INFO LIKE '" + what + "%'"); got != fmt.Sprint(count) {
			return fmt.Errorf("%s of %q run, want %d", got, what, count)
		}
		return nil
	})
}

// Who is at something when the master is handed over: transactions get the time that
// is given, what goes on after that is killed, and who only reads is left alone.
func TestHandOverLetsFinishAndKills(t *testing.T) {
	s := newSite(t, 2)
	db1, db2 := s.nodes[0], s.nodes[1]
	db1.do("INSERT INTO shop.t (id, v) VALUES (1, 'a'), (2, 'b'), (3, 'c')")
	c := role.Claim{Epoch: 1, Held: s.held.Held}

	short := client(t, db1, "BEGIN", "UPDATE shop.t SET v = 'short' WHERE id = 1")
	long := client(t, db1, "BEGIN", "UPDATE shop.t SET v = 'long' WHERE id = 2")
	idle := client(t, db1, "SELECT 1")
	update := start(t, client(t, db1), "UPDATE shop.t SET v = SLEEP(60) WHERE id = 3")
	db1.runs("UPDATE", 1)
	reading := start(t, client(t, db1), "SELECT SLEEP(3) FROM shop.t WHERE id = 1")
	db1.runs("SELECT SLEEP", 1)

	handed, began := make(chan error, 1), time.Now()
	go func() { handed <- db1.role.HandOver(t.Context(), c, db2.role.CatchUp) }()
	// The role waits for those transactions: one of them ends in time.
	soon(t, func() error {
		if len(db1.role.turn) == 0 {
			return errors.New("HandOver has not begun")
		}
		return nil
	})
	_, err := short.ExecContext(t.Context(), "COMMIT")
	must(t, err)
	must(t, <-handed)
	if took := time.Since(began); took < db1.role.o.DemoteTimeout {
		t.Errorf("it has waited %v for transactions that do not end, want %v", took, db1.role.o.DemoteTimeout)
	}
	if !db1.isReadOnly() {
		t.Fatal("the master is writable after the handover")
	}
	if got := db2.ask("SELECT GROUP_CONCAT(v ORDER BY id) FROM shop.t"); got != "short,b,c" {
		t.Errorf("the target has %s", got)
	}
	if err := <-update; err == nil {
		t.Error("the long statement has ended well")
	}
	if _, err := long.ExecContext(t.Context(), "COMMIT"); err == nil {
		t.Error("the long transaction has committed")
	}
	if err := <-reading; err != nil {
		t.Errorf("who only reads was disturbed: %v", err)
	}
	if _, err := idle.ExecContext(t.Context(), "SELECT 1"); err != nil {
		t.Errorf("who does nothing was disturbed: %v", err)
	}
	if _, err := idle.ExecContext(t.Context(), "INSERT INTO shop.t (v) VALUES ('late')"); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("a write after the handover: %v", err)
	}
	if e := db1.told("connections were ended for a handover"); !strings.HasPrefix(e.Detail, "2 ") {
		t.Errorf("%+v", e)
	}
	// Done twice, it is done.
	must(t, db1.role.Deactivate(t.Context(), "handed over"))
	must(t, db1.role.Deactivate(t.Context(), "handed over"))
	s.activate(1, role.Claim{Epoch: 2, Held: s.held.Held})
	db1.role.Follow(role.Leader{Node: "db2", Epoch: 2})
	db1.caughtUp(db2)
}

// A handover that fails at any step leaves the master as it was.
func TestHandOverIsUndone(t *testing.T) {
	s := newSite(t, 2)
	db1, db2 := s.nodes[0], s.nodes[1]
	c := role.Claim{Epoch: 1, Held: s.held.Held}
	refuse := errors.New("the target is gone")
	for name, tt := range map[string]struct {
		catchUp func(context.Context, string) error
		want    error
	}{
		"the target refuses": {func(context.Context, string) error { return refuse }, refuse},
		"the target is broken": {func(ctx context.Context, p string) error {
			db2.do("STOP SLAVE")
			release := occupy(t, db2.role) // or Run would start it again
			defer release()
			return db2.role.CatchUp(ctx, nextGTID(t, p, 1))
		}, role.ErrNotNow},
		"there is no time": {func(ctx context.Context, _ string) error {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
			defer cancel()
			<-ctx.Done()
			return ctx.Err()
		}, context.DeadlineExceeded},
		"an administrator writes": {func(ctx context.Context, p string) error {
			db1.do("INSERT INTO shop.t (v) VALUES ('admin')")
			return db2.role.CatchUp(ctx, p)
		}, nil},
		"an administrator switches read_only off": {func(context.Context, string) error {
			db1.do("SET GLOBAL read_only = OFF")
			return nil
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			err := db1.role.HandOver(t.Context(), c, tt.catchUp)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) || errors.Is(err, role.ErrNotUndone) {
				t.Fatalf("%v, want %v", err, tt.want)
			}
			if db1.isReadOnly() {
				t.Fatal("the master is read-only after a handover that failed")
			}
			_, err = db1.app().Exec("INSERT INTO shop.t (v) VALUES ('after')")
			must(t, err)
			db1.told("a handover was undone")
			db2.caughtUp(db1)
		})
	}
	t.Run("by a caller that gave up", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		err := db1.role.HandOver(ctx, c, func(ctx context.Context, _ string) error { cancel(); <-ctx.Done(); return ctx.Err() })
		if !errors.Is(err, context.Canceled) || errors.Is(err, role.ErrNotUndone) || db1.isReadOnly() {
			t.Errorf("%v, read-only %v", err, db1.isReadOnly())
		}
	})
	t.Run("with the lease lost on the way", func(t *testing.T) {
		err := db1.role.HandOver(t.Context(), c, func(context.Context, string) error { s.held.lose(); return nil })
		if !errors.Is(err, role.ErrLost) || !errors.Is(err, role.ErrNotUndone) {
			t.Errorf("%v, want ErrLost and ErrNotUndone", err)
		}
		if !db1.isReadOnly() {
			t.Error("the server is writable without a lease")
		}
	})
	t.Run("by Deactivate", func(t *testing.T) {
		c, _ := claim(2)
		s.activate(0, c)
		err := db1.role.HandOver(t.Context(), c, func(ctx context.Context, _ string) error {
			go func() { _ = db1.role.Deactivate(context.WithoutCancel(ctx), "lost") }()
			<-ctx.Done()
			return context.Cause(ctx)
		})
		if !errors.Is(err, role.ErrNotUndone) || !errors.Is(err, errEnded) {
			t.Errorf("%v, want ErrNotUndone", err)
		}
		must(t, db1.role.Deactivate(t.Context(), "lost"))
		if !db1.isReadOnly() {
			t.Error("the server is writable after Deactivate")
		}
	})
}

// Letting go after a lapse waits for nobody.
func TestDeactivateKillsAtOnce(t *testing.T) {
	s := newSite(t, 1)
	db1 := s.nodes[0]
	db1.do("INSERT INTO shop.t (id, v) VALUES (1, 'a'), (2, 'b')")
	open := client(t, db1, "BEGIN", "UPDATE shop.t SET v = 'x' WHERE id = 1")
	update := start(t, client(t, db1), "UPDATE shop.t SET v = SLEEP(60) WHERE id = 2")
	db1.runs("UPDATE", 1)
	must(t, db1.role.Deactivate(t.Context(), "lost"))
	if !db1.isReadOnly() {
		t.Fatal("writable")
	}
	if err := <-update; err == nil {
		t.Error("the long statement has ended well")
	}
	if _, err := open.ExecContext(t.Context(), "COMMIT"); err == nil {
		t.Error("the open transaction has committed")
	}
	if got := db1.ask("SELECT GROUP_CONCAT(v ORDER BY id) FROM shop.t"); got != "a,b" {
		t.Errorf("the server has %s", got)
	}
}
