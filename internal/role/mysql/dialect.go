package mysql

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// dialect is how one kind of server is spoken to. Its functions build statements and
// read answers; they do not talk to a server.
type dialect struct {
	name      string
	gtids     string   // a query of one row with the texts that readGTIDs takes
	variables []string // that read wants
	status    []string
	replica   string // a query of one row, if it is a replica

	stopReceiver, stopReplica, startApplier, startReplica, forgetSource string
	// readOnly makes the server read-only for everybody that can be kept from writing.
	readOnly string

	// readGTIDs fills the position, and what has been received.
	readGTIDs func(st *state, gtids []string, replica map[string]string) error
	// settings judges the server's settings.
	settings func(st *state, variables map[string]string)
	// follow are the statements, with their arguments, that make a stopped replica
	// follow a server, when it has everything of st.
	follow func(st state, s source) []statement
	// wait is a query that answers when the server has applied p, or after a moment.
	wait func(p Position, moment time.Duration) string
}

// statement is one, with arguments for its question marks.
type statement struct {
	text string
	args []any
}

// writable is the statement that makes a server writable unless it is too late: the
// server itself looks at the clock of the machine, so that a statement that a frozen
// server finds in its socket when it thaws does no harm. SYSDATE is the time at which
// it is evaluated, in the session's zone, which is UTC (readDSN). Switching read_only
// off switches super_read_only off with it.
func writable(deadline time.Time) string {
	return fmt.Sprintf("SET GLOBAL read_only = IF(SYSDATE(6) < '%s', 0, 1)", deadline.UTC().Format("2006-01-02 15:04:05.000000"))
}

// Questions that both kinds of servers understand.
const (
	askVersion = "SELECT VERSION()"
	// askWriters lists what clients are doing: not this agent, not replicas, and not
	// the server's own threads. A transaction is counted as writing when it has
	// changed or locked a row; a statement without one that begins with SELECT reads.
	// What it says is not fetched.
	askWriters = `SELECT p.ID, p.COMMAND <> 'Sleep', UPPER(LEFT(LTRIM(COALESCE(p.INFO, '')), 6)) = 'SELECT', p.TIME, COALESCE(t.trx_id, ''),
COALESCE(t.trx_rows_modified, 0) + COALESCE(t.trx_rows_locked, 0) > 0
FROM information_schema.PROCESSLIST p
LEFT JOIN information_schema.INNODB_TRX t ON t.trx_mysql_thread_id = p.ID
WHERE p.USER NOT IN ('system user', 'event_scheduler', 'unauthenticated user')
AND p.USER <> SUBSTRING_INDEX(USER(), '@', 1)
AND p.COMMAND NOT IN ('Binlog Dump', 'Binlog Dump GTID', 'Daemon', 'Slave_IO', 'Slave_SQL', 'Slave_worker', 'Connect')`
)

func listOf(names []string) string { return "('" + strings.Join(names, "', '") + "')" }

// dialectOf chooses by what VERSION() says, or says why there is none.
func dialectOf(version string) (*dialect, error) {
	number, _, _ := strings.Cut(version, "-")
	if strings.Contains(version, "MariaDB") {
		if !atLeast(number, 10, 5, 0) {
			return nil, fmt.Errorf("MariaDB %s is too old: 10.5 or later is needed", number)
		}
		return &mariaDB, nil
	}
	if !atLeast(number, 8, 0, 23) {
		return nil, fmt.Errorf("MySQL %s is too old: 8.0.23 or later is needed", number)
	}
	return &mySQL8, nil
}

func atLeast(version string, want ...int) bool {
	parts := strings.Split(version, ".")
	for i, w := range want {
		if i >= len(parts) {
			return false
		}
		n, err := strconv.Atoi(parts[i])
		if err != nil || n != w {
			return err == nil && n > w
		}
	}
	return true
}

// look asks a server for its state, and how it wants to be spoken to.
func look(ctx context.Context, s *server, now time.Time) (state, *dialect, error) {
	st := state{at: now}
	var version string
	if err := s.row(ctx, askVersion, &version); err != nil {
		return st, nil, err
	}
	d, err := dialectOf(version)
	if err != nil {
		return st, nil, err
	}
	number, _, _ := strings.Cut(version, "-")
	st.version = d.name + " " + number
	// What has been received is asked before what has been applied: the other way
	// round, something would be neither for a moment.
	columns, err := s.columns(ctx, d.replica)
	if err != nil {
		return st, d, err
	}
	vars, err := s.pairs(ctx, "SHOW GLOBAL VARIABLES WHERE Variable_name IN "+listOf(d.variables))
	if err != nil {
		return st, d, err
	}
	status, err := s.pairs(ctx, "SHOW GLOBAL STATUS WHERE Variable_name IN "+listOf(d.status))
	if err != nil {
		return st, d, err
	}
	gtids, err := d.askGTIDs(ctx, s)
	if err != nil {
		return st, d, err
	}
	return st, d, d.read(&st, vars, status, columns, gtids)
}

// askGTIDs asks for the server's own texts, which askPosition and read take apart.
func (d *dialect) askGTIDs(ctx context.Context, s *server) ([]string, error) {
	gtids := make([]string, strings.Count(d.gtids, "@@"))
	dest := make([]any, len(gtids))
	for i := range gtids {
		dest[i] = &gtids[i]
	}
	return gtids, s.row(ctx, d.gtids, dest...)
}

// askPosition asks for what a server has, and nothing else.
func askPosition(ctx context.Context, s *server, d *dialect) (Position, error) {
	gtids, err := d.askGTIDs(ctx, s)
	if err != nil {
		return Position{}, err
	}
	var st state
	err = d.readGTIDs(&st, gtids, nil)
	return st.position, err
}

// read fills the state from the answers. It is pure.
func (d *dialect) read(st *state, vars, status, columns map[string]string, gtids []string) error {
	seconds, _ := strconv.ParseInt(status["uptime"], 10, 64)
	st.uptime = time.Duration(seconds) * time.Second
	st.readOnly = isOn(vars["read_only"])
	st.superOnly = isOn(vars["super_read_only"])
	st.semi = readSemiSync(vars, status)
	st.replica = readReplica(columns)
	for _, name := range []string{"handler_write", "handler_update", "handler_delete"} {
		st.replica.mark += " " + status[name]
	}
	d.settings(st, vars)
	return d.readGTIDs(st, gtids, columns)
}

func isOn(v string) bool { return v == "ON" || v == "1" || v == "YES" }

// readReplica reads the row of SHOW REPLICA STATUS, whose columns MySQL has renamed.
func readReplica(c map[string]string) replica {
	get := func(names ...string) string {
		for _, n := range names {
			if v, ok := c[n]; ok {
				return v
			}
		}
		return ""
	}
	number := func(names ...string) int {
		n, _ := strconv.Atoi(get(names...))
		return n
	}
	r := replica{
		host: get("Source_Host", "Master_Host"), port: number("Source_Port", "Master_Port"), user: get("Source_User", "Master_User"),
		receiver: get("Replica_IO_Running", "Slave_IO_Running"), applier: get("Replica_SQL_Running", "Slave_SQL_Running") == "Yes",
		receiverErrno: number("Last_IO_Errno"), receiverError: get("Last_IO_Error"),
		applierErrno: number("Last_SQL_Errno"), applierError: get("Last_SQL_Error"),
		byGTID: get("Auto_Position") == "1" || strings.HasSuffix(strings.ToLower(get("Using_Gtid")), "_pos"),
		mark:   get("Exec_Source_Log_Pos", "Exec_Master_Log_Pos") + " " + get("Relay_Log_File") + " " + get("Relay_Log_Pos"),
	}
	r.configured = r.host != ""
	if s, err := strconv.ParseInt(get("Seconds_Behind_Source", "Seconds_Behind_Master"), 10, 64); err == nil && s >= 0 {
		r.lag, r.lagKnown = time.Duration(s)*time.Second, true
	}
	return r
}

func readSemiSync(vars, status map[string]string) semiSync {
	get := func(m map[string]string, names ...string) string {
		for _, n := range names {
			if v, ok := m[n]; ok {
				return v
			}
		}
		return ""
	}
	s := semiSync{
		masterEnabled: isOn(get(vars, "rpl_semi_sync_source_enabled", "rpl_semi_sync_master_enabled")),
		slaveEnabled:  isOn(get(vars, "rpl_semi_sync_replica_enabled", "rpl_semi_sync_slave_enabled")),
		waitPoint:     get(vars, "rpl_semi_sync_source_wait_point", "rpl_semi_sync_master_wait_point"),
		masterActive:  isOn(get(status, "rpl_semi_sync_source_status", "rpl_semi_sync_master_status")),
		slaveActive:   isOn(get(status, "rpl_semi_sync_replica_status", "rpl_semi_sync_slave_status")),
	}
	s.clients, _ = strconv.Atoi(get(status, "rpl_semi_sync_source_clients", "rpl_semi_sync_master_clients"))
	for name := range vars {
		s.known = s.known || strings.HasPrefix(name, "rpl_semi_sync")
	}
	return s
}
