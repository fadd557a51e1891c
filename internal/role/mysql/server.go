package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"strings"
	"time"

	mysql "github.com/go-sql-driver/mysql"
)

// Chosen by us.
const (
	statementTimeout = 3 * time.Second // for a statement that has nothing to wait for
	// stopTimeout is for stopping replication in a takeover: a semi-synchronous replica
	// of MariaDB first tells its master, which may be gone
	// (rpl_semi_sync_slave_kill_conn_timeout: 5 s, if it is not set).
	stopTimeout    = 15 * time.Second
	maxConnections = 5 // to one server: looking, a step, its companion, and two in reserve
	maxIdle        = 2
	maxIdleTime    = time.Minute
	maxColumns     = 256 // of SHOW REPLICA STATUS; it has some 60
	maxRows        = 20_000
)

// server is a connection pool to one database server. Every statement ends with its
// context, and after statementTimeout at the latest. Safe for concurrent use.
type server struct {
	path    string // of the DSN, for messages
	secrets *secrets
	db      *sql.DB
	fresh   time.Time // see writers, which belongs to whoever has the role's turn
}

// newServer connects to nothing yet.
func newServer(path string, known *secrets, connector driver.Connector) *server {
	s := &server{path: path, secrets: known, db: sql.OpenDB(connector)}
	s.db.SetMaxOpenConns(maxConnections)
	s.db.SetMaxIdleConns(maxIdle)
	s.db.SetConnMaxIdleTime(maxIdleTime)
	return s
}

// fileConnector makes connections with the account in a file, to the server that is
// named there, or to another at addr. The file is read for each: a new password needs
// no reload.
type fileConnector struct {
	path    string
	addr    string // empty: that of the file
	secrets *secrets
}

func (c fileConnector) Driver() driver.Driver { return mysql.MySQLDriver{} }

func (c fileConnector) Connect(ctx context.Context) (driver.Conn, error) {
	d, err := readDSN(c.path)
	if err != nil {
		return nil, &plainError{err.Error(), err}
	}
	c.secrets.add(d.config.Passwd)
	if c.addr != "" {
		d = d.at(c.addr)
	}
	connector, err := mysql.NewConnector(d.config)
	if err != nil { // it may quote the DSN
		return nil, &plainError{c.path + " is not a usable DSN", err}
	}
	return connector.Connect(ctx)
}

func (s *server) close() { _ = s.db.Close() }

// rest ends the connections that nobody uses. A statement that comes later has one of
// its own.
func (s *server) rest() { s.db.SetMaxIdleConns(-1) }

func (s *server) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, statementTimeout)
}

// exec runs a statement that answers nothing.
func (s *server) exec(ctx context.Context, statement string, args ...any) error {
	ctx, cancel := s.within(ctx)
	defer cancel()
	_, err := s.db.ExecContext(ctx, statement, args...)
	return s.words(ctx, err)
}

// stop runs a statement that stops replication.
func (s *server) stop(ctx context.Context, statement string) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	_, err := s.db.ExecContext(ctx, statement)
	return s.words(ctx, err)
}

// row reads the one row that a query answers.
func (s *server) row(ctx context.Context, query string, dest ...any) error {
	ctx, cancel := s.within(ctx)
	defer cancel()
	return s.words(ctx, s.db.QueryRowContext(ctx, query).Scan(dest...))
}

// each calls f for every row, with that row's Scan.
func (s *server) each(ctx context.Context, query string, f func(scan func(dest ...any) error) error) error {
	ctx, cancel := s.within(ctx)
	defer cancel()
	rows, err := s.db.QueryContext(ctx, query)
	if err != nil {
		return s.words(ctx, err)
	}
	defer rows.Close()
	for n := 0; rows.Next(); n++ {
		if n == maxRows {
			return fmt.Errorf("more than %d rows", maxRows)
		}
		if err := f(rows.Scan); err != nil {
			return s.words(ctx, err)
		}
	}
	return s.words(ctx, rows.Err())
}

// pairs reads rows of a name and a value. Names are in small letters.
func (s *server) pairs(ctx context.Context, query string) (map[string]string, error) {
	out := map[string]string{}
	err := s.each(ctx, query, func(scan func(...any) error) error {
		var name string
		var value sql.NullString
		err := scan(&name, &value)
		out[strings.ToLower(name)] = value.String
		return err
	})
	return out, err
}

// columns reads the first row as column -> value; nil if there is no row. A NULL is
// no entry.
func (s *server) columns(ctx context.Context, query string) (map[string]string, error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	rows, err := s.db.QueryContext(ctx, query)
	if err != nil {
		return nil, s.words(ctx, err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return nil, s.words(ctx, err)
	}
	if len(names) > maxColumns {
		return nil, fmt.Errorf("an answer of %d columns, at most %d", len(names), maxColumns)
	}
	if !rows.Next() {
		return nil, s.words(ctx, rows.Err())
	}
	values := make([]sql.NullString, len(names))
	dest := make([]any, len(names))
	for i := range values {
		dest[i] = &values[i]
	}
	if err := rows.Scan(dest...); err != nil {
		return nil, s.words(ctx, err)
	}
	out := make(map[string]string, len(names))
	for i, name := range names {
		if values[i].Valid {
			out[name] = values[i].String
		}
	}
	return out, nil
}

// session is one connection of its own.
type session struct {
	server *server
	*sql.Conn
}

func (s *server) connection(ctx context.Context) (*session, error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	c, err := s.db.Conn(ctx)
	if err != nil {
		return nil, s.words(ctx, err)
	}
	return &session{s, c}, nil
}

func (c *session) exec(ctx context.Context, statement string) error {
	ctx, cancel := c.server.within(ctx)
	defer cancel()
	return c.execUnbounded(ctx, statement)
}

// execUnbounded ends with ctx alone.
func (c *session) execUnbounded(ctx context.Context, statement string) error {
	_, err := c.ExecContext(ctx, statement)
	return c.server.words(ctx, err)
}
