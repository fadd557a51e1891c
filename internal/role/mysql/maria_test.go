package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"
)

// patience is for things that take milliseconds on an idle machine.
const patience = 30 * time.Second

// The passwords of the tests must not be seen anywhere; see secrets_test.go.
const (
	agentPassword       = "ge'heim-agent"
	replicationPassword = `ge"heim\repl`
)

// grants are what docs/mysql.md gives the agent, and nothing more.
const grants = "PROCESS, BINLOG MONITOR, SLAVE MONITOR, REPLICATION SLAVE ADMIN, READ_ONLY ADMIN, CONNECTION ADMIN, RELOAD"

// mariadbd is a real server in a directory of its own.
type mariadbd struct {
	t    *testing.T
	name string // of its node
	addr string // 127.0.0.x: replicas are told apart by address, and share the port
	port int
	dir  string
	args []string
	cmd  *exec.Cmd
	done chan struct{}
	root *sql.DB
}

func skip(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("HBAGENT_TEST_NO_SKIP") == "1" {
		t.Fatalf("HBAGENT_TEST_NO_SKIP=1 forbids to skip: "+format, args...)
	}
	t.Skipf(format, args...)
}

func program(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range []string{"/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"} {
		if path := filepath.Join(dir, name); exec.Command("test", "-x", path).Run() == nil {
			return path
		}
	}
	skip(t, "%s is missing: install the package mariadb-server", name)
	return ""
}

// template is an empty data directory, made once.
var template = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "hbagent-mariadb-")
	if err != nil {
		return "", err
	}
	me, err := user.Current()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, "mariadb-install-db", "--no-defaults", "--datadir="+filepath.Join(dir, "data"), "--user="+me.Username,
		"--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-log-file-size=4M").CombinedOutput()
	if err != nil {
		return dir, fmt.Errorf("mariadb-install-db: %w\n%s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if madeTemplate.Load() {
		dir, _ := template()
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// freePort finds a port that is free on every address of the tests.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newMaria starts a server with number n: 1, 2, ...
func newMaria(t *testing.T, n, port int, args ...string) *mariadbd {
	t.Helper()
	server := program(t, "mariadbd")
	program(t, "mariadb-install-db")
	madeTemplate.Store(true)
	from, err := template()
	must(t, err)
	dir, err := os.MkdirTemp("", "hbdb") // short: the path of a socket is limited
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.CopyFS(filepath.Join(dir, "data"), os.DirFS(filepath.Join(from, "data"))))
	init := fmt.Sprintf(`SET sql_log_bin = 0;
CREATE USER IF NOT EXISTS hbagent@'%%' IDENTIFIED BY '%s';
GRANT %s ON *.* TO hbagent@'%%';
CREATE USER IF NOT EXISTS repl@'%%' IDENTIFIED BY '%s';
GRANT REPLICATION SLAVE ON *.* TO repl@'%%';
CREATE USER IF NOT EXISTS app@'%%' IDENTIFIED BY 'app';
GRANT ALL ON shop.* TO app@'%%';
`, strings.ReplaceAll(agentPassword, "'", "''"), grants, strings.ReplaceAll(replicationPassword, `\`, `\\`))
	must(t, os.WriteFile(filepath.Join(dir, "init.sql"), []byte(init), 0o600))
	me, err := user.Current()
	must(t, err)
	m := &mariadbd{t: t, name: fmt.Sprintf("db%d", n), addr: fmt.Sprintf("127.0.0.%d", 10+n), port: port, dir: dir}
	m.args = append([]string{
		server, "--no-defaults", "--user=" + me.Username, "--datadir=" + filepath.Join(dir, "data"), "--socket=" + m.socket(),
		"--pid-file=" + filepath.Join(dir, "pid"), "--bind-address=" + m.addr, fmt.Sprintf("--port=%d", port), "--skip-name-resolve",
		"--init-file=" + filepath.Join(dir, "init.sql"), fmt.Sprintf("--server-id=%d", n),
		"--log-bin=bin", "--binlog-format=ROW", "--log-slave-updates", "--gtid-strict-mode", "--read-only", "--slave-net-timeout=10",
		"--innodb-buffer-pool-size=16M", "--innodb-log-file-size=4M", "--innodb-flush-log-at-trx-commit=2", "--performance-schema=OFF",
		"--aria-pagecache-buffer-size=8M", "--key-buffer-size=1M", "--max-connections=60",
	}, args...)
	cfg := driver.NewConfig()
	cfg.User, cfg.Net, cfg.Addr, cfg.InterpolateParams = "root", "unix", m.socket(), true
	cfg.Logger = &driver.NopLogger{}
	connector, err := driver.NewConnector(cfg)
	must(t, err)
	m.root = sql.OpenDB(connector)
	m.root.SetMaxIdleConns(0) // what a session has set goes with it
	t.Cleanup(func() { m.root.Close() })
	m.start()
	return m
}

func (m *mariadbd) socket() string { return filepath.Join(m.dir, "s") }

func (m *mariadbd) start() {
	m.t.Helper()
	out, err := os.OpenFile(filepath.Join(m.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(m.t, err)
	cmd := exec.Command(m.args[0], m.args[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL} // no orphan if the test dies
	must(m.t, cmd.Start())
	out.Close()
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	m.cmd, m.done = cmd, done
	m.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGCONT)
		_ = cmd.Process.Kill()
		<-done
	})
	m.t.Helper()
	soon(m.t, func() error {
		select {
		case <-done:
			text, _ := os.ReadFile(filepath.Join(m.dir, "log"))
			m.t.Fatalf("%s ended: %s", m.name, text)
		default:
		}
		var n int
		return m.root.QueryRow("SELECT COUNT(*) FROM mysql.global_priv WHERE User = 'app'").Scan(&n)
	})
}

// kill is a power cut; stop ends the server in order.
func (m *mariadbd) kill() { m.t.Helper(); must(m.t, m.cmd.Process.Kill()); <-m.done }
func (m *mariadbd) stop() {
	m.t.Helper()
	must(m.t, m.cmd.Process.Signal(syscall.SIGTERM))
	<-m.done
}

// freeze lets the server hang with its port open, and waits until every thread does.
func (m *mariadbd) freeze() {
	m.t.Helper()
	must(m.t, m.cmd.Process.Signal(syscall.SIGSTOP))
	soon(m.t, func() error {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", m.cmd.Process.Pid))
		if err != nil || len(tasks) == 0 {
			return fmt.Errorf("no threads: %w", err)
		}
		for _, task := range tasks {
			b, err := os.ReadFile(task)
			if err != nil {
				return err
			}
			// proc_pid_stat(5): the state follows the name, which is in brackets.
			if _, rest, ok := strings.Cut(string(b), ") "); !ok || rest[0] != 'T' {
				return fmt.Errorf("%s runs", task)
			}
		}
		return nil
	})
}

func (m *mariadbd) thaw() { m.t.Helper(); must(m.t, m.cmd.Process.Signal(syscall.SIGCONT)) }

// do runs statements in one session, as root, whom read_only does not stop.
func (m *mariadbd) do(statements ...string) {
	m.t.Helper()
	conn, err := m.root.Conn(context.Background())
	must(m.t, err)
	defer conn.Close()
	for _, s := range statements {
		if _, err := conn.ExecContext(context.Background(), s); err != nil {
			m.t.Fatalf("%s: %s: %v", m.name, s, err)
		}
	}
}

func (m *mariadbd) ask(query string) string {
	m.t.Helper()
	var v sql.NullString
	if err := m.root.QueryRow(query).Scan(&v); err != nil {
		m.t.Fatalf("%s: %s: %v", m.name, query, err)
	}
	return v.String
}

func (m *mariadbd) isReadOnly() bool { m.t.Helper(); return m.ask("SELECT @@global.read_only") == "1" }

// app opens connections as an application does.
func (m *mariadbd) app() *sql.DB { m.t.Helper(); return m.as("app") }

// as opens connections of a user with the password of app.
func (m *mariadbd) as(user string) *sql.DB {
	m.t.Helper()
	cfg := driver.NewConfig()
	cfg.User, cfg.Passwd, cfg.Net, cfg.Addr, cfg.InterpolateParams = user, "app", "tcp", fmt.Sprintf("%s:%d", m.addr, m.port), true
	cfg.Logger = &driver.NopLogger{}
	connector, err := driver.NewConnector(cfg)
	must(m.t, err)
	db := sql.OpenDB(connector)
	m.t.Cleanup(func() { db.Close() })
	return db
}

// soon waits until ready returns nil.
func soon(t *testing.T, ready func() error) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %v: %v", patience, err)
		}
	}
}
