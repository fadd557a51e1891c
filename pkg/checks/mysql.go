package checks

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// Given by MySQL (Server Error Message Reference): the errors whose text names
// the account.
const (
	erDBAccessDenied       = 1044
	erAccessDenied         = 1045
	erAccessDeniedNoPasswd = 1698
)

// Chosen by us.
const (
	// maxDSN bounds the DSN file, in bytes.
	maxDSN = 4 << 10
	// maxMySQLAnswer bounds what a probe reads from the server, in bytes: the
	// handshake and two rows need less than one KiB, TLS certificates a few.
	maxMySQLAnswer = 256 << 10
)

// mysqlCheck logs in, counts the connections, and looks at read_only and at the
// replication. It logs in anew each time: a server that is out of connections or
// threads still serves those that it has.
type mysqlCheck struct {
	dsnFile    string
	maxLag     time.Duration // 0: replication is shown and not judged
	maxThreads int           // running at the same time; 0: any number
	readOnly   string        // "on" or "off"; empty: either

	lags map[string]int64 // seconds, by channel, when the source was last heard
}

func newMySQL(s Spec) (Checker, error) {
	if s.DSNFile == "" {
		return nil, errors.New("dsn_file is missing")
	}
	if s.ReadOnly != "" && s.ReadOnly != "on" && s.ReadOnly != "off" {
		return nil, fmt.Errorf("read_only %q, want on or off", s.ReadOnly)
	}
	if s.MaxLag < 0 || s.MaxThreads < 0 {
		return nil, fmt.Errorf("max_lag %v and max_threads %d, want no negative ones", s.MaxLag, s.MaxThreads)
	}
	return &mysqlCheck{
		dsnFile: s.DSNFile, maxLag: s.MaxLag, maxThreads: s.MaxThreads, readOnly: s.ReadOnly, lags: make(map[string]int64),
	}, nil
}

func (c *mysqlCheck) Check(ctx context.Context) Result {
	cfg, err := readDSN(c.dsnFile) // each time: a new password needs no reload
	if err != nil {
		return fail("%v", err)
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return fail("%s: the DSN is not usable", c.dsnFile) // the error may quote it
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	db.SetMaxIdleConns(0)
	conn, err := db.Conn(ctx)
	if err != nil {
		return c.failure(ctx, cfg, err)
	}
	defer conn.Close()
	seen, err := lookAtServer(ctx, conn)
	if err != nil {
		return c.failure(ctx, cfg, err)
	}
	res := c.judge(seen)
	res.Message = redact(res.Message, cfg.Passwd) // a server may quote anything
	return res
}

// failure puts err into words without the account.
func (c *mysqlCheck) failure(ctx context.Context, cfg *mysql.Config, err error) Result {
	var my *mysql.MySQLError
	switch {
	case errors.Is(err, mysql.ErrInvalidConn), errors.Is(err, driver.ErrBadConn):
		// The driver says no more than that when the server hangs up.
		return netFailure(ctx, cfg.Addr, io.ErrUnexpectedEOF)
	case !errors.As(err, &my):
		res := netFailure(ctx, cfg.Addr, err)
		res.Message = redact(res.Message, cfg.Passwd)
		return res
	}
	switch my.Number {
	case erDBAccessDenied, erAccessDenied, erAccessDeniedNoPasswd:
		return fail("access denied (error %d): see user, password and host in %s", my.Number, c.dsnFile)
	}
	return fail("error %d: %s", my.Number, redact(my.Message, cfg.Passwd))
}

func redact(s, secret string) string {
	if secret == "" {
		return s
	}
	return strings.ReplaceAll(s, secret, "***")
}

// readDSN reads a DSN of the form user:password@tcp(host:3306)/ and makes it
// safe for a probe. Its errors do not quote the file's contents.
func readDSN(path string) (*mysql.Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("dsn_file: %w", err)
	}
	defer f.Close()
	st, err := f.Stat() // of the open file: it cannot be swapped in between
	if err != nil {
		return nil, fmt.Errorf("dsn_file: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("dsn_file %s is not a regular file", path)
	}
	if mode := st.Mode().Perm(); mode&0o006 != 0 {
		return nil, fmt.Errorf("dsn_file %s is open to everyone (mode %04o): chmod 0640 %s", path, mode, path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxDSN+1))
	if err != nil {
		return nil, fmt.Errorf("dsn_file: %w", err)
	}
	if len(b) > maxDSN {
		return nil, fmt.Errorf("dsn_file %s is longer than %d bytes", path, maxDSN)
	}
	text := strings.TrimSpace(string(b))
	cfg, err := mysql.ParseDSN(text)
	if text == "" || err != nil {
		return nil, fmt.Errorf("dsn_file %s: not a DSN: want user:password@tcp(127.0.0.1:3306)/ or user:password@unix(/run/mysqld/mysqld.sock)/", path)
	}
	cfg.Logger = &mysql.NopLogger{} // what it has to say is in the error too
	cfg.AllowAllFiles = false       // the server must not ask us for files
	cfg.MultiStatements = false
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		return dial(ctx, network, address, maxMySQLAnswer)
	}
	return cfg, nil
}
