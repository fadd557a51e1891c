package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	mysql "github.com/go-sql-driver/mysql"
)

// fakeMySQL stands for a MySQL 8.4 server, which the distribution does not have. It
// knows the statements that the role uses, word for word, and answers as the
// Reference Manual shows; any other statement is an error. It is not a server: that
// the real one understands these statements is read in its manual, and not tested.
type fakeMySQL struct {
	mu         sync.Mutex
	version    string
	readOnly   bool
	superOnly  bool
	executed   Position
	retrieved  Position
	source     map[string]string // columns of SHOW REPLICA STATUS; nil: not a replica
	vars       map[string]string
	writers    [][]driver.Value // for askWriters
	statements []string         // that changed something
	late       time.Duration    // its clock, against ours
	refuse     map[string]error // by the beginning of a statement
	slow       map[string]time.Duration
}

func newFakeMySQL() *fakeMySQL {
	return &fakeMySQL{
		version: "8.4.3", readOnly: true, superOnly: true,
		vars:   map[string]string{"log_bin": "ON", "gtid_mode": "ON", "log_replica_updates": "ON", "log_slave_updates": "ON"},
		refuse: map[string]error{},
	}
}

func (f *fakeMySQL) Connect(context.Context) (driver.Conn, error) { return fakeConn{f}, nil }
func (f *fakeMySQL) Driver() driver.Driver                        { return mysql.MySQLDriver{} }

type fakeConn struct{ f *fakeMySQL }

func (fakeConn) Prepare(string) (driver.Stmt, error) { return nil, errors.New("not prepared") }
func (fakeConn) Begin() (driver.Tx, error)           { return nil, errors.New("no transactions") }
func (fakeConn) Close() error                        { return nil }

type fakeRows struct {
	columns []string
	rows    [][]driver.Value
}

func (r *fakeRows) Columns() []string { return r.columns }
func (r *fakeRows) Close() error      { return nil }
func (r *fakeRows) Next(dest []driver.Value) error {
	if len(r.rows) == 0 {
		return io.EOF
	}
	copy(dest, r.rows[0])
	r.rows = r.rows[1:]
	return nil
}

func one(column string, v driver.Value) *fakeRows {
	return &fakeRows{[]string{column}, [][]driver.Value{{v}}}
}

func onOff(b bool) string {
	if b {
		return "ON"
	}
	return "OFF"
}

var waitForSet = regexp.MustCompile(`^SELECT WAIT_FOR_EXECUTED_GTID_SET\('([^']*)', [0-9.]+\)$`)

func (c fakeConn) QueryContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Rows, error) {
	f := c.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.refused(query); err != nil {
		return nil, err
	}
	if m := waitForSet.FindStringSubmatch(query); m != nil {
		p, err := ParsePosition(m[1])
		if err != nil {
			return nil, &mysql.MySQLError{Number: 1772, Message: "Malformed GTID set specification '" + m[1] + "'."}
		}
		return one("0", int64(map[bool]int{true: 0, false: 1}[f.executed.Has(p)])), nil
	}
	switch query {
	case "SELECT VERSION()":
		return one("VERSION()", f.version), nil
	case "SELECT @@global.read_only":
		return one("@@global.read_only", int64(map[bool]int{true: 1}[f.readOnly])), nil
	case "SELECT @@global.gtid_executed": // with a line break after each comma
		return one("@@global.gtid_executed", strings.ReplaceAll(f.executed.String(), ",", ",\n")), nil
	case "SHOW REPLICA STATUS":
		r := &fakeRows{}
		if f.source == nil {
			return r, nil
		}
		var row []driver.Value
		for _, name := range slices.Sorted(slices.Values(mapKeys(f.source))) {
			r.columns = append(r.columns, name)
			row = append(row, f.source[name])
		}
		r.columns, row = append(r.columns, "Retrieved_Gtid_Set"), append(row, f.retrieved.String())
		r.rows = append(r.rows, row)
		return r, nil
	case askWriters:
		return &fakeRows{make([]string, 6), f.writers}, nil
	}
	if names, ok := strings.CutPrefix(query, "SHOW GLOBAL VARIABLES WHERE Variable_name IN "); ok {
		vars := map[string]string{"read_only": onOff(f.readOnly), "super_read_only": onOff(f.superOnly)}
		for k, v := range f.vars {
			vars[k] = v
		}
		return asked(names, vars), nil
	}
	if names, ok := strings.CutPrefix(query, "SHOW GLOBAL STATUS WHERE Variable_name IN "); ok {
		return asked(names, map[string]string{"Uptime": "1000", "Handler_write": "5", "Handler_update": "6", "Handler_delete": "7"}), nil
	}
	return nil, f.syntax(query)
}

func mapKeys(m map[string]string) (keys []string) {
	for k := range m {
		keys = append(keys, k)
	}
	return keys
}

// asked answers SHOW ... WHERE Variable_name IN ('a', 'b').
func asked(names string, values map[string]string) *fakeRows {
	r := &fakeRows{columns: []string{"Variable_name", "Value"}}
	for name := range strings.SplitSeq(strings.Trim(names, "()"), ", ") {
		name = strings.Trim(name, "'")
		if v, ok := values[name]; ok {
			r.rows = append(r.rows, []driver.Value{name, v})
		}
	}
	return r
}

var (
	guarded = regexp.MustCompile(`^SET GLOBAL read_only = IF\(SYSDATE\(6\) < '([^']*)', 0, 1\)$`)
	killed  = regexp.MustCompile(`^KILL CONNECTION (\d+)$`)
	change  = regexp.MustCompile(`^CHANGE REPLICATION SOURCE TO SOURCE_HOST = \?, SOURCE_PORT = (\d+), SOURCE_USER = \?, SOURCE_PASSWORD = \?, ` +
		`SOURCE_SSL = 0, GET_SOURCE_PUBLIC_KEY = 1, SOURCE_AUTO_POSITION = 1, SOURCE_CONNECT_RETRY = 1, SOURCE_HEARTBEAT_PERIOD = 2$`)
)

func (c fakeConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	f := c.f
	if d := f.slow[query]; d > 0 { // set before anything runs
		if err := pause(ctx, d); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.refused(query); err != nil {
		return nil, err
	}
	f.statements = append(f.statements, query)
	runs := func(receiver, applier string) error {
		if f.source == nil {
			return &mysql.MySQLError{Number: 1200, Message: "The server is not configured as replica"}
		}
		if receiver != "" {
			f.source["Replica_IO_Running"] = receiver
		}
		if applier != "" {
			f.source["Replica_SQL_Running"] = applier
		}
		return nil
	}
	if m := guarded.FindStringSubmatch(query); m != nil {
		deadline, err := time.Parse("2006-01-02 15:04:05.000000", m[1])
		if err != nil {
			return nil, err
		}
		if f.readOnly = !time.Now().Add(f.late).Before(deadline); !f.readOnly {
			f.superOnly = false
		}
		return driver.ResultNoRows, nil
	}
	if m := killed.FindStringSubmatch(query); m != nil {
		f.writers = slices.DeleteFunc(f.writers, func(row []driver.Value) bool { return fmt.Sprint(row[0]) == m[1] })
		return driver.ResultNoRows, nil
	}
	if m := change.FindStringSubmatch(query); m != nil {
		if f.source != nil && f.source["Replica_IO_Running"] != "No" {
			return nil, &mysql.MySQLError{Number: 3021, Message: "This operation cannot be performed with a running replica io thread"}
		}
		f.source = map[string]string{
			"Source_Host": args[0].Value.(string), "Source_Port": m[1], "Source_User": args[1].Value.(string), "Auto_Position": "1",
			"Replica_IO_Running": "No", "Replica_SQL_Running": "No", "Last_IO_Errno": "0", "Last_SQL_Errno": "0", "Seconds_Behind_Source": "0",
		}
		f.retrieved = Position{}
		return driver.ResultNoRows, nil
	}
	var err error
	switch query {
	case "SET SESSION lock_wait_timeout = 30":
	case "SET GLOBAL super_read_only = 1":
		f.readOnly, f.superOnly = true, true
	case "STOP REPLICA":
		err = runs("No", "No")
	case "STOP REPLICA IO_THREAD":
		err = runs("No", "")
	case "START REPLICA SQL_THREAD":
		err = runs("", "Yes")
		f.executed = f.executed.With(f.retrieved) // it is quick
	case "START REPLICA":
		err = runs("Yes", "Yes")
	case "RESET REPLICA ALL":
		if f.source != nil && (f.source["Replica_IO_Running"] != "No" || f.source["Replica_SQL_Running"] != "No") {
			err = &mysql.MySQLError{Number: 3081, Message: "This operation cannot be performed with running replication threads"}
		}
		f.source = nil
	default:
		err = f.syntax(query)
	}
	return driver.ResultNoRows, err
}

func (f *fakeMySQL) syntax(query string) error {
	return &mysql.MySQLError{Number: 1064, Message: "You have an error in your SQL syntax near '" + query + "' at line 1"}
}

func (f *fakeMySQL) refused(query string) error {
	for begin, err := range f.refuse {
		if strings.HasPrefix(query, begin) {
			return err
		}
	}
	return nil
}

// did returns the statements since the last call.
func (f *fakeMySQL) did() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.statements
	f.statements = nil
	return out
}
