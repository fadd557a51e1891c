package mysql

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	driver "github.com/go-sql-driver/mysql"
)

// Chosen by us.
const (
	maxDSN      = 4 << 10 // bytes of a file with a DSN
	defaultPort = 3306
)

// dsn is an account, from a file that only the agent may read. Its text never leaves
// this package: not in an error, not in the log, not in what is gossiped.
type dsn struct {
	config *driver.Config
	port   int // of tcp
}

// readDSN reads a DSN of the form user:password@tcp(host:3306)/. No error quotes the
// contents of the file.
func readDSN(path string) (dsn, error) {
	f, err := os.Open(path)
	if err != nil {
		return dsn{}, err
	}
	defer f.Close()
	st, err := f.Stat() // of the open file: it cannot be swapped in between
	switch {
	case err != nil:
		return dsn{}, err
	case !st.Mode().IsRegular():
		return dsn{}, fmt.Errorf("%s is not a regular file", path)
	case st.Mode().Perm()&0o007 != 0:
		return dsn{}, fmt.Errorf("%s is open to everyone (mode %04o): chmod 0640 %s, and change the password if others have accounts here", path, st.Mode().Perm(), path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxDSN+1))
	if err != nil {
		return dsn{}, err
	}
	if len(b) > maxDSN {
		return dsn{}, fmt.Errorf("%s is longer than %d bytes", path, maxDSN)
	}
	text := strings.TrimSpace(string(b))
	cfg, err := driver.ParseDSN(text)
	if text == "" || err != nil { // err may quote the password
		return dsn{}, fmt.Errorf("%s is not a DSN: write user:password@tcp(127.0.0.1:3306)/ or user:password@unix(/run/mysqld/mysqld.sock)/", path)
	}
	if cfg.User == "" {
		return dsn{}, fmt.Errorf("%s names no user: write user:password@tcp(127.0.0.1:3306)/", path)
	}
	d := dsn{config: cfg, port: defaultPort}
	if cfg.Net == "tcp" {
		if i := strings.LastIndexByte(cfg.Addr, ':'); i >= 0 {
			if d.port, err = strconv.Atoi(cfg.Addr[i+1:]); err != nil || d.port < 1 || d.port > 65535 {
				return dsn{}, fmt.Errorf("%s has a port that is none", path)
			}
		}
	}
	cfg.Logger = &driver.NopLogger{} // what it has to say is in the error too
	cfg.AllowAllFiles = false        // the server must not ask us for files
	cfg.MultiStatements = false
	cfg.InterpolateParams = true // CHANGE MASTER cannot be prepared; and one round trip is better than three
	cfg.ParseTime = false
	cfg.ClientFoundRows = false
	if cfg.Params == nil {
		cfg.Params = map[string]string{}
	}
	cfg.Params["time_zone"] = "'+00:00'" // SYSDATE is compared with a deadline
	return d, nil
}

// tls reports whether the DSN asks for TLS.
func (d dsn) tls() bool { return d.config.TLSConfig != "" && d.config.TLSConfig != "false" }

// at is the DSN for the server of another node.
func (d dsn) at(addr string) dsn {
	cfg := d.config.Clone()
	cfg.Net, cfg.Addr = "tcp", addr
	return dsn{config: cfg, port: d.port}
}
