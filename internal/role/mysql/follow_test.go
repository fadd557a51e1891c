package mysql

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/role"
)

// With three servers the third one follows the new master, too.
func TestThirdServerFollows(t *testing.T) {
	s := newSite(t, 3)
	db1, db2, db3 := s.nodes[0], s.nodes[1], s.nodes[2]
	db1.do("INSERT INTO shop.t (v) VALUES ('a')")
	db2.caughtUp(db1)
	c := role.Claim{Epoch: 1, Held: s.held.Held}
	must(t, db1.role.HandOver(t.Context(), c, db2.role.CatchUp))
	must(t, db1.role.Deactivate(t.Context(), "handed over"))
	c.Epoch = 2
	s.activate(1, c)
	for _, n := range s.nodes {
		n.role.Follow(role.Leader{Node: "db2", Epoch: 2})
	}
	db2.do("INSERT INTO shop.t (v) VALUES ('b')")
	db1.caughtUp(db2)
	db3.caughtUp(db2)
	for _, n := range s.nodes {
		if got := n.ask("SELECT GROUP_CONCAT(v ORDER BY id) FROM shop.t"); got != "a,b" {
			t.Errorf("%s has %s", n.name, got)
		}
	}
	// Down with the account, and up again: said, and mended without anybody's doing.
	db2.do("SET sql_log_bin = 0", "ALTER USER repl@'%' ACCOUNT LOCK")
	db2.do(killDumps)
	db3.sees("why it cannot follow", func(o role.Observation) bool {
		return !o.Connected && strings.Contains(o.Warning, "cannot ask the server of db2")
	})
	db2.do("SET sql_log_bin = 0", "ALTER USER repl@'%' ACCOUNT UNLOCK")
	db3.sees("it following again", func(o role.Observation) bool { return o.Connected && o.Warning == "" })
}

// killDumps ends the connections of replicas.
const killDumps = "BEGIN NOT ATOMIC FOR p IN (SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%') DO KILL p.ID; END FOR; END"

// The master dies with a tail that no replica has. It comes back with it, stays out,
// throws nothing away, and what was lost is counted.
func TestOldMasterWithATailStaysOut(t *testing.T) {
	s := newSite(t, 2)
	db1, db2 := s.nodes[0], s.nodes[1]
	db1.do("INSERT INTO shop.t (v) VALUES ('a')")
	db2.caughtUp(db1)
	c, _ := claim(2)
	must(t, db2.role.Prepare(t.Context(), c)) // it is cut off from here on
	for i := range 5 {
		db1.do(fmt.Sprintf("INSERT INTO shop.t (v) VALUES ('tail-%d')", i))
	}
	tail := db1.ask("SELECT @@global.gtid_binlog_pos")
	db1.sees("the tail", func(o role.Observation) bool { return strings.Contains(o.Position, tail) })
	c.Last = role.Last{Node: "db1", Epoch: 1, Position: db1.last().Position, At: time.Now()}
	db1.kill()
	must(t, db2.role.Activate(t.Context(), c))
	if e := db2.told("transactions are missing"); !strings.HasPrefix(e.Detail, "db1 had 5 transactions at ") {
		t.Errorf("%+v", e)
	}
	db2.do("INSERT INTO shop.t (v) VALUES ('b')", "INSERT INTO shop.t (v) VALUES ('c')")

	db1.start()
	must(t, db1.role.Deactivate(t.Context(), "start"))
	db1.role.Follow(role.Leader{Node: "db2", Epoch: 2})
	o := db1.sees("the divergence", func(o role.Observation) bool { return o.Diverged != "" })
	if !strings.HasPrefix(o.Diverged, "5 transactions here that the master has not (0-1-") {
		t.Errorf("%q", o.Diverged)
	}
	if e := db1.told("diverged from db2"); !strings.HasPrefix(e.Detail, "5 transactions here") || !strings.HasSuffix(e.Detail, "it stays out, and nothing is thrown away") {
		t.Errorf("%+v", e)
	}
	v := db1.verdict(role.Situation{Owner: "db2"})
	if v.Eligible || !v.Failed || !strings.HasPrefix(v.Reason, "diverged: 5 transactions here") {
		t.Errorf("%+v", v)
	}
	db2.kill() // not even now
	if v := db1.verdict(role.Situation{OwnerSeen: time.Now()}); v.Eligible {
		t.Errorf("with a dead master: %+v", v)
	}
	if got := db1.ask("SELECT COUNT(*) FROM shop.t WHERE v LIKE 'tail%'"); got != "5" {
		t.Errorf("%s rows of the tail are left, want 5", got)
	}
	if got := db1.ask("SELECT COUNT(*) FROM shop.t WHERE v IN ('b', 'c')"); got != "0" {
		t.Error("it has taken something of the new master")
	}
	if !db1.isReadOnly() {
		t.Error("it is writable")
	}
}

// What is written on a standby, by an administrator, makes it one that has diverged;
// what follows it before is stopped.
func TestStandbyWithOwnWritesStaysOut(t *testing.T) {
	s := newSite(t, 2)
	db1, db2 := s.nodes[0], s.nodes[1]
	db2.do("INSERT INTO shop.t (id, v) VALUES (100, 'by hand')")
	o := db2.sees("the divergence", func(o role.Observation) bool { return o.Diverged != "" })
	if !strings.HasPrefix(o.Diverged, "1 transaction here that the master has not (0-2-") {
		t.Errorf("%q", o.Diverged)
	}
	soon(t, func() error {
		if got := db2.ask("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Slave_IO%'"); got != "0" {
			return errors.New("it still receives")
		}
		return nil
	})
	_ = db1
}

// Somebody makes a standby writable: it is read-only again, and said. Somebody makes
// the master read-only: said, and left. The master is restarted: writable again.
func TestReadOnlyIsKept(t *testing.T) {
	s := newSite(t, 2)
	db1, db2 := s.nodes[0], s.nodes[1]
	db2.do("SET GLOBAL read_only = OFF")
	db2.told("a standby was writable")
	if !db2.isReadOnly() {
		t.Error("the standby is writable")
	}

	db1.upFor(2 * restartSlack)
	pid := db1.cmd.Process.Pid
	db1.stop()
	db1.start()
	if pid == db1.cmd.Process.Pid {
		t.Fatal("not restarted")
	}
	db1.told("the master was restarted")
	if db1.isReadOnly() {
		t.Error("the master is read-only after a restart")
	}

	db1.do("SET GLOBAL read_only = ON")
	if e := db1.told("the master is read-only"); !strings.HasPrefix(e.Detail, "not by this agent") {
		t.Errorf("%+v", e)
	}
	o := db1.sees("the warning", func(o role.Observation) bool { return strings.Contains(o.Warning, "made read-only") })
	if o.Writable || !db1.isReadOnly() {
		t.Error("it was made writable again")
	}
	if v := db1.verdict(role.Situation{Owner: "db1"}); !v.Eligible || v.Reason != "the master is read-only" {
		t.Errorf("%+v", v)
	}
	db1.do("SET GLOBAL read_only = OFF")
	db1.sees("no warning", func(o role.Observation) bool { return o.Writable && o.Warning == "" })
}

// upFor waits until a server has been up for longer than its uptime may be wrong.
func (n *node) upFor(d time.Duration) {
	n.t.Helper()
	soon(n.t, func() error {
		var name string
		var uptime int
		err := n.root.QueryRow("SHOW GLOBAL STATUS LIKE 'Uptime'").Scan(&name, &uptime)
		if err == nil && time.Duration(uptime)*time.Second < d {
			err = fmt.Errorf("%s is up for %d s", n.name, uptime)
		}
		return err
	})
}
