package mysql

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/role"
)

// A site comes up, the master dies, the replica takes over with everything it has
// received, and the old master follows it.
func TestTakeover(t *testing.T) {
	s := newSite(t, 2)
	db1, db2 := s.nodes[0], s.nodes[1]
	db1.do("INSERT INTO shop.t (v) VALUES ('a'), ('b')")
	db2.caughtUp(db1)
	if v := db2.verdict(role.Situation{Owner: "db1"}); !v.Eligible {
		t.Errorf("the replica is not eligible: %+v", v)
	}
	db1.kill()
	c, _ := claim(2)
	c.Last = role.Last{Node: "db1", Epoch: 1, Position: db2.last().Position}
	s.activate(1, c)
	if got := db2.ask("SELECT COUNT(*) FROM shop.t"); got != "2" {
		t.Errorf("%s rows, want 2", got)
	}
	if _, err := db2.app().Exec("INSERT INTO shop.t (v) VALUES ('c')"); err != nil {
		t.Errorf("the new master does not take writes: %v", err)
	}
	if got := db2.ask("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Slave%'"); got != "0" {
		t.Errorf("%s threads of a replica run on the master", got)
	}
	if row, err := db2.role.server.columns(t.Context(), "SHOW SLAVE STATUS"); err != nil || row != nil {
		t.Errorf("restarted, the new master would follow %s (%v)", row["Master_Host"], err)
	}

	db1.start()
	if !db1.isReadOnly() {
		t.Fatal("the old master comes back writable")
	}
	must(t, db1.role.Deactivate(t.Context(), "start"))
	db1.role.Follow(role.Leader{Node: "db2", Epoch: 2})
	db1.caughtUp(db2)
	if got := db1.ask("SELECT GROUP_CONCAT(v ORDER BY id) FROM shop.t"); got != "a,b,c" {
		t.Errorf("the old master has %s", got)
	}
	// What it has itself is not asked for again: the new master need not have it any more.
	text, err := os.ReadFile(filepath.Join(db1.dir, "log"))
	must(t, err)
	if !strings.Contains(string(text), "replication starts at GTID position '0-1-") {
		t.Error("the old master follows from the beginning, and not from where it is")
	}
	if e := db1.told("follows db2"); !strings.Contains(e.Detail, "0-1-") {
		t.Errorf("%+v", e)
	}
}

// hold locks a table on a replica, so that what it receives is not applied, and
// returns what ends that.
func (n *node) hold() (release func()) {
	n.t.Helper()
	conn, err := n.root.Conn(context.Background())
	must(n.t, err)
	_, err = conn.ExecContext(context.Background(), "LOCK TABLES shop.t READ")
	must(n.t, err)
	return func() {
		n.t.Helper()
		if _, err := conn.ExecContext(context.Background(), "UNLOCK TABLES"); err != nil {
			n.t.Error(err)
		}
		conn.Close()
	}
}

// received waits until a replica has received everything of its master.
func (n *node) received(master *node) {
	n.t.Helper()
	want := master.ask("SELECT @@global.gtid_binlog_pos")
	soon(n.t, func() error {
		row, err := n.role.server.columns(context.Background(), "SHOW SLAVE STATUS")
		if err == nil && row["Gtid_IO_Pos"] != want {
			err = fmt.Errorf("%s has received %s, want %s", n.name, row["Gtid_IO_Pos"], want)
		}
		return err
	})
}

// What has been received is applied before the server becomes writable, however long
// that takes while it gets on; without progress it gives up, and can try again.
func TestTakeoverAppliesWhatIsReceived(t *testing.T) {
	s := newSite(t, 2)
	db1, db2 := s.nodes[0], s.nodes[1]
	release := db2.hold()
	for i := range 20 {
		db1.do(fmt.Sprintf("INSERT INTO shop.t (v) VALUES ('%d')", i))
	}
	db2.received(db1)
	want := db1.ask("SELECT @@global.gtid_binlog_pos")
	db1.kill()
	if o := db2.sees("the backlog", func(o role.Observation) bool { return o.Received != "" }); !strings.Contains(o.Received, want) || o.Has() == o.Position {
		t.Errorf("position %s, received %s, want %s received", o.Position, o.Received, want)
	}

	c, held := claim(2)
	err := db2.role.Prepare(t.Context(), c)
	if !errors.Is(err, role.ErrNotNow) || !strings.Contains(err.Error(), "20 transactions not applied (0-1-") {
		t.Fatalf("Prepare with a table that is locked: %v, want ErrNotNow and how much", err)
	}
	if !db2.isReadOnly() {
		t.Error("the server is writable after a Prepare that failed")
	}
	must(t, db2.role.Deactivate(t.Context(), "could not prepare"))

	prepared := make(chan error, 1)
	held.mu.Lock()
	start := held.asks
	held.mu.Unlock()
	go func() { prepared <- db2.role.Prepare(t.Context(), c) }()
	soon(t, func() error { // it is waiting, and looks at the lease
		held.mu.Lock()
		defer held.mu.Unlock()
		if held.asks < start+3 {
			return errors.New("Prepare does not look at the lease")
		}
		return nil
	})
	select {
	case err := <-prepared:
		t.Fatalf("Prepare does not wait: %v", err)
	default:
	}
	release()
	must(t, <-prepared)
	must(t, db2.role.Activate(t.Context(), c))
	if got := db2.ask("SELECT COUNT(*) FROM shop.t"); got != "20" {
		t.Errorf("%s rows, want 20", got)
	}
}

// A replica that cannot apply what it has is no master, unless a person wants it.
func TestTakeoverRefusesABrokenReplica(t *testing.T) {
	s := newSite(t, 2)
	db1, db2 := s.nodes[0], s.nodes[1]
	db1.do("INSERT INTO shop.t (v) VALUES ('a')")
	db2.caughtUp(db1)
	db2.do("SET sql_log_bin = 0", "DELETE FROM shop.t")
	db1.do("UPDATE shop.t SET v = 'b'", "INSERT INTO shop.t (v) VALUES ('c')")
	db2.sees("broken replication", func(o role.Observation) bool { return strings.Contains(o.Broken, "error 1032") })
	if v := db2.verdict(role.Situation{Owner: "db1"}); v.Eligible || !v.Failed || !strings.HasPrefix(v.Reason, "replication is broken: cannot apply a change of its master: error 1032") {
		t.Errorf("%+v", v)
	}
	db2.received(db1)
	db1.kill()
	if v := db2.verdict(role.Situation{OwnerSeen: time.Now()}); v.Eligible || !v.Failed {
		t.Errorf("with a dead master: %+v", v)
	}
	c, _ := claim(2)
	err := db2.role.Prepare(t.Context(), c)
	if err == nil || errors.Is(err, role.ErrNotNow) || !strings.Contains(err.Error(), "error 1032") {
		t.Fatalf("Prepare: %v, want an error that is not ErrNotNow", err)
	}
	must(t, db2.role.Deactivate(t.Context(), "could not prepare"))
	if v := db2.verdict(role.Situation{Forced: true}); !v.Eligible {
		t.Errorf("by force: %+v", v)
	}
	c.Forced = true
	s.activate(1, c)
	if e := db2.told("takes over by force"); !strings.HasPrefix(e.Detail, "2 transactions (0-1-") {
		t.Errorf("%+v", e)
	}
	if got := db2.ask("SELECT COUNT(*) FROM shop.t"); got != "0" {
		t.Errorf("%s rows: something was applied", got)
	}
}

// A replica that is too far behind is not eligible while its master lives, nor when it
// has died, and is again when it has caught up.
func TestLaggingReplicaIsNotEligible(t *testing.T) {
	s := newSite(t, 2)
	db1, db2 := s.nodes[0], s.nodes[1]
	db2.role.policy = policy{maxLag: time.Second, waitForLast: time.Hour}
	release := db2.hold()
	db1.do("INSERT INTO shop.t (v) VALUES ('a')")
	db2.sees("the lag", func(o role.Observation) bool { return o.LagMs >= 2000 })
	if v := db2.verdict(role.Situation{Owner: "db1"}); v.Eligible || v.Failed || !strings.Contains(v.Reason, "behind db1, more than max_lag (1s)") {
		t.Errorf("%+v", v)
	}
	last := role.Last{Node: "db1", Epoch: 1, Position: db1.last().Position, At: time.Now()}
	db1.do("INSERT INTO shop.t (v) VALUES ('b')")
	db2.received(db1)
	db1.kill()
	// It has received all of it: taking over means to apply it, and loses nothing.
	o := db2.sees("a dead master", func(o role.Observation) bool { return !o.Connected })
	if v := db2.verdict(role.Situation{OwnerSeen: time.Now(), Last: last}); !v.Eligible {
		t.Errorf("a replica that has received everything: %+v", v)
	}
	// If the master is known to have had more, it waits.
	ahead := last
	ahead.Position = nextGTID(t, o.Has(), 3)
	if v := db2.verdict(role.Situation{OwnerSeen: time.Now(), Waiting: time.Now(), Last: ahead}); v.Eligible || !strings.HasPrefix(v.Reason, "lacks 3 transactions of db1, the last master, and waits for it until ") {
		t.Errorf("a replica that has not: %+v", v)
	}
	release()
	if v := db2.verdict(role.Situation{Forced: true, Last: ahead}); !v.Eligible {
		t.Errorf("by force: %+v", v)
	}
}

// nextGTID is a position with n transactions more.
func nextGTID(t *testing.T, position string, n uint64) string {
	t.Helper()
	p := parsed(t, position)
	head, ok := p.maria.head(0)
	if !ok {
		t.Fatalf("nothing in %q", position)
	}
	p.maria[head] += n
	return p.String()
}
