package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	memcachedPort = 11211
	askVersion    = "version\r\n"
	mysqlPort     = 3306
)

// Memcached prepares a memcached: the real one if it is installed, otherwise a stand-in that speaks the same
// text protocol.
func (n *Node) Memcached() *Service {
	program, ok := lookProgram("memcached")
	if !ok {
		return n.builtinMemcached()
	}
	return &Service{
		Kind: "memcached", Label: label("memcached", program, "-V"), Real: true, Port: memcachedPort, node: n, name: "memcached", hello: askVersion,
		command: func() *exec.Cmd {
			return exec.Command(program, "-U", "0", "-m", "16", "-p", strconv.Itoa(memcachedPort))
		},
	}
}

// MariaDBOptions describe a database server.
type MariaDBOptions struct {
	Args []string // more arguments of mariadbd, for example --server-id=2 --log-bin
	SQL  []string // more statements for each start; each may run again and again (IF NOT EXISTS)
}

// A MariaDB is a real database server with a data directory of its own.
type MariaDB struct {
	*Service
	DSNFile string // for the agent's check: user hbagent over TCP at 127.0.0.1
	Socket  string // for root without password
}

// MariaDB prepares a MariaDB server with an empty data directory. There is no stand-in for it: without
// one, errors.Is(err, exec.ErrNotFound). The first one of a world initialises a directory that the
// others copy.
func (n *Node) MariaDB(ctx context.Context, o MariaDBOptions) (*MariaDB, error) {
	program, ok := lookProgram("mariadbd")
	installer, ok2 := lookProgram("mariadb-install-db")
	if !ok || !ok2 {
		return nil, errMissing("MariaDB", "mariadb-server")
	}
	template, err := n.w.mariadbTemplate(ctx, n, installer)
	if err != nil {
		return nil, err
	}
	dir, err := n.serviceDir("mariadb")
	if err != nil {
		return nil, err
	}
	const user, password = "hbagent", "lab"
	sql := append([]string{
		"SET sql_log_bin = 0", // a server that replicates must not have transactions of its own
		fmt.Sprintf("CREATE USER IF NOT EXISTS '%s'@'127.0.0.1' IDENTIFIED BY '%s'", user, password),
		fmt.Sprintf("GRANT PROCESS, REPLICATION CLIENT, SLAVE MONITOR ON *.* TO '%s'@'127.0.0.1'", user),
	}, o.SQL...)
	m := &MariaDB{DSNFile: filepath.Join(n.Dir(), "mysql.dsn"), Socket: filepath.Join(dir, "mysqld.sock")}
	data, initFile := filepath.Join(dir, "data"), filepath.Join(dir, "init.sql")
	dsn := fmt.Sprintf("%s:%s@tcp(127.0.0.1:%d)/\n", user, password, mysqlPort)
	for _, step := range []func() error{
		func() error { return os.CopyFS(data, os.DirFS(template)) },
		func() error { return os.WriteFile(initFile, []byte(strings.Join(sql, ";\n")+";\n"), 0o644) },
		func() error { return giveAway(dir) },
		func() error { return os.WriteFile(m.DSNFile, []byte(dsn), 0o600) },
	} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("MariaDB for %s: %w", n.Name, err)
		}
	}
	args := append([]string{
		"--no-defaults", "--datadir=" + data, "--socket=" + m.Socket, "--pid-file=" + filepath.Join(dir, "pid"),
		"--port=" + strconv.Itoa(mysqlPort), "--bind-address=0.0.0.0", "--skip-name-resolve", "--init-file=" + initFile,
		// Small and quick: a lab's data is not worth an fsync, and several run on one machine.
		"--innodb-buffer-pool-size=16M", "--innodb-log-file-size=4M", "--innodb-flush-log-at-trx-commit=2",
		"--aria-pagecache-buffer-size=8M", "--key-buffer-size=1M", "--performance-schema=OFF",
	}, o.Args...)
	m.Service = &Service{
		Kind: "mysql", Label: label("MariaDB", program, "--version"), Real: true, Port: mysqlPort, node: n, name: "mariadb",
		command: func() *exec.Cmd { return exec.Command(program, args...) },
	}
	return m, nil
}

// mariadbTemplate returns a fresh data directory to copy. It is made once in a world.
func (w *World) mariadbTemplate(ctx context.Context, n *Node, installer string) (string, error) {
	w.templateMu.Lock()
	defer w.templateMu.Unlock()
	dir := w.path("mariadb-template")
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	fresh := dir + ".new"
	if err := errors.Join(os.RemoveAll(fresh), os.Mkdir(fresh, 0o755), giveAway(fresh)); err != nil {
		return "", err
	}
	cmd := exec.Command(installer, "--no-defaults", "--datadir="+fresh, "--auth-root-authentication-method=normal",
		"--skip-test-db", "--innodb-log-file-size=4M")
	dropPrivileges(cmd)
	if _, err := n.Output(ctx, cmd); err != nil {
		return "", fmt.Errorf("initialise MariaDB's data: %w", err)
	}
	return dir, os.Rename(fresh, dir) // complete or not there
}
