package checks

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mariadb starts a server of its own and returns root's way to it.
func mariadb(t *testing.T, id int, more ...string) (db *sql.DB, port int, dir string, cmd *exec.Cmd) {
	t.Helper()
	server, install := program(t, "mariadbd", "mariadb-server"), program(t, "mariadb-install-db", "mariadb-server")
	dir = serverDir(t)
	data, socket := filepath.Join(dir, "data"), filepath.Join(dir, "sock")
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, install, "--no-defaults", "--datadir="+data, "--user="+me(t),
		"--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-log-file-size=4M").CombinedOutput()
	if err != nil {
		t.Fatalf("mariadb-install-db: %v\n%s", err, out)
	}
	port = freePort(t)
	root := mustNew(t, Spec{Type: "mysql", DSNFile: dsn(t, "root@unix("+socket+")/", 0o600)})
	cmd = start(t, answers(t, root), append([]string{server, "--no-defaults", "--datadir=" + data, "--socket=" + socket, "--user=" + me(t),
		"--bind-address=127.0.0.1", fmt.Sprintf("--port=%d", port), "--pid-file=" + dir + "/pid", fmt.Sprintf("--server-id=%d", id),
		"--innodb-buffer-pool-size=8M", "--innodb-log-file-size=4M", "--skip-name-resolve", "--log-bin", "--performance-schema=OFF"}, more...)...)
	db, err = sql.Open("mysql", "root@unix("+socket+")/")
	must(t, err)
	db.SetMaxIdleConns(0) // its connection is not to be counted
	t.Cleanup(func() { db.Close() })
	return db, port, dir, cmd
}

func exec1(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// A replica of a real server: in step, late, with a source that dies, and broken.
func TestRealReplication(t *testing.T) {
	master, masterPort, _, masterCmd := mariadb(t, 1)
	replica, replicaPort, _, _ := mariadb(t, 2, "--read-only", "--slave-net-timeout=1")
	exec1(t, master, "CREATE USER 'repl'@'127.0.0.1' IDENTIFIED BY 'lab'", "GRANT REPLICATION SLAVE ON *.* TO 'repl'@'127.0.0.1'",
		"CREATE DATABASE shop", "CREATE TABLE shop.t (a INT PRIMARY KEY)")
	exec1(t, replica, "CREATE USER 'hb'@'127.0.0.1' IDENTIFIED BY 'geheim'",
		fmt.Sprintf("CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=%d, MASTER_USER='repl', MASTER_PASSWORD='lab', MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1", masterPort),
		"START SLAVE")
	var pos string
	var late int
	must(t, master.QueryRow("SELECT @@gtid_binlog_pos").Scan(&pos))
	if must(t, replica.QueryRow("SELECT MASTER_GTID_WAIT(?, 30)", pos).Scan(&late)); late != 0 {
		t.Fatal("the replica does not catch up")
	}
	file := dsn(t, fmt.Sprintf("hb:geheim@tcp(127.0.0.1:%d)/", replicaPort), 0o640)
	spec := Spec{Type: "mysql", DSNFile: file, MaxLag: time.Second, ReadOnly: "on"}

	// Without a right, and then with the one that the message names.
	plain := mustNew(t, Spec{Type: "mysql", DSNFile: file})
	soon(t, func() error { // the server comes to the end of earlier connections when it has time
		if r := probe(t, plain, patience); !r.OK || !strings.HasPrefix(r.Message, "1 connections, ") {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
	check(t, probe(t, mustNew(t, spec), patience), false, "the account may not see the replication: grant it REPLICATION CLIENT (MariaDB: SLAVE MONITOR) (*")
	exec1(t, replica, "GRANT SLAVE MONITOR ON *.* TO 'hb'@'127.0.0.1'")

	c := mustNew(t, spec)
	says := func(ok bool, phrase string) {
		t.Helper()
		soon(t, func() error {
			if r := probe(t, c, patience); r.OK != ok || !strings.Contains(r.Message, phrase) {
				return fmt.Errorf("%+v, want %v with %q", r, ok, phrase)
			}
			return nil
		})
	}
	says(true, "read-only; replica of 127.0.0.1, 0s behind")

	// A lock on the replica holds up a write of the master.
	lock, err := replica.Conn(t.Context())
	must(t, err)
	_, err = lock.ExecContext(t.Context(), "LOCK TABLES shop.t READ")
	must(t, err)
	exec1(t, master, "INSERT INTO shop.t VALUES (1)")
	says(false, "replica of 127.0.0.1, 2s behind (")
	_, err = lock.ExecContext(t.Context(), "UNLOCK TABLES")
	must(t, errors.Join(err, lock.Close()))
	says(true, "0s behind")

	// The replica is not to blame for a source that is gone.
	must(t, masterCmd.Process.Signal(syscall.SIGSTOP))
	says(true, "which does not answer, 0s behind before")
	must(t, masterCmd.Process.Signal(syscall.SIGCONT))
	says(true, "replica of 127.0.0.1, 0s behind")

	exec1(t, replica, "INSERT INTO shop.t VALUES (2)") // root may, read_only or not
	exec1(t, master, "INSERT INTO shop.t VALUES (2)")
	says(false, "replica of 127.0.0.1 applies nothing: ")
	exec1(t, replica, "STOP SLAVE", "SET GLOBAL read_only = 0")
	says(false, "read_only is off, want on; replica of 127.0.0.1 applies nothing")
	exec1(t, replica, "RESET SLAVE ALL", "SET GLOBAL read_only = 1")
	says(true, " running, read-only")
}
