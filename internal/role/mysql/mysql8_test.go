package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mysql "github.com/go-sql-driver/mysql"
	"github.com/google/go-cmp/cmp"

	"github.com/hbagent/hbagent/internal/role"
)

// newMySQL8 is a role for a fake server on db2, whose peer db1 is another.
func newMySQL8(t *testing.T) (r *Role, own, other *fakeMySQL) {
	t.Helper()
	own, other = newFakeMySQL(), newFakeMySQL()
	dir := t.TempDir()
	repl := filepath.Join(dir, "replication.dsn")
	writeFile(t, repl, "repl:"+replicationPassword+"@tcp(:3306)/")
	r, err := New(Options{
		Node: "db2", Nodes: map[string]netip.Addr{"db1": netip.MustParseAddr("10.0.0.1"), "db2": netip.MustParseAddr("10.0.0.2")},
		DSNFile: filepath.Join(dir, "mysql.dsn"), ReplicationDSNFile: repl, ApplyTimeout: 300 * time.Millisecond, DemoteTimeout: 100 * time.Millisecond,
		connect: func(addr string) driver.Connector {
			switch addr {
			case "":
				return own
			case "10.0.0.1:3306":
				return other
			}
			t.Errorf("connects to %q", addr)
			return other
		},
	})
	must(t, err)
	t.Cleanup(r.server.close)
	return r, own, other
}

// sourceStatus is SHOW REPLICA STATUS of a replica that runs, as in the manual.
func sourceStatus() map[string]string {
	return map[string]string{
		"Replica_IO_State": "Waiting for source to send event", "Source_Host": "10.0.0.1", "Source_User": "repl", "Source_Port": "3306", "Connect_Retry": "1",
		"Replica_IO_Running": "Yes", "Replica_SQL_Running": "Yes", "Last_Errno": "0", "Exec_Source_Log_Pos": "1307", "Relay_Log_File": "relay-bin.000002",
		"Relay_Log_Pos": "1508", "Seconds_Behind_Source": "3", "Last_IO_Errno": "0", "Last_SQL_Errno": "0", "Auto_Position": "1",
	}
}

func TestMySQL8State(t *testing.T) {
	r, own, _ := newMySQL8(t)
	own.executed, own.retrieved, own.source = parsed(t, uuidA+":1-50,"+uuidB+":1-3"), parsed(t, uuidA+":40-60"), sourceStatus()
	own.vars["rpl_semi_sync_replica_enabled"] = "ON"
	st, d, err := look(t.Context(), r.server, time.Now())
	must(t, err)
	if d != &mySQL8 || st.version != "MySQL 8.4.3" || !st.readOnly || !st.superOnly || st.uptime != 1000*time.Second {
		t.Errorf("%+v", st)
	}
	var m memory
	o := m.observed(st, r.o.Nodes, "", "")
	want := role.Observation{
		At: st.at, Position: uuidA + ":1-50," + uuidB + ":1-3", Received: uuidA + ":1-60," + uuidB + ":1-3", Following: "db1", Connected: true,
		CurrentTo: st.at.Add(-3 * time.Second), LagMs: 3000, SemiSync: "fallen back", Version: "MySQL 8.4.3",
	}
	if diff := cmp.Diff(want, o); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	own.source["Last_SQL_Errno"], own.source["Last_SQL_Error"], own.source["Replica_SQL_Running"] = "1062", "Duplicate entry '1' for key 't.PRIMARY'\nmore", "No"
	st, _, err = look(t.Context(), r.server, time.Now())
	must(t, err)
	if got := st.broken(); got != "cannot apply a change of its master: error 1062: Duplicate entry '1' for key 't.PRIMARY'" {
		t.Errorf("%q", got)
	}
	for name, value := range map[string]string{"gtid_mode": "OFF_PERMISSIVE", "log_bin": "OFF"} {
		before := own.vars[name]
		own.vars[name] = value
		if st, _, err = look(t.Context(), r.server, time.Now()); err != nil || !strings.Contains(st.broken(), name) {
			t.Errorf("%s = %s: %q, %v", name, value, st.broken(), err)
		}
		own.vars[name] = before
	}
}

// The statements of a takeover, of letting go, of a handover and of following, in
// their order.
func TestMySQL8Steps(t *testing.T) {
	r, own, other := newMySQL8(t)
	expect := func(what string, want ...string) {
		t.Helper()
		got := own.did()
		for i, s := range got {
			if guarded.MatchString(s) {
				got[i] = "SET GLOBAL read_only = IF(...)"
			} else if change.MatchString(s) {
				got[i] = "CHANGE REPLICATION SOURCE"
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	own.executed, own.retrieved, own.source = parsed(t, uuidA+":1-50"), parsed(t, uuidA+":40-60"), sourceStatus()
	own.source["Replica_SQL_Running"] = "No"
	c, _ := claim(2)
	must(t, r.Prepare(t.Context(), c))
	expect("prepare", "STOP REPLICA IO_THREAD", "START REPLICA SQL_THREAD", "STOP REPLICA")
	must(t, r.Activate(t.Context(), c))
	expect("activate", "RESET REPLICA ALL", "SET GLOBAL read_only = IF(...)")
	if own.readOnly || own.superOnly {
		t.Error("read-only")
	}
	must(t, r.Activate(t.Context(), c))
	expect("activate again")

	own.writers = [][]driver.Value{
		{int64(7), int64(0), int64(0), int64(3), "1234", int64(1)}, // an open transaction that has written
		{int64(8), int64(1), int64(1), int64(3), "", int64(0)},     // a SELECT
	}
	if err := r.HandOver(t.Context(), c, func(_ context.Context, p string) error {
		if p != uuidA+":1-60" {
			t.Errorf("position %q", p)
		}
		return errors.New("no")
	}); err == nil || own.readOnly {
		t.Errorf("%v, read-only %v", err, own.readOnly)
	}
	expect("a handover that fails", "SET SESSION lock_wait_timeout = 30", "SET GLOBAL super_read_only = 1", "KILL CONNECTION 7", "SET GLOBAL read_only = IF(...)")
	must(t, r.HandOver(t.Context(), c, func(context.Context, string) error { return nil }))
	expect("a handover", "SET SESSION lock_wait_timeout = 30", "SET GLOBAL super_read_only = 1")
	must(t, r.Deactivate(t.Context(), "handed over"))
	expect("deactivate")
	own.superOnly = false // SET GLOBAL super_read_only = OFF, by hand
	must(t, r.Deactivate(t.Context(), "again"))
	expect("deactivate with administrators writing", "SET SESSION lock_wait_timeout = 30", "SET GLOBAL super_read_only = 1")

	other.readOnly, other.executed = false, parsed(t, uuidA+":1-60,"+uuidB+":1-9")
	answers := make(chan answer, 1)
	follow := func() {
		t.Helper()
		r.Follow(role.Leader{Node: "db1", Epoch: 3})
		r.tick(t.Context(), answers)
		if !r.memory.asking {
			t.Fatal("the leader is not asked")
		}
		r.memory.asking = false
		r.followed(t.Context(), <-answers)
	}
	follow()
	expect("follow", "CHANGE REPLICATION SOURCE", "START REPLICA")
	if own.source["Source_Host"] != "10.0.0.1" || own.source["Source_User"] != "repl" {
		t.Errorf("%v", own.source)
	}
	own.executed = parsed(t, uuidA+":1-62")
	r.memory.askedAt = time.Time{}
	follow()
	expect("diverged", "STOP REPLICA")
	if want := "2 transactions here that the master has not (" + uuidA + ":61-62)"; r.diverged != want {
		t.Errorf("%q, want %q", r.diverged, want)
	}
}

// A server whose clock says that it is too late stays read-only.
func TestMySQL8TooLate(t *testing.T) {
	r, own, _ := newMySQL8(t)
	c, held := claim(2)
	held.left, own.late = 200*time.Millisecond, time.Second
	if err := r.Activate(t.Context(), c); !errors.Is(err, role.ErrLost) || !own.readOnly {
		t.Errorf("%v, read-only %v; want ErrLost", err, own.readOnly)
	}
}

func TestMySQL8CatchUp(t *testing.T) {
	r, own, _ := newMySQL8(t)
	own.executed, own.source = parsed(t, uuidA+":1-50"), sourceStatus()
	must(t, r.CatchUp(t.Context(), uuidA+":1-50"))
	if err := r.CatchUp(t.Context(), uuidA+":1-51"); !errors.Is(err, role.ErrNotNow) || !strings.Contains(err.Error(), "1 transaction not applied") {
		t.Errorf("%v, want ErrNotNow", err)
	}
	if err := r.CatchUp(t.Context(), "nonsense"); err == nil {
		t.Error("nonsense was reached")
	}
}

func TestVersions(t *testing.T) {
	for version, want := range map[string]string{
		"10.11.6-MariaDB-0+deb12u1-log": "MariaDB", "11.4.2-MariaDB": "MariaDB", "10.5.0-MariaDB": "MariaDB", "8.0.23": "MySQL", "8.4.3-commercial": "MySQL", "9.1.0": "MySQL",
		"10.4.34-MariaDB": "MariaDB 10.4.34 is too old", "5.7.44-log": "MySQL 5.7.44 is too old", "8.0.22": "too old", "": "too old", "x.y": "too old",
	} {
		d, err := dialectOf(version)
		got := fmt.Sprint(err)
		if err == nil {
			got = d.name
		}
		if !strings.Contains(got, want) {
			t.Errorf("%q: %s, want %s", version, got, want)
		}
	}
}

// Errors say what to do, and never an account or a statement with a password.
func TestMySQL8Errors(t *testing.T) {
	r, own, other := newMySQL8(t)
	other.readOnly, other.executed = false, parsed(t, uuidA+":1-60")
	own.refuse["CHANGE REPLICATION SOURCE"] = &mysql.MySQLError{Number: 1064, Message: "You have an error in your SQL syntax near 'SOURCE_PASSWORD = '" + replicationPassword + "''"}
	must(t, r.Deactivate(t.Context(), "start"))
	r.Follow(role.Leader{Node: "db1", Epoch: 3})
	answers := make(chan answer, 1)
	r.tick(t.Context(), answers)
	r.memory.asking = false
	r.followed(t.Context(), <-answers)
	if !strings.Contains(r.note, "cannot follow db1: error 1064") || strings.Contains(r.note, replicationPassword) {
		t.Errorf("%q", r.note)
	}
	own.source = sourceStatus()
	own.source["Last_SQL_Errno"], own.source["Last_SQL_Error"] = "1062", "Duplicate entry"
	c, _ := claim(4)
	if err := r.Prepare(t.Context(), c); err == nil || errors.Is(err, role.ErrNotNow) || !strings.Contains(err.Error(), "error 1062") {
		t.Errorf("Prepare with an applier that has failed: %v", err)
	}
	own.refuse["SHOW REPLICA STATUS"] = &mysql.MySQLError{Number: erSpecificAccessDenied, Message: "Access denied; you need (at least one of) the SUPER, REPLICATION CLIENT privilege(s) for this operation"}
	if _, _, err := look(t.Context(), r.server, time.Now()); err == nil || !strings.Contains(err.Error(), "lacks a privilege (docs/mysql.md lists them)") {
		t.Errorf("%v", err)
	}
}
