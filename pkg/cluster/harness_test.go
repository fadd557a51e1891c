package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// patience is how long a test waits for an event that must come. Generous: the
// machine may be busy; events are awaited, so a quick machine does not wait.
const patience = 30 * time.Second

const testPort = 17946

var testKey = []byte("0123456789abcdef0123456789abcdef")

// networks numbers the test networks of this process: 127.x.y.0/24 each.
var networks atomic.Uint32

// network is a group of nodes to be on loopback addresses of their own.
type network struct {
	t     testing.TB
	peers []Peer
	bell  *bell
}

func newNetwork(t testing.TB, names ...string) *network {
	n := networks.Add(1)
	nw := &network{t: t, bell: newBell()}
	for i, name := range names {
		nw.peers = append(nw.peers, Peer{Name: name, Address: netip.AddrFrom4(
			[4]byte{127, byte(20 + os.Getpid()%200), byte(n), byte(i + 1)})})
	}
	return nw
}

func (nw *network) address(name string) netip.Addr {
	i := slices.IndexFunc(nw.peers, func(p Peer) bool { return p.Name == name })
	return nw.peers[i].Address
}

func (nw *network) options(name string) Options {
	return Options{
		Cluster: "shop", Node: name, RunID: "run-1-" + name, Version: "1.0", Peers: nw.peers, Port: testPort,
		Keys: [][]byte{testKey}, TTL: time.Second, Logger: testLogger(nw.t),
	}
}

// testLogger writes to the test's output with -v only: memberlist is talkative.
func testLogger(t testing.TB) *slog.Logger {
	if !testing.Verbose() || os.Getenv("HBAGENT_TEST_LOG") == "" {
		return nil
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// node is a running cluster with a recorder behind it.
type node struct {
	*Cluster
	*recorder
	stopRun context.CancelFunc
	ran     chan error
}

// Call is the Cluster's, not the recorder's.
func (n *node) Call(ctx context.Context, node, method string, body []byte) ([]byte, error) {
	return n.Cluster.Call(ctx, node, method, body)
}

func (nw *network) start(name string, change ...func(*Options)) *node {
	nw.t.Helper()
	n, err := nw.tryStart(name, change...)
	if err != nil {
		nw.t.Fatalf("start %s: %v", name, err)
	}
	return n
}

func (nw *network) tryStart(name string, change ...func(*Options)) (*node, error) {
	o := nw.options(name)
	rec := newRecorder(nw.bell)
	o.Handler = rec
	for _, f := range change {
		f(&o)
	}
	c, err := Start(o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := &node{Cluster: c, recorder: rec, stopRun: cancel, ran: make(chan error, 1)}
	go func() { n.ran <- c.Run(ctx) }()
	nw.t.Cleanup(func() { n.end(nw.t, false) })
	return n, nil
}

// startOnly starts a node without Run.
func (nw *network) startOnly(name string, change ...func(*Options)) *node {
	nw.t.Helper()
	o := nw.options(name)
	rec := newRecorder(nw.bell)
	o.Handler = rec
	for _, f := range change {
		f(&o)
	}
	c, err := Start(o)
	if err != nil {
		nw.t.Fatal(err)
	}
	nw.t.Cleanup(func() { _ = c.Close(false, patience) })
	return &node{Cluster: c, recorder: rec}
}

func (n *node) end(t testing.TB, leave bool) {
	t.Helper()
	if err := n.Close(leave, patience); err != nil {
		t.Errorf("close %s: %v", n.opts.Node, err)
	}
	n.stopRun()
	select {
	case err, ok := <-n.ran:
		if ok && err != nil {
			t.Errorf("run %s: %v", n.opts.Node, err)
		}
		if ok {
			close(n.ran)
		}
	case <-time.After(patience):
		t.Errorf("run %s does not end", n.opts.Node)
	}
}

// recorder is a Handler that remembers.
type recorder struct {
	bell *bell

	guard     sync.Mutex
	handler   func(ctx context.Context, from, method string, body []byte) ([]byte, error)
	leases    []string
	alive     map[string]bool
	reasons   map[string]string
	states    map[string]NodeState
	delivered []string // "alive web2", "state web2 1"
	problems  []Problem
}

func newRecorder(b *bell) *recorder {
	return &recorder{bell: b, alive: map[string]bool{}, reasons: map[string]string{}, states: map[string]NodeState{}}
}

func (r *recorder) LeaseMessage(b []byte) {
	r.note(func() { r.leases = append(r.leases, string(b)) })
}

func (r *recorder) PeerState(s NodeState) {
	r.note(func() {
		r.states[s.Node] = s
		r.delivered = append(r.delivered, fmt.Sprintf("state %s %d", s.Node, s.Generation))
	})
}

func (r *recorder) PeerAlive(node string, alive bool, reason string) {
	r.note(func() {
		r.alive[node], r.reasons[node] = alive, reason
		r.delivered = append(r.delivered, fmt.Sprintf("alive %s %v %s", node, alive, reason))
	})
}

func (r *recorder) Problem(p Problem) { r.note(func() { r.problems = append(r.problems, p) }) }

func (r *recorder) Call(ctx context.Context, from, method string, body []byte) ([]byte, error) {
	r.guard.Lock()
	handler := r.handler
	r.guard.Unlock()
	if handler != nil {
		return handler(ctx, from, method, body)
	}
	return nil, errors.New("unknown method " + method)
}

func (r *recorder) note(f func()) {
	r.guard.Lock()
	f()
	r.guard.Unlock()
	r.bell.ring()
}

func (r *recorder) sees(node string) bool {
	r.guard.Lock()
	defer r.guard.Unlock()
	return r.alive[node]
}

func (r *recorder) state(node string) NodeState {
	r.guard.Lock()
	defer r.guard.Unlock()
	return r.states[node]
}

func (r *recorder) reason(node string) string {
	r.guard.Lock()
	defer r.guard.Unlock()
	return r.reasons[node]
}

func (r *recorder) hasLease(payload string) bool {
	r.guard.Lock()
	defer r.guard.Unlock()
	return slices.Contains(r.leases, payload)
}

// problem returns the first of that kind.
func (r *recorder) problem(k ProblemKind) (Problem, bool) {
	r.guard.Lock()
	defer r.guard.Unlock()
	i := slices.IndexFunc(r.problems, func(p Problem) bool { return p.Kind == k })
	if i < 0 {
		return Problem{}, false
	}
	return r.problems[i], true
}

// bell lets a test wait for something to happen on any of several nodes.
type bell struct {
	mu  sync.Mutex
	rng chan struct{}
}

func newBell() *bell { return &bell{rng: make(chan struct{})} }

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.rng)
	b.rng = make(chan struct{})
}

func (b *bell) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rng
}

// await waits until cond holds, looking after each event, and returns how long it took.
func (nw *network) await(what string, cond func() bool) time.Duration {
	nw.t.Helper()
	start := time.Now()
	deadline := time.After(patience)
	for {
		next := nw.bell.next()
		if cond() {
			return time.Since(start)
		}
		select {
		case <-next:
		case <-deadline:
			nw.t.Fatalf("in %v it did not happen that %s", patience, what)
		}
	}
}

// awaitMesh waits until all nodes see each other.
func (nw *network) awaitMesh(nodes ...*node) time.Duration {
	nw.t.Helper()
	return nw.await("all nodes see each other", func() bool {
		for _, a := range nodes {
			for _, b := range nodes {
				if a != b && !a.sees(b.opts.Node) {
					return false
				}
			}
		}
		return true
	})
}

// waitRing waits a moment for any event; it never satisfies a condition itself.
func waitRing(nw *network) bool {
	select {
	case <-nw.bell.next():
	case <-time.After(100 * time.Millisecond): // the datagram was lost: send again
		nw.bell.ring()
	}
	return false
}

// poll waits for what no event tells of.
func poll(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); {
		if time.Now().After(deadline) {
			t.Fatalf("in %v it did not happen that %s", patience, what)
		}
		<-time.After(10 * time.Millisecond)
	}
}
