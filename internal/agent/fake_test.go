package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hbagent/hbagent/pkg/cluster"
	"github.com/hbagent/hbagent/pkg/vip"
)

// SendLease implements network.
func (n *testNode) SendLease(node string, payload []byte) error {
	n.w.mu.Lock()
	to := n.w.nodes[node]
	n.w.mu.Unlock()
	if to != nil && !n.isCut() && !to.isCut() && to.reads(n) {
		to.leaseMessage(slices.Clone(payload))
	}
	return nil
}

// Publish implements network.
func (n *testNode) Publish(s cluster.NodeState) error {
	n.seq++
	for _, other := range n.w.others(n) {
		n.deliver(other, s, n.seq)
	}
	return nil
}

// deliver brings a state to another node, unless a newer one was quicker.
func (n *testNode) deliver(to *testNode, s cluster.NodeState, seq uint64) {
	s.Node, s.Seq = n.node, seq
	if s.RunID == "" || n.isCut() || to.isCut() || !to.reads(n) {
		return
	}
	go to.tell(func() {
		if seq > to.states[n.node+s.RunID+s.Started.String()] {
			to.states[n.node+s.RunID+s.Started.String()] = seq
			to.peerState(s)
		}
	})
}

// Call implements network: it does not wait longer than ctx, and what it has asked for is done all the same.
func (n *testNode) Call(ctx context.Context, node, method string, body []byte) ([]byte, error) {
	type answer struct {
		body []byte
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		body, err := n.call(context.WithoutCancel(ctx), node, method, body)
		done <- answer{body, err}
	}()
	select {
	case a := <-done:
		return a.body, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (n *testNode) call(ctx context.Context, node, method string, body []byte) ([]byte, error) {
	n.w.mu.Lock()
	to := n.w.nodes[node]
	n.w.mu.Unlock()
	if to == nil || n.isCut() || to.isCut() {
		return nil, errors.New("unreachable")
	}
	if !to.reads(n) {
		return nil, errors.New("timeout")
	}
	to.mu.Lock()
	onCall, onAnswer := to.onCall, to.onAnswer
	to.mu.Unlock()
	if onCall != nil {
		onCall(method)
	}
	if to.isCut() || !to.runs() || to.ignores == method {
		return nil, errors.New("timeout")
	}
	answer, err := (&peers{api: to.api, ctx: context.Background()}).Call(ctx, n.node, method, body)
	if onAnswer != nil {
		onAnswer(method)
	}
	if !n.reads(to) {
		return nil, errors.New("timeout")
	}
	return answer, err
}

// RTT implements network.
func (n *testNode) RTT() map[string]time.Duration { return nil }

// fakeAddresses tells the world who has what, and fails the test when two nodes have the same.
type fakeAddresses struct {
	n *testNode

	mu       sync.Mutex
	calls    []string
	openErr  error
	renewErr error // of the next renewal
	renewed  []int // groups of each renewal
	lateOnce bool  // the next Open comes too late for its lease
	openTook time.Duration
	shutErr  error
	squatter net.HardwareAddr // answers probes
	looks    int              // calls of ProbeAll
	groups   []vip.Group      // of the last Reconfigure

	fakeDrain
}

func (f *fakeAddresses) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
}

// said returns the calls since the last time.
func (f *fakeAddresses) said() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer func() { f.calls = nil }()
	return f.calls
}

func (f *fakeAddresses) Open(group string, deadline time.Duration) error {
	f.mu.Lock()
	err, took := f.openErr, f.openTook
	if f.lateOnce {
		f.lateOnce, err = false, vip.ErrDeadline
	}
	f.mu.Unlock()
	f.note("open %s", group)
	if s := f.n.service; s != nil && !s.writable() {
		f.n.w.t.Errorf("%s opens %s over a service that is read-only", f.n.node, group)
	}
	time.Sleep(took)
	if err != nil {
		return err
	}
	return f.hold(group, deadline)
}

func (f *fakeAddresses) RenewAll(deadlines map[string]time.Duration) map[string]error {
	failed := make(map[string]error)
	f.mu.Lock()
	f.renewed = append(f.renewed, len(deadlines))
	err := f.renewErr
	f.renewErr = nil
	f.mu.Unlock()
	for group, deadline := range deadlines {
		if err == nil {
			err = f.hold(group, deadline)
		}
		if err != nil {
			failed[group] = err
		}
	}
	return failed
}

func (f *fakeAddresses) hold(group string, deadline time.Duration) error {
	for _, other := range f.n.w.holders(group) {
		if other != f.n.node {
			f.n.w.t.Errorf("%s opens %s while %s has it", f.n.node, group, other)
		}
	}
	w := f.n.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open[group] == nil {
		w.open[group] = make(map[string]time.Duration)
	}
	w.open[group][f.n.node] = deadline
	return nil
}

func (f *fakeAddresses) Shut(group, reason string) error {
	f.note("shut %s: %s", group, reason)
	f.mu.Lock()
	err := f.shutErr
	f.mu.Unlock()
	f.n.w.mu.Lock()
	defer f.n.w.mu.Unlock()
	delete(f.n.w.open[group], f.n.node)
	return err
}

func (f *fakeAddresses) Reannounce(group string) { f.note("reannounce %s", group) }
func (f *fakeAddresses) Defend(group string)     { f.note("defend %s", group) }

func (f *fakeAddresses) ProbeAll(ctx context.Context, groups []string, claimed func(string, vip.Claim)) (silent []string) {
	f.mu.Lock()
	mac := f.squatter
	f.looks++
	f.mu.Unlock()
	if mac == nil {
		<-ctx.Done() // silence is known when the time is over
		return groups
	}
	for _, g := range groups {
		claimed(g, vip.Claim{Addr: netip.MustParseAddr("10.0.0.50"), MAC: mac})
	}
	return nil
}

func (f *fakeAddresses) Holding(groups ...string) map[string][]netip.Addr {
	out := make(map[string][]netip.Addr)
	for _, g := range groups {
		if slices.Contains(f.n.w.holders(g), f.n.node) {
			out[g] = []netip.Addr{netip.MustParseAddr("10.0.0.50")}
		}
	}
	return out
}

// Reconfigure shuts what is gone, as the real one does.
func (f *fakeAddresses) Reconfigure(groups []vip.Group) error {
	f.note("reconfigure")
	f.mu.Lock()
	old := f.groups
	f.groups = groups
	f.mu.Unlock()
	if old == nil {
		old = vipGroups(f.n.cfg, f.n.node)
	}
	for _, g := range old {
		if !slices.ContainsFunc(groups, func(h vip.Group) bool { return h.Name == g.Name }) {
			if err := f.Shut(g.Name, "removed"); err != nil {
				return err
			}
		}
	}
	return nil
}

var (
	_ addresses = (*fakeAddresses)(nil)
	_ network   = (*testNode)(nil)
)
