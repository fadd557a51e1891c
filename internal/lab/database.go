package lab

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// Accounts of the databases in the lab; docs/mysql.md has the same ones.
const (
	appUser     = "app"
	appPassword = "lab"

	// roleGrants are what the agent's account has; nothing more is needed.
	roleGrants = "PROCESS, BINLOG MONITOR, SLAVE MONITOR, REPLICATION SLAVE ADMIN, READ_ONLY ADMIN, CONNECTION ADMIN, RELOAD"
)

// FloatingDB is the floating address of the group of databases.
var FloatingDB = netip.MustParsePrefix("10.77.0.51/24")

// Databases are MariaDB servers, one on each of some machines, of which the first that gets the group becomes the
// master of the others. Nothing of them is replicated yet: the agents see to it.
type Databases struct {
	Servers map[string]*Database // by node
	Group   GroupConfig          // "db", with the role

	w *World
}

// A Database is one of them.
type Database struct {
	*MariaDB
	root *sql.DB // over the socket, as root
	once *sql.DB // the same, a new session each time
}

// DatabaseOptions describe them.
type DatabaseOptions struct {
	Nodes    []string
	SemiSync time.Duration // a commit waits for a replica, for so long if there seems to be one; 0: it does not
	Args     []string      // more arguments of every server
}

// Databases prepares the servers. Start them, then the agents.
func (w *World) Databases(ctx context.Context, o DatabaseOptions) (*Databases, error) {
	d := &Databases{w: w, Servers: make(map[string]*Database)}
	replication := w.path("replication.dsn")
	if err := os.WriteFile(replication, fmt.Appendf(nil, "repl:lab@tcp(:%d)/\n", mysqlPort), 0o600); err != nil {
		return nil, err
	}
	args := append([]string{"--log-bin=bin", "--binlog-format=ROW", "--log-slave-updates", "--gtid-strict-mode", "--read-only", "--slave-net-timeout=5"}, o.Args...)
	if o.SemiSync > 0 {
		args = append(args, "--rpl-semi-sync-master-enabled=ON", "--rpl-semi-sync-slave-enabled=ON", "--rpl-semi-sync-master-wait-point=AFTER_SYNC",
			fmt.Sprintf("--rpl-semi-sync-master-timeout=%d", o.SemiSync.Milliseconds()), "--rpl-semi-sync-master-wait-no-slave=OFF",
			"--rpl-semi-sync-slave-kill-conn-timeout=1") // a takeover waits so long for a master that is gone
	}
	for i, name := range o.Nodes {
		m, err := w.Node(name).MariaDB(ctx, MariaDBOptions{Args: append(args, fmt.Sprintf("--server-id=%d", i+1)), SQL: []string{
			fmt.Sprintf("GRANT %s ON *.* TO 'hbagent'@'127.0.0.1'", roleGrants),
			"CREATE USER IF NOT EXISTS 'repl'@'%' IDENTIFIED BY 'lab'", "GRANT REPLICATION SLAVE ON *.* TO 'repl'@'%'",
			fmt.Sprintf("CREATE USER IF NOT EXISTS '%s'@'%%' IDENTIFIED BY '%s'", appUser, appPassword),
			fmt.Sprintf("GRANT ALL ON shop.* TO '%s'@'%%'", appUser),
		}})
		if err != nil {
			return nil, err
		}
		root := mysql.NewConfig()
		root.User, root.Net, root.Addr, root.Logger = "root", "unix", m.Socket, &mysql.NopLogger{}
		root.Timeout, root.ReadTimeout, root.WriteTimeout, root.MultiStatements = 2*time.Second, 10*time.Second, 2*time.Second, true
		connector, err := mysql.NewConnector(root)
		if err != nil {
			return nil, err
		}
		b := &Database{MariaDB: m, root: sql.OpenDB(connector), once: sql.OpenDB(connector)}
		b.once.SetMaxIdleConns(0)
		d.Servers[name] = b
	}
	d.Group = GroupConfig{Name: "db", Addresses: []string{FloatingDB.String()}, Interface: nic, Nodes: o.Nodes, Handover: "strict", Role: "mysql",
		MySQL: &MySQLConfig{DSNFile: d.dsnLink(), ReplicationDSNFile: replication}}
	return d, d.linkDSNs(o.Nodes)
}

// dsnLink is one path for the same config file on every node: the accounts are the same, too.
func (d *Databases) dsnLink() string { return d.w.path("mysql.dsn") }

func (d *Databases) linkDSNs(nodes []string) error {
	b, err := os.ReadFile(d.Servers[nodes[0]].DSNFile)
	if err != nil {
		return err
	}
	return os.WriteFile(d.dsnLink(), b, 0o600)
}

// Start starts every server.
func (d *Databases) Start(ctx context.Context) error {
	for _, s := range d.Servers {
		if err := s.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the connections of the lab; the servers end with the world.
func (d *Databases) Close() {
	for _, s := range d.Servers {
		s.root.Close()
		s.once.Close()
	}
}

// Do runs statements as root, in a session of their own.
func (b *Database) Do(ctx context.Context, statements ...string) error {
	c, err := b.once.Conn(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, s := range statements {
		if _, err := c.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// One asks for one value as root.
func (b *Database) One(ctx context.Context, query string) (out string, err error) {
	var v sql.NullString
	err = b.root.QueryRowContext(ctx, query).Scan(&v)
	return v.String, err
}

// Rows asks for one column as root.
func (b *Database) Rows(ctx context.Context, query string) (out []string, err error) {
	rows, err := b.root.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var v string
		if err := rows.Scan(&v); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

// Open returns what an application on the client has: connections to an address, one at most, with bounds that notice
// an owner which is gone.
func (w *World) OpenDatabase(address netip.Addr) (*sql.DB, error) {
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.DBName = appUser, appPassword, "shop"
	cfg.Net, cfg.Addr = "tcp", netip.AddrPortFrom(address, mysqlPort).String()
	cfg.Timeout, cfg.ReadTimeout, cfg.WriteTimeout = time.Second, time.Second, time.Second
	cfg.RejectReadOnly, cfg.InterpolateParams, cfg.Logger = true, true, &mysql.NopLogger{}
	cfg.DialFunc = func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		err = w.Client.Do(func() error {
			d := net.Dialer{Timeout: time.Second}
			conn, err = d.DialContext(ctx, network, addr)
			return err
		})
		return conn, err
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	return db, nil
}

// DataDir is where the server keeps everything.
func (b *Database) DataDir() string { return filepath.Join(filepath.Dir(b.Socket), "data") }

// refused reports whether a server has said no, so that nothing was written.
func refused(err error) bool {
	var no *mysql.MySQLError
	return errors.As(err, &no) || strings.Contains(err.Error(), "connection refused")
}

// Rebuild gives a node's server the data of another's, as docs/mysql.md tells an operator to when nothing of a
// diverged server's own is needed: its agent is stopped meanwhile.
func (d *Databases) Rebuild(ctx context.Context, node, from string) error {
	n := d.w.Node(node)
	if err := n.StopAgent(ctx); err != nil {
		return err
	}
	pos, rows, err := d.Servers[from].snapshot(ctx)
	if err != nil {
		return err
	}
	statements := []string{"STOP SLAVE", "RESET SLAVE ALL", "SET sql_log_bin = 0", "DROP DATABASE IF EXISTS shop", "CREATE DATABASE shop",
		"CREATE TABLE shop.t (v VARCHAR(40)) ENGINE = InnoDB", "RESET MASTER"}
	for len(rows) > 0 {
		some := rows[:min(len(rows), 500)]
		rows = rows[len(some):]
		statements = append(statements, "INSERT INTO shop.t VALUES ('"+strings.Join(some, "'), ('")+"')")
	}
	if err := d.Servers[node].Do(ctx, append(statements, fmt.Sprintf("SET GLOBAL gtid_slave_pos = '%s'", pos))...); err != nil {
		return err
	}
	return n.StartAgent(ctx)
}

// snapshot is what a server has at one moment, and its position then.
func (b *Database) snapshot(ctx context.Context) (pos string, rows []string, err error) {
	c, err := b.once.Conn(ctx)
	if err != nil {
		return "", nil, err
	}
	defer c.Close() // which unlocks
	if _, err := c.ExecContext(ctx, "FLUSH TABLES WITH READ LOCK"); err != nil {
		return "", nil, err
	}
	if err := c.QueryRowContext(ctx, "SELECT @@gtid_binlog_pos").Scan(&pos); err != nil {
		return "", nil, err
	}
	list, err := c.QueryContext(ctx, "SELECT v FROM shop.t")
	if err != nil {
		return "", nil, err
	}
	defer list.Close()
	for list.Next() {
		var v string
		if err := list.Scan(&v); err != nil {
			return "", nil, err
		}
		rows = append(rows, v)
	}
	return pos, rows, list.Err()
}
