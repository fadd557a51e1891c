package mysql

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/role"
)

var madeTemplate atomic.Bool

// node is a server with its role, and everything that the role has said.
type node struct {
	*mariadbd
	t    *testing.T
	role *Role
	dsn  string // the file

	mu       sync.Mutex
	observed []role.Observation
	events   []role.Event
	letGo    []uint64 // epochs
	log      strings.Builder
	changed  chan struct{}
}

// site is a master and its replicas, as hbagent would have set them up.
type site struct {
	t     *testing.T
	nodes []*node
	held  *lease
}

// lease stands for the agent's.
type lease struct {
	mu   sync.Mutex
	left time.Duration
	err  error
	asks int
	// on is called at every look, with its number.
	on func(ask int)
}

func (l *lease) Held() (time.Duration, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asks++
	if l.on != nil {
		l.on(l.asks)
	}
	return l.left, l.err
}

// lose is the end of it.
func (l *lease) lose() { l.mu.Lock(); defer l.mu.Unlock(); l.left, l.err = 0, role.ErrLost }

func claim(epoch uint64) (role.Claim, *lease) {
	l := &lease{left: time.Minute}
	return role.Claim{Epoch: epoch, Held: l.Held}, l
}

// newSite starts n servers, and makes the first the master of the others.
func newSite(t *testing.T, n int, args ...string) *site {
	t.Helper()
	s := &site{t: t}
	port := freePort(t)
	var wg sync.WaitGroup
	for i := range n {
		s.nodes = append(s.nodes, &node{t: t, mariadbd: newMaria(t, i+1, port, args...)})
	}
	wg.Wait()
	addrs := map[string]netip.Addr{}
	for _, nd := range s.nodes {
		addrs[nd.name] = netip.MustParseAddr(nd.addr)
	}
	for _, nd := range s.nodes {
		nd.begin(addrs, Options{})
	}
	c, l := claim(1)
	s.held = l
	s.activate(0, c)
	s.nodes[0].do("CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(40)) ENGINE = InnoDB")
	for _, nd := range s.nodes[1:] {
		must(t, nd.role.Deactivate(t.Context(), "start"))
		nd.role.Follow(role.Leader{Node: s.nodes[0].name, Epoch: 1})
	}
	for _, nd := range s.nodes[1:] {
		nd.caughtUp(s.nodes[0])
	}
	return s
}

// begin makes the role of a node and runs it.
func (n *node) begin(addrs map[string]netip.Addr, o Options) {
	n.t.Helper()
	dir := n.t.TempDir()
	n.dsn = filepath.Join(dir, "mysql.dsn")
	repl := filepath.Join(dir, "replication.dsn")
	writeFile(n.t, n.dsn, fmt.Sprintf("hbagent:%s@tcp(%s:%d)/\n", agentPassword, n.addr, n.port))
	writeFile(n.t, repl, fmt.Sprintf("repl:%s@tcp(:%d)/\n", replicationPassword, n.port))
	n.changed = make(chan struct{}, 1)
	o.Node, o.Nodes, o.DSNFile, o.ReplicationDSNFile = n.name, addrs, n.dsn, repl
	if o.Every == 0 {
		o.Every = 50 * time.Millisecond
	}
	if o.ApplyTimeout == 0 {
		o.ApplyTimeout = 2 * time.Second
	}
	if o.DemoteTimeout == 0 {
		o.DemoteTimeout = time.Second
	}
	o.Logger = slog.New(slog.NewTextHandler(lockedWriter{n}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o.Tell = role.Tell{
		Observed: func(ob role.Observation) { n.mu.Lock(); n.observed = append(n.observed, ob); n.mu.Unlock() },
		Event:    func(e role.Event) { n.mu.Lock(); n.events = append(n.events, e); n.mu.Unlock() },
		LetGo:    func(epoch uint64) { n.mu.Lock(); n.letGo = append(n.letGo, epoch); n.mu.Unlock() },
	}
	r, err := New(o)
	must(n.t, err)
	n.role = r
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = r.Run(ctx) }()
	n.t.Cleanup(func() {
		cancel()
		<-ended
		n.mu.Lock()
		defer n.mu.Unlock()
		noSecrets(n.t, n.name, n.log.String(), fmt.Sprintf("%+v", n.events), fmt.Sprintf("%+v", n.observed))
		if n.t.Failed() {
			n.t.Logf("%s said:\n%s", n.name, n.log.String())
		}
	})
}

type lockedWriter struct{ n *node }

func (w lockedWriter) Write(b []byte) (int, error) {
	w.n.mu.Lock()
	defer w.n.mu.Unlock()
	return w.n.log.Write(b)
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o600))
}

// activate makes a node the master, as the agent does.
func (s *site) activate(i int, c role.Claim) {
	s.t.Helper()
	must(s.t, s.nodes[i].role.Prepare(s.t.Context(), c))
	must(s.t, s.nodes[i].role.Activate(s.t.Context(), c))
	if s.nodes[i].isReadOnly() {
		s.t.Fatalf("%s is read-only after Activate", s.nodes[i].name)
	}
}

// last is the newest observation.
func (n *node) last() role.Observation {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.observed) == 0 {
		return role.Observation{}
	}
	return n.observed[len(n.observed)-1]
}

// sees waits until an observation that is made from now on is so.
func (n *node) sees(what string, so func(role.Observation) bool) role.Observation {
	n.t.Helper()
	from := time.Now()
	var o role.Observation
	soon(n.t, func() error {
		if o = n.last(); o.At.After(from) && so(o) {
			return nil
		}
		return fmt.Errorf("%s is not seen on %s: %+v", what, n.name, o)
	})
	return o
}

// told waits for an event.
func (n *node) told(reason string) role.Event {
	n.t.Helper()
	var found role.Event
	soon(n.t, func() error {
		n.mu.Lock()
		defer n.mu.Unlock()
		i := slices.IndexFunc(n.events, func(e role.Event) bool { return strings.HasPrefix(e.Reason, reason) })
		if i < 0 {
			return fmt.Errorf("no event %q of %s in %+v", reason, n.name, n.events)
		}
		found = n.events[i]
		return nil
	})
	return found
}

// caughtUp waits until a replica has everything of its master, and runs.
func (n *node) caughtUp(master *node) {
	n.t.Helper()
	soon(n.t, func() error {
		want := master.ask("SELECT @@global.gtid_binlog_pos") // what clients have sent may still be carried out
		if got := n.ask("SELECT @@global.gtid_slave_pos"); got != want {
			return fmt.Errorf("%s has %s, and %s %s", n.name, got, master.name, want)
		}
		return nil
	})
	n.sees("a replica that runs", func(o role.Observation) bool { return o.Connected && o.Following == master.name && o.LagMs == 0 })
}

// verdict is what the role thinks of its server in a situation.
func (n *node) verdict(s role.Situation) role.Verdict {
	s.Node, s.Self, s.Now = n.name, n.last(), time.Now()
	return n.role.Judge(s)
}
