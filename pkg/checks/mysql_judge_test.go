package checks

import (
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// rowOf makes a row of "column=value" pairs; a value of NULL is that.
func rowOf(pairs ...string) (columns []string, values []sql.RawBytes) {
	for _, p := range pairs {
		column, value, _ := strings.Cut(p, "=")
		columns = append(columns, column)
		if value == "NULL" {
			values = append(values, nil)
		} else {
			values = append(values, sql.RawBytes(value))
		}
	}
	return columns, values
}

func TestParseChannel(t *testing.T) {
	for name, tt := range map[string]struct {
		row  []string
		want channel
	}{
		"MariaDB": {
			[]string{"Connection_name=", "Slave_SQL_State=Slave has read all relay log", "Master_Host=10.0.0.13", "Slave_IO_Running=Yes", "Slave_SQL_Running=Yes", "Seconds_Behind_Master=3", "Last_IO_Error=", "Last_SQL_Error="},
			channel{source: "10.0.0.13", receives: "Yes", applies: "Yes", behind: 3, known: true}},
		"MySQL 8": {
			[]string{"Replica_IO_State=Connecting to source", "Source_Host=db1", "Replica_IO_Running=Connecting", "Replica_SQL_Running=Yes", "Seconds_Behind_Source=NULL", "Last_IO_Error=error connecting", "Last_SQL_Error=", "Channel_Name=west"},
			channel{name: "west", source: "db1", receives: "Connecting", applies: "Yes", receiveError: "error connecting"}},
		"no number":  {[]string{"Seconds_Behind_Master=soon"}, channel{}},
		"negative":   {[]string{"Seconds_Behind_Master=-1"}, channel{}},
		"too large":  {[]string{"Seconds_Behind_Master=99999999999999999999"}, channel{}},
		"of nothing": {[]string{"Something=else"}, channel{}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, parseChannel(rowOf(tt.row...)), cmp.AllowUnexported(channel{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestReplicationStatements(t *testing.T) {
	for version, want := range map[string]string{
		"10.11.6-MariaDB-0+deb12u1-log":   "SHOW ALL SLAVES STATUS",
		"5.5.5-10.3.39-MARIADB":           "SHOW ALL SLAVES STATUS",
		"8.4.0":                           "SHOW REPLICA STATUS, SHOW SLAVE STATUS",
		"5.7.44-log":                      "SHOW REPLICA STATUS, SHOW SLAVE STATUS",
		"8.0.35-27 Percona\x1b[31mServer": "SHOW REPLICA STATUS, SHOW SLAVE STATUS",
	} {
		if got := strings.Join(replicationStatements(version), ", "); got != want {
			t.Errorf("%s: %s, want %s", version, got, want)
		}
	}
	for value, want := range map[string]bool{"0": false, "1": true, "OFF": false, "ON": true, "NO_LOCK_NO_ADMIN": true, "": false} {
		if isReadOnly(value) != want {
			t.Errorf("read_only = %q is taken for %v", value, !want)
		}
	}
}

func TestMySQLJudge(t *testing.T) {
	good := channel{source: "db1", receives: "Yes", applies: "Yes", known: true, behind: 2}
	edit := func(c channel, f func(*channel)) channel { f(&c); return c }
	lost := edit(good, func(c *channel) { c.receives, c.known, c.receiveError = "Connecting", false, "cannot connect" })
	stopped := edit(good, func(c *channel) { c.receives, c.known = "No", false })
	broken := edit(good, func(c *channel) { c.applies, c.known, c.applyError = "No", false, "Duplicate entry '1' for key" })
	type step struct {
		channels []channel
		want     string // with "!" where it fails
	}
	const load = "14 connections, 2 running"
	for name, tt := range map[string]struct {
		c     mysqlCheck
		seen  mysqlSeen
		steps []step
	}{
		"no replica": {mysqlCheck{maxLag: time.Second}, mysqlSeen{}, []step{{nil, load}}},
		"in time":    {mysqlCheck{maxLag: 2 * time.Second}, mysqlSeen{readOnly: true}, []step{{[]channel{good}, load + ", read-only; replica of db1, 2s behind"}}},
		"late":       {mysqlCheck{maxLag: time.Second}, mysqlSeen{}, []step{{[]channel{good}, "!replica of db1, 2s behind (" + load + ")"}}},
		"not judged": {mysqlCheck{}, mysqlSeen{}, []step{{[]channel{broken}, load + "; replica of db1 applies nothing: Duplicate entry '1' for key"}}},
		"broken":     {mysqlCheck{maxLag: time.Hour}, mysqlSeen{}, []step{{[]channel{broken}, "!replica of db1 applies nothing: Duplicate entry '1' for key (" + load + ")"}}},
		"stopped":    {mysqlCheck{maxLag: time.Hour}, mysqlSeen{}, []step{{[]channel{good}, load + "; replica of db1, 2s behind"}, {[]channel{stopped}, "!replica of db1 receives nothing (" + load + ")"}}},
		// The source has died: that must not keep its replica from taking over.
		"source dies": {mysqlCheck{maxLag: 5 * time.Second}, mysqlSeen{}, []step{
			{[]channel{good}, load + "; replica of db1, 2s behind"},
			{[]channel{lost}, load + "; replica of db1, which does not answer, 2s behind before: cannot connect"},
			{[]channel{lost}, load + "; replica of db1, which does not answer, 2s behind before: cannot connect"},
		}},
		"source dies, was late": {mysqlCheck{maxLag: time.Second}, mysqlSeen{}, []step{
			{[]channel{good}, "!replica of db1, 2s behind (" + load + ")"},
			{[]channel{lost}, "!replica of db1, which does not answer, 2s behind before: cannot connect (" + load + ")"},
		}},
		"source never heard": {mysqlCheck{maxLag: 5 * time.Second}, mysqlSeen{}, []step{{[]channel{lost}, "!replica of db1 receives nothing: cannot connect (" + load + ")"}}},
		"forgotten with the channel": {mysqlCheck{maxLag: 5 * time.Second}, mysqlSeen{}, []step{
			{[]channel{good}, load + "; replica of db1, 2s behind"}, {nil, load},
			{[]channel{lost}, "!replica of db1 receives nothing: cannot connect (" + load + ")"},
		}},
		"the worst of several": {mysqlCheck{maxLag: 5 * time.Second}, mysqlSeen{}, []step{
			{[]channel{good, edit(good, func(c *channel) { c.name, c.behind = "b", 4 }), edit(good, func(c *channel) { c.name = "c" })}, load + "; replica of db1 (b), 4s behind"},
			{[]channel{edit(broken, func(c *channel) { c.name = "a" }), edit(good, func(c *channel) { c.name, c.behind = "b", 4 })}, "!replica of db1 (a) applies nothing: Duplicate entry '1' for key (" + load + ")"},
		}},
		"denied":           {mysqlCheck{}, mysqlSeen{denied: true}, []step{{nil, load}}},
		"denied, wanted":   {mysqlCheck{maxLag: time.Second}, mysqlSeen{denied: true}, []step{{nil, "!the account may not see the replication: grant it REPLICATION CLIENT (MariaDB: SLAVE MONITOR) (" + load + ")"}}},
		"read_only wanted": {mysqlCheck{readOnly: "on"}, mysqlSeen{}, []step{{nil, "!read_only is off, want on (" + load + ")"}}},
		"read_only is":     {mysqlCheck{readOnly: "on"}, mysqlSeen{readOnly: true}, []step{{nil, load + ", read-only"}}},
		"not read_only":    {mysqlCheck{readOnly: "off"}, mysqlSeen{readOnly: true}, []step{{nil, "!read_only is on, want off (" + load + ", read-only)"}}},
		"threads":          {mysqlCheck{maxThreads: 1}, mysqlSeen{}, []step{{nil, "!2 threads running, at most 1 (" + load + ")"}}},
		"at the limit":     {mysqlCheck{maxThreads: 2}, mysqlSeen{}, []step{{nil, load}}},
		"two things": {mysqlCheck{readOnly: "on", maxLag: time.Second}, mysqlSeen{}, []step{
			{[]channel{good}, "!read_only is off, want on; replica of db1, 2s behind (" + load + ")"}}},
	} {
		t.Run(name, func(t *testing.T) {
			tt.seen.connected, tt.seen.running = 14, 2
			for _, s := range tt.steps {
				tt.seen.channels = s.channels
				want, fails := strings.CutPrefix(s.want, "!")
				check(t, tt.c.judge(tt.seen), !fails, want)
			}
		})
	}
}

func TestMySQLSpec(t *testing.T) {
	for name, s := range map[string]Spec{
		"read_only": {ReadOnly: "yes"}, "lag": {MaxLag: -1}, "threads": {MaxThreads: -1},
	} {
		s.Name, s.Type, s.DSNFile = "m", "mysql", "/etc/hbagent/mysql.dsn"
		if _, err := New(s, Options{}); err == nil {
			t.Errorf("%s: %+v was accepted", name, s)
		}
	}
}

// Whatever a server puts into its rows, the message is one short line.
func FuzzParseChannel(f *testing.F) {
	f.Add("Seconds_Behind_Master", "3", "Last_SQL_Error", "\x1b[31m\n")
	f.Add("Source_Host", "db1", "Replica_SQL_Running", "Yes")
	f.Fuzz(func(t *testing.T, a, x, b, y string) {
		ch := parseChannel(rowOf(a+"="+x, b+"="+y))
		if ch.behind < 0 || !ch.known && ch.behind != 0 {
			t.Errorf("%+v", ch)
		}
		for _, c := range []mysqlCheck{{}, {maxLag: time.Second}} {
			for _, applies := range []string{"Yes", ch.applies} {
				ch.applies = applies
				r := c.judge(mysqlSeen{channels: []channel{ch, ch}})
				check(t, r, r.OK, r.Message)
			}
		}
	})
}
