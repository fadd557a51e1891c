package agent

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/pkg/checks"
	"github.com/hbagent/hbagent/pkg/cluster"
	"github.com/hbagent/hbagent/pkg/lease"
)

// The tests of the loop run three of them in a testing/synctest bubble, connected by an in-memory network, over
// addresses that only know who has opened what.

const (
	testTTL  = time.Second
	testHold = 10 * time.Second

	// testConfig is the site of design.md in small.
	testConfig = `
[cluster]
name = "shop"
insecure = true
[lease]
ttl = "1s"
[[node]]
name = "web1"
address = "10.0.0.11"
[[node]]
name = "web2"
address = "10.0.0.12"
[[node]]
name = "db1"
address = "10.0.0.13"
[[check]]
name = "web"
type = "tcp"
address = "127.0.0.1:80"
interval = "1s"
nodes = ["web1", "web2"]
[[group]]
name = "web"
addresses = ["10.0.0.50/24"]
interface = "eth0"
nodes = ["web1", "web2"]
checks = ["web"]
hold = "10s"
failback = false
handover = "strict"
max_moves = "4/10m"
`
)

// edited is testConfig with replacements, given as old, new, ...
func edited(t testing.TB, oldnew ...string) string {
	t.Helper()
	for i := 0; i < len(oldnew); i += 2 {
		if !strings.Contains(testConfig, oldnew[i]) {
			t.Fatalf("testConfig has no %q", oldnew[i])
		}
	}
	return strings.NewReplacer(oldnew...).Replace(testConfig)
}

func parse(t testing.TB, text string) *config.Config {
	t.Helper()
	cfg, err := config.Parse("hbagent.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// A world is several agents without their tasks.
type world struct {
	t     *testing.T
	text  string // of the config
	dir   string
	start time.Time

	newVoters bool     // the next boot is told --new-voters
	keyFile   [][]byte // of every node; nil: no encryption

	mu     sync.Mutex
	nodes  map[string]*testNode
	probes chan uint64                         // cookies of frames that try the way to an old owner
	open   map[string]map[string]time.Duration // group, node: the deadline; by this nobody may see two
}

// testNode is one run of one agent.
type testNode struct {
	*loop
	w        *world
	api      *api
	agent    *agent // what reloads; it has no tasks but awaitVoters
	addrs    *fakeAddresses
	states   map[string]uint64 // by sender, the newest that arrived; belongs to the loop
	seq      uint64            // of what this node has published; belongs to the loop
	checkSeq uint64            // of the last state given by check
	service  *fakeRole         // of the group web, if it has a role
	stop     context.CancelCauseFunc
	done     chan struct{}
	err      error // of run, once done

	mu    sync.Mutex
	jump  time.Duration // how far this node's clocks are ahead
	slept time.Duration // part of jump that CLOCK_MONOTONIC did not see
	set   time.Duration // how far the wall clock was moved
	cut   bool          // from every other node

	ring   [][]byte          // the keys in force
	unread map[string]uint64 // by sender: what could not be decrypted

	ignores      string              // a method that this node does not answer
	freshFailure string              // of a check that is run by hand
	onCall       func(method string) // sees every call to this node before it is answered,
	onAnswer     func(method string) // and after
}

func newWorld(t *testing.T, text string) *world {
	return &world{
		t: t, text: text, dir: t.TempDir(), start: time.Now().Add(-time.Hour), // a machine that has been up for a while
		nodes: make(map[string]*testNode), probes: make(chan uint64, 16), open: make(map[string]map[string]time.Duration),
	}
}

// boot starts the agent of a node. Its run directory stays, so that a second boot is a restart.
func (w *world) boot(name string) *testNode {
	w.t.Helper()
	cfg := parse(w.t, w.text)
	log := slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})).With("node", name)
	n := &testNode{w: w, loop: newLoop(log, cfg, name), states: make(map[string]uint64), done: make(chan struct{})}
	n.loop.boot = n.bootClock
	n.clock.boot, n.clock.mono, n.clock.wall = n.bootClock, n.monoClock, n.wallClock
	n.addrs = &fakeAddresses{n: n}
	n.loop.addrs, n.loop.net = n.addrs, n
	n.store = &store{path: filepath.Join(w.dir, name+".json"), bootID: "boot"}
	n.makeRoles(filepath.Join(w.dir, name+".services"))
	n.history = openHistory(filepath.Join(w.dir, name+".events"), name, false, log)
	var err error
	n.measured()
	n.makeKeys(filepath.Join(w.dir, name+".keys"))
	n.maintenanceStore = &maintenanceFile{path: filepath.Join(w.dir, name+".maintenance")}
	if n.maintenance, err = n.maintenanceStore.read(); err != nil {
		w.t.Fatal(err)
	}
	record, err := n.store.load()
	if err != nil {
		w.t.Fatal(err)
	}
	if n.runIDValue, err = identity(record, cfg, name); err != nil {
		w.t.Fatal(err)
	}
	n.agent = &agent{loop: n.loop, log: log, metrics: n.loop.metrics, page: &fakePage{}, opts: Options{
		ConfigFile: filepath.Join(w.dir, name+".toml"), Node: name, StateDir: filepath.Join(w.dir, name+".state"), NewVoters: w.newVoters,
	}}
	var last machineState
	if n.agent.state, last, err = begin(n.agent.opts, cfg, time.Now()); err != nil {
		w.t.Fatal(err)
	}
	n.begins(n.agent.state)
	if n.machine, err = lease.New(n.now(), leaseConfig(cfg, name, n.runIDValue, n.agent.state, last, record)); err != nil {
		w.t.Fatal(err)
	}
	n.rememberClaims()
	ctx, stop := context.WithCancelCause(context.Background())
	n.stop = stop
	n.hooks = newHooks(ctx, log, n.history)
	n.hooks.metrics = n.metrics
	n.api = newAPI(n.loop, log)
	fake := func(checks.Spec, checks.Options) (checks.Checker, error) { return (*freshCheck)(n), nil }
	if n.api.runner, err = checks.NewRunner(checkSpecs(cfg, name), func(checks.State) {}, checks.Options{New: fake}); err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.nodes[name] = n
	w.mu.Unlock()
	go func() {
		defer close(n.done)
		var tasks sync.WaitGroup
		tasks.Go(func() { _ = n.agent.awaitVoters(ctx) })
		n.runRoles(ctx, &tasks)
		tasks.Go(func() { _ = n.api.watchKeys(ctx) })
		n.err = n.run(ctx)
		stop(context.Canceled)
		tasks.Wait()
	}()
	w.t.Cleanup(func() { n.kill(context.Canceled) })
	w.meet(n)
	return n
}

// freshCheck answers a check that is run by hand; the tests tell the loop of the states themselves.
type freshCheck testNode

func (n *freshCheck) Check(context.Context) checks.Result {
	n.mu.Lock()
	defer n.mu.Unlock()
	return checks.Result{OK: n.freshFailure == "", Message: n.freshFailure}
}

// fail makes the checks of a node fail; with "" they pass.
func (n *testNode) fail(message string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.freshFailure = message
}

// runChecks runs the checks of a node by their schedule.
func (n *testNode) runChecks(t *testing.T) {
	t.Helper()
	fake := func(checks.Spec, checks.Options) (checks.Checker, error) { return (*freshCheck)(n), nil }
	onChange := func(s checks.State) { n.tell(func() { n.checkChanged(s) }) }
	var err error
	if n.api.runner, err = checks.NewRunner(checkSpecs(n.cfg, n.node), onChange, checks.Options{New: fake}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := n.api.runner.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// bootAll starts three agents whose checks pass.
func (w *world) bootAll() (web1, web2, db1 *testNode) {
	w.t.Helper()
	web1, web2, db1 = w.boot("web1"), w.boot("web2"), w.boot("db1")
	web1.check("web", checks.Passing, "")
	web2.check("web", checks.Passing, "")
	return web1, web2, db1
}

// settled starts three agents, and waits until web1 owns the group.
func settled(t *testing.T, text string) (w *world, web1, web2, db1 *testNode) {
	t.Helper()
	w = newWorld(t, text)
	web1, web2, db1 = w.bootAll()
	w.wait(3 * testTTL)
	w.owned("web1")
	return w, web1, web2, db1
}

// meet tells the nodes that can reach each other that they are alive, and of their states.
func (w *world) meet(n *testNode) {
	for _, other := range w.others(n) {
		if n.isCut() || other.isCut() {
			continue
		}
		n.tell(func() { n.peerAlive(other.node, true, cluster.ReasonJoined) })
		other.tell(func() { other.peerAlive(n.node, true, cluster.ReasonJoined) })
		other.tell(func() { other.deliver(n, other.published, other.seq) })
	}
}

// part tells every node that another is gone.
func (w *world) part(n *testNode) {
	for _, other := range w.others(n) {
		n.tell(func() { n.peerAlive(other.node, false, cluster.ReasonFailed) })
		other.tell(func() { other.peerAlive(n.node, false, cluster.ReasonFailed) })
	}
}

func (w *world) others(n *testNode) []*testNode {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []*testNode
	for _, other := range w.nodes {
		if other.node != n.node {
			out = append(out, other)
		}
	}
	return out
}

// wait lets time pass, and every loop finish what it does.
func (w *world) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// owned asserts who has the group web open, and that every node knows. Empty: nobody.
func (w *world) owned(want string) {
	w.t.Helper()
	if got := w.holders("web"); !slices.Equal(got, slices.DeleteFunc([]string{want}, func(s string) bool { return s == "" })) {
		w.t.Fatalf("%v have web open, want %q", got, want)
	}
	for _, n := range w.alive() {
		if n.isCut() {
			continue
		}
		n.look(func() {
			if got := n.groups["web"].owner; got != want {
				w.t.Errorf("%s thinks that %q owns web, want %q", n.node, got, want)
			}
		})
	}
}

func (w *world) alive() []*testNode {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []*testNode
	for _, n := range w.nodes {
		select {
		case <-n.done:
		default:
			out = append(out, n)
		}
	}
	return out
}

// holders are the nodes that have a group open and within its deadline.
func (w *world) holders(group string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for node, deadline := range w.open[group] {
		if w.nodes[node].bootClock() < deadline {
			out = append(out, node)
		}
	}
	slices.Sort(out)
	return out
}

// kill ends a node's loop. With context.Canceled it leaves everything as it is, like a restart does.
func (n *testNode) kill(cause error) {
	n.stop(cause)
	<-n.done
	n.history.close()
}

// tell posts to the loop without waiting.
func (n *testNode) tell(f func()) { n.post(context.Background(), f) }

// look runs f in the loop, and waits until all that it causes is done.
func (n *testNode) look(f func()) {
	n.w.t.Helper()
	if err := n.do(context.Background(), f); err != nil {
		n.w.t.Fatalf("%s: %v", n.node, err)
	}
	synctest.Wait()
}

// check tells the loop of a check's state, and waits until that has had its effect.
func (n *testNode) check(name string, status checks.Status, message string) {
	n.w.t.Helper()
	n.checkSeq++
	st := checks.State{Name: name, Type: "tcp", Required: true, Status: status, Message: message, Since: time.Now(), Seq: 1000 + n.checkSeq}
	n.look(func() { n.checkChanged(st) })
}

// events returns what this node's history has of a kind, as "from>to: reason".
func (n *testNode) events(kind string) []string {
	var out []string
	for _, e := range n.history.since(time.Time{}, 0) {
		if e.Kind == kind {
			out = append(out, fmt.Sprintf("%s>%s: %s", e.From, e.To, e.Reason))
		}
	}
	return out
}
