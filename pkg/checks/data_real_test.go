package checks

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"net"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

func me(t *testing.T) string {
	t.Helper()
	u, err := user.Current()
	must(t, err)
	return u.Username
}

func TestRealMemcached(t *testing.T) {
	memcached := program(t, "memcached", "memcached")
	for name, address := range map[string]string{
		"tcp":  fmt.Sprintf("127.0.0.1:%d", freePort(t)),
		"unix": filepath.Join(serverDir(t), "m.sock"),
	} {
		t.Run(name, func(t *testing.T) {
			argv := []string{memcached, "-u", me(t), "-m", "32", "-t", "1", "-U", "0"}
			if name == "unix" {
				argv = append(argv, "-s", address)
			} else {
				_, port, _ := strings.Cut(address, ":")
				argv = append(argv, "-l", "127.0.0.1", "-p", port)
			}
			c := mustNew(t, Spec{Type: "memcached", Address: address})
			cmd := start(t, answers(t, c), argv...)
			for range 3 { // what the probes themselves do is not counted
				got := probe(t, c, patience)
				check(t, got, true, "memcached *")
				if !strings.HasSuffix(got.Message, ", 0.0 of 32 MiB used, no gets, no evictions") {
					t.Errorf("message %q", got.Message)
				}
			}
			for _, key := range []string{"there", "there", "there", "not"} {
				ask(t, address, "set there 0 0 1\r\nx\r\nget "+key+"\r\nquit\r\n")
			}
			if got := probe(t, c, patience); !strings.HasSuffix(got.Message, " MiB used, 75% hits, no evictions") {
				t.Errorf("message %q", got.Message)
			}
			ask(t, address, "delete there\r\nquit\r\n")
			if n := stat(t, address, "curr_items"); n != "0" {
				t.Errorf("%s items were left behind", n)
			}
			must(t, cmd.Process.Signal(syscall.SIGSTOP))
			check(t, probe(t, c, short), false, "no answer within 200ms")
			must(t, cmd.Process.Signal(syscall.SIGCONT))
			check(t, probe(t, c, patience), true, "memcached *")
		})
	}
}

// ask says something to a server and waits until it hangs up.
func ask(t *testing.T, address, text string) {
	t.Helper()
	network, err := network(address)
	must(t, err)
	conn, err := net.Dial(network, address)
	must(t, err)
	defer conn.Close()
	fmt.Fprint(conn, text)
	_, err = io.Copy(io.Discard, conn)
	must(t, err)
}

// stat asks a memcached for one statistic.
func stat(t *testing.T, address, name string) string {
	t.Helper()
	network, err := network(address)
	must(t, err)
	conn, err := net.Dial(network, address)
	must(t, err)
	defer conn.Close()
	fmt.Fprint(conn, "stats\r\n")
	for lines := bufio.NewScanner(conn); lines.Scan() && lines.Text() != "END"; {
		if value, ok := strings.CutPrefix(lines.Text(), "STAT "+name+" "); ok {
			return value
		}
	}
	t.Fatalf("no statistic %s", name)
	return ""
}

func TestRealMariaDB(t *testing.T) {
	server := program(t, "mariadbd", "mariadb-server")
	install := program(t, "mariadb-install-db", "mariadb-server")
	dir := serverDir(t)
	data, socket := filepath.Join(dir, "data"), filepath.Join(dir, "sock")
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, install, "--no-defaults", "--datadir="+data, "--user="+me(t),
		"--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-log-file-size=4M").CombinedOutput()
	if err != nil {
		t.Fatalf("mariadb-install-db: %v\n%s", err, out)
	}
	port := freePort(t)
	tcp := fmt.Sprintf("127.0.0.1:%d", port)
	root := mustNew(t, Spec{Type: "mysql", DSNFile: dsn(t, "root@unix("+socket+")/", 0o600)})
	cmd := start(t, answers(t, root), server, "--no-defaults", "--datadir="+data, "--socket="+socket, "--user="+me(t),
		"--bind-address=127.0.0.1", fmt.Sprintf("--port=%d", port), "--pid-file="+dir+"/pid", "--max-connections=10",
		"--innodb-buffer-pool-size=8M", "--innodb-log-file-size=4M", "--skip-name-resolve")

	cfg, err := mysql.ParseDSN("root@unix(" + socket + ")/")
	must(t, err)
	connector, err := mysql.NewConnector(cfg)
	must(t, err)
	db := sql.OpenDB(connector)
	defer db.Close()
	// The account of the guide: no privileges at all.
	if _, err := db.Exec("CREATE USER 'hb'@'127.0.0.1' IDENTIFIED BY 'geheim'"); err != nil {
		t.Fatal(err)
	}
	db.SetMaxIdleConns(0) // its connection is not to be counted

	file := dsn(t, "hb:geheim@tcp("+tcp+")/\n", 0o640)
	c := mustNew(t, Spec{Type: "mysql", DSNFile: file})
	// The connections before this one end when the server comes to it: until then it counts them.
	for deadline := time.Now().Add(patience); ; <-time.After(10 * time.Millisecond) {
		got := probe(t, c, patience)
		var n int
		if _, err := fmt.Sscanf(got.Message, "%d connections, 1 running", &n); err == nil && got.OK && n >= 1 && n <= 3 {
			break
		} else if !got.OK || time.Now().After(deadline) {
			t.Fatalf("%+v", got)
		}
	}

	// A file is read at each probe: a changed password needs no reload.
	write(t, file, "hb:falsch@tcp("+tcp+")/", 0o640)
	check(t, probe(t, c, patience), false, "access denied (error 1045): see user, password and host in "+file)
	write(t, file, "hb:geheim@tcp("+tcp+")/mysql", 0o640)
	check(t, probe(t, c, patience), false, "access denied (error 1044): see user, password and host in "+file)
	write(t, file, "hb:geheim@tcp("+tcp+")/", 0o640)

	// What `hbagent init` proposes: no password, the server knows the account by its system user.
	for _, how := range []string{"CREATE USER IF NOT EXISTS", "ALTER USER"} { // as root the account is there already
		if _, err := db.Exec(fmt.Sprintf("%s '%s'@localhost IDENTIFIED VIA unix_socket", how, me(t))); err != nil {
			t.Fatal(err)
		}
	}
	check(t, probe(t, mustNew(t, Spec{Type: "mysql", DSNFile: dsn(t, me(t)+"@unix("+socket+")/", 0o640)}), patience), true, "*")

	// Out of connections: a check that kept its own would not notice.
	var full []*sql.Conn
	for range 20 {
		conn, err := db.Conn(ctx)
		if err != nil {
			break
		}
		full = append(full, conn)
	}
	check(t, probe(t, c, patience), false, "error 1040: Too many connections")
	for _, conn := range full {
		conn.Close()
	}
	soon(t, answers(t, c)) // it takes a moment to free what it had

	must(t, cmd.Process.Signal(syscall.SIGSTOP))
	check(t, probe(t, c, short), false, "no answer within 200ms")
	must(t, cmd.Process.Signal(syscall.SIGCONT))
	soon(t, answers(t, c))
}
