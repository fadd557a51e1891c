package e2e_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

// A databases is a site of two MariaDB servers, db1 and db2, of which the floating address
// leads to the master; web1 gives the third vote.
type databases struct {
	*lab.World
	t      *testing.T
	server map[string]*lab.MariaDB
	roots  map[string]*sql.DB
}

// newDatabases starts servers and agents, with db1 as the first owner.
func newDatabases(t *testing.T, args ...string) *databases {
	t.Helper()
	s := &databases{t: t, server: make(map[string]*lab.MariaDB), roots: make(map[string]*sql.DB)}
	s.World = labtest.New(t, lab.Options{Nodes: []string{"db1", "db2", "web1"}, Hbagent: labtest.Program()})
	c := s.World.Config()
	var own, repl string
	for i, name := range []string{"db1", "db2"} {
		db, err := s.Node(name).MariaDB(within(t), lab.MariaDBOptions{
			Args: append([]string{
				fmt.Sprintf("--server-id=%d", i+1), "--log-bin=bin", "--log-slave-updates", "--gtid-strict-mode", "--binlog-format=ROW",
				"--read-only", "--slave-net-timeout=10",
			}, args...),
			SQL: []string{
				"GRANT PROCESS, BINLOG MONITOR, SLAVE MONITOR, REPLICATION SLAVE ADMIN, READ_ONLY ADMIN, CONNECTION ADMIN, RELOAD ON *.* TO hbagent@'127.0.0.1'",
				"CREATE USER IF NOT EXISTS repl@'%' IDENTIFIED BY 'lab'", "GRANT REPLICATION SLAVE ON *.* TO repl@'%'",
				"CREATE USER IF NOT EXISTS app@'%' IDENTIFIED BY 'lab'", "GRANT ALL ON shop.* TO app@'%'",
			},
		})
		if errors.Is(err, exec.ErrNotFound) {
			labtest.Skip(t, err.Error())
		}
		must(t, err)
		must(t, db.Start(within(t)))
		s.server[name], own = db, db.DSNFile
		repl = filepath.Join(filepath.Dir(own), "replication.dsn")
		must(t, os.WriteFile(repl, []byte("repl:lab@tcp(:3306)/\n"), 0o600))
		g := lab.GroupConfig{
			Name: "db", Addresses: []string{lab.Floating4.String()}, Interface: s.WebGroup().Interface, Nodes: []string{"db1", "db2"},
			Hold: hold.String(), MaxMoves: "100/10m", Role: "mysql", Handover: "strict",
			MySQL: &lab.MySQLConfig{DSNFile: own, ReplicationDSNFile: repl, DemoteTimeout: "1s"},
		}
		c.Groups = []lab.GroupConfig{g} // each node has files of its own, in a lab where all share a disk
		must(t, s.Node(name).WriteConfig(c))
	}
	must(t, s.Node("web1").WriteConfig(c))
	arp, err := s.WatchARP(t.Context(), lab.Floating4.Addr(), 0)
	must(t, err)
	began := time.Now()
	t.Cleanup(func() {
		<-arp.Done()
		for _, q := range arp.OwnersOverlap(began, time.Now()) {
			t.Errorf("who has the address, asked at %s: answered by %v", clock(q.Sent), q.Nodes)
		}
	})
	must(t, s.Node("db1").StartAgent(within(t)))
	must(t, s.Node("web1").StartAgent(within(t)))
	must(t, s.WaitOwner(within(t), "db", "db1"))
	must(t, s.Node("db2").StartAgent(within(t)))
	must(t, s.WaitEligible(within(t), "db", "db1", "db2"))
	s.do("db1", "CREATE DATABASE shop", "CREATE TABLE shop.t (v VARCHAR(40) PRIMARY KEY) ENGINE = InnoDB")
	return s
}

// open opens connections to an address from a machine of the lab.
func open(from *lab.Node, network, addr, user, password string) *sql.DB {
	c := mysql.NewConfig()
	c.Net, c.Addr, c.User, c.Passwd, c.InterpolateParams = network, addr, user, password, true
	c.Logger = &mysql.NopLogger{}
	c.Timeout, c.ReadTimeout, c.WriteTimeout = time.Second, 2*time.Second, time.Second
	c.DialFunc = func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		err = from.Do(func() error { // a socket belongs to where it was made
			conn, err = (&net.Dialer{}).DialContext(ctx, network, addr)
			return err
		})
		return conn, err
	}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		panic(err) // the fields above are constant
	}
	return sql.OpenDB(connector)
}

// root asks a server itself.
func (s *databases) root(node string) *sql.DB {
	if s.roots[node] == nil {
		db := open(s.Node(node), "unix", s.server[node].Socket, "root", "")
		s.t.Cleanup(func() { db.Close() })
		s.roots[node] = db
	}
	return s.roots[node]
}

func (s *databases) do(node string, statements ...string) {
	s.t.Helper()
	db := s.root(node)
	for _, q := range statements {
		if _, err := db.ExecContext(within(s.t), q); err != nil {
			s.t.Fatalf("%s: %s: %v", node, q, err)
		}
	}
}

func (s *databases) ask(node, query string) string {
	s.t.Helper()
	var v sql.NullString
	if err := s.root(node).QueryRowContext(within(s.t), query).Scan(&v); err != nil {
		s.t.Fatalf("%s: %s: %v", node, query, err)
	}
	return v.String
}

// shoppers are clients that insert one row after the other by the floating address, and
// remember which were acknowledged.
type shoppers struct {
	mu    sync.Mutex
	acked map[string]bool
	maybe map[string]bool
	last  time.Time     // of an acknowledgement
	gap   time.Duration // the longest time without one
	count atomic.Int64
	stop  context.CancelFunc
	wg    sync.WaitGroup
}

func (s *databases) shop(clients int) *shoppers {
	ctx, stop := context.WithCancel(context.Background())
	b := &shoppers{acked: map[string]bool{}, maybe: map[string]bool{}, stop: stop, last: time.Now()}
	for c := range clients {
		b.wg.Go(func() {
			db := open(s.Client, "tcp", net.JoinHostPort(lab.Floating4.Addr().String(), "3306"), "app", "lab")
			defer db.Close()
			db.SetMaxOpenConns(1)
			for i := 0; ctx.Err() == nil; i++ {
				row := fmt.Sprintf("%d-%d", c, i)
				_, err := db.ExecContext(ctx, "INSERT INTO shop.t (v) VALUES (?)", row)
				b.told(row, err)
				if err != nil {
					select {
					case <-ctx.Done():
					case <-time.After(5 * time.Millisecond): // as an application that tries again
					}
				}
			}
		})
	}
	s.t.Cleanup(func() { stop(); b.wg.Wait() })
	return b
}

func (b *shoppers) told(row string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var refused *mysql.MySQLError
	switch {
	case err == nil:
		b.acked[row] = true
		b.count.Add(1)
		b.gap, b.last = max(b.gap, time.Since(b.last)), time.Now()
	case !errors.As(err, &refused):
		b.maybe[row] = true
	}
}

// outage returns the longest time without an acknowledgement since it was asked last.
func (b *shoppers) outage() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	gap := b.gap
	b.gap, b.last = 0, time.Now()
	return gap
}

// buys waits until so many more rows were acknowledged.
func (b *shoppers) buys(t *testing.T, more int64) {
	t.Helper()
	want := b.count.Load() + more
	eventually(t, func(context.Context) error {
		if got := b.count.Load(); got < want {
			return fmt.Errorf("%d rows are acknowledged, waiting for %d", got, want)
		}
		return nil
	})
}

// check compares what a server has with what the clients were told. A row is a primary
// key: none can be there twice.
func (s *databases) check(b *shoppers, node string) {
	s.t.Helper()
	rows, err := s.root(node).QueryContext(within(s.t), "SELECT v FROM shop.t")
	must(s.t, err)
	defer rows.Close()
	found := map[string]bool{}
	for rows.Next() {
		var v string
		must(s.t, rows.Scan(&v))
		found[v] = true
		if !b.acked[v] && !b.maybe[v] {
			s.t.Errorf("%s has row %s, which was refused", node, v)
		}
	}
	must(s.t, rows.Err())
	lost := 0
	for v := range b.acked {
		if !found[v] {
			lost++
		}
	}
	s.t.Logf("%s: %d acknowledged, %d lost, %d without an answer", node, len(b.acked), lost, len(b.maybe))
	if lost > 0 || len(b.acked) == 0 {
		s.t.Errorf("%s lacks %d of %d acknowledged rows", node, lost, len(b.acked))
	}
}

// waitService waits until every node sees a service as wanted.
func (s *databases) waitService(node string, wrong func(control.Service) string) {
	s.t.Helper()
	for _, asked := range []string{"db1", "db2", "web1"} {
		eventually(s.t, func(ctx context.Context) error {
			st, err := s.Node(asked).Status(ctx)
			if err != nil {
				return err
			}
			g := nodeOf(st, node).Groups["db"]
			if g.Service == nil {
				return fmt.Errorf("%s shows no service on %s", asked, node)
			}
			if w := wrong(*g.Service); w != "" {
				return fmt.Errorf("%s shows of %s: %s: %+v", asked, node, w, *g.Service)
			}
			return nil
		})
	}
}

func (s *databases) follows(node, master string) {
	s.t.Helper()
	s.waitService(node, func(v control.Service) string {
		if v.Following != master || !v.Connected || v.Writable || v.Diverged != "" {
			return "it does not follow " + master
		}
		return ""
	})
}

// Two servers and their agents, through planned moves and faults, with clients that write
// all the time. Semi-synchronous, so that nothing may be lost.
func TestDatabasePair(t *testing.T) {
	s := newDatabases(t, "--rpl-semi-sync-master-enabled=ON", "--rpl-semi-sync-slave-enabled=ON", "--rpl-semi-sync-master-wait-point=AFTER_SYNC",
		"--rpl-semi-sync-master-timeout=20000", "--rpl-semi-sync-master-wait-no-slave=OFF")
	s.follows("db2", "db1")
	eventually(t, func(context.Context) error {
		if got := s.ask("db1", "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'Rpl_semi_sync_master_status'"); got != "ON" {
			return errors.New("semi-sync is not in force")
		}
		return nil
	})
	b := s.shop(4)
	b.buys(t, 200)
	verb := func(on string, args ...string) said { return run(t, s.Node(on), command(args...)) }

	t.Run("planned moves", func(t *testing.T) {
		for i, to := range []string{"db2", "db1", "db2", "db1"} {
			from := map[string]string{"db1": "db2", "db2": "db1"}[to]
			s.follows(to, from)
			b.outage()
			verb([]string{"web1", "db1", "db2"}[i%3], "switchover", "db", "--to", to).wants(t, 0, "db moved from "+from+" to "+to, to+" has everything")
			must(t, s.WaitOwner(within(t), "db", to))
			b.buys(t, 100)
			t.Logf("to %s: no commit for %v", to, b.outage().Round(time.Millisecond))
		}
		s.follows("db2", "db1")
	})
	t.Run("the agent of the master is restarted", func(t *testing.T) {
		before, err := s.Node("db1").Group(within(t), "db")
		must(t, err)
		must(t, s.Node("db1").RestartAgent(within(t), false))
		b.buys(t, 100)
		after, err := s.Node("db1").Group(within(t), "db")
		must(t, err)
		if after.Owner != "db1" || after.Epoch != before.Epoch {
			t.Errorf("owner %s, epoch %d, before %s, %d", after.Owner, after.Epoch, before.Owner, before.Epoch)
		}
	})
	t.Run("the master's server is killed", func(t *testing.T) {
		s.follows("db2", "db1")
		b.outage()
		must(t, s.server["db1"].Kill())
		must(t, s.WaitOwner(within(t), "db", "db2"))
		b.buys(t, 100)
		t.Logf("no commit for %v", b.outage().Round(time.Millisecond))
	})
	t.Run("it comes back", func(t *testing.T) {
		must(t, s.server["db1"].Start(within(t)))
		s.waitService("db1", func(v control.Service) string {
			if v.Down != "" || v.Diverged == "" && !(v.Following == "db2" && v.Connected) {
				return "neither following nor diverged"
			}
			return ""
		})
		st, err := s.Node("web1").Status(within(t))
		must(t, err)
		service := nodeOf(st, "db1").Groups["db"].Service
		t.Logf("the old master: following %q, diverged %q", service.Following, service.Diverged)
		if service.Diverged != "" { // an unacknowledged tail, kept: see docs/mysql.md
			verb("web1", "switchover", "db", "--to", "db1").wants(t, 1, "refused, nothing has changed", "diverged: ")
			verb("web1", "status").wants(t, 1, "diverged")
		}
		if got := s.ask("db1", "SELECT @@global.read_only"); got != "1" {
			t.Error("the old master is writable")
		}
	})
	b.stop()
	b.wg.Wait()
	s.check(b, "db2")
	for _, n := range s.Nodes() {
		if log := agentLog(n); strings.Contains(log, "tcp(127.0.0.1") || strings.Contains(log, "hbagent:lab") || strings.Contains(log, "panic") {
			t.Errorf("the agent of %s has told an account, or panicked", n.Name)
		}
	}
}

// The machine of the master dies, with asynchronous replication: the replica takes over in
// about a ttl, and what was lost is counted by those who can know it.
func TestDatabaseMachineDies(t *testing.T) {
	s := newDatabases(t)
	s.follows("db2", "db1")
	b := s.shop(4)
	b.buys(t, 200)
	b.outage()
	must(t, s.Node("db1").PowerOff())
	must(t, s.WaitOwner(within(t), "db", "db2"))
	b.buys(t, 100)
	outage := b.outage()
	b.stop()
	b.wg.Wait()
	lost := 0
	for v := range b.acked {
		if s.ask("db2", "SELECT COUNT(*) FROM shop.t WHERE v = '"+v+"'") == "0" {
			lost++
		}
	}
	t.Logf("no commit for %v; %d of %d acknowledged rows are lost (asynchronous)", outage.Round(time.Millisecond), lost, len(b.acked))
	if outage > slack*(promiseOwner+time.Second) {
		t.Errorf("no commit for %v", outage)
	}
	if lost > 100 {
		t.Errorf("%d rows are lost: it was not a moment's", lost)
	}
}
