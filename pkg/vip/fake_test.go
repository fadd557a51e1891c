package vip

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/bpf"
)

// fakeKernel is Linux as far as this package asks, in memory: links, addresses with lifetimes on the clock of
// the test, a feed of changes, and wires that remember. Every call is written down in trace.
type fakeKernel struct {
	neighbours []net.HardwareAddr
	listed     int // how often they were asked for

	mu    sync.Mutex
	now   func() time.Duration
	links []link
	addrs map[placed]time.Duration // until when
	trace []string
	feeds []*fakeFeed
	sent  [][]byte

	onPut func(a netip.Addr) error // called before an address is added, without the lock
	onSub func() error

	onRemove func() error // called before an address is deleted
	onList   func() error // called after connections were listed

	onSend func(frame []byte) error // called before a frame is sent, without the lock

	flows, destroyed int // connections that there are, and that were ended
}

func newFake(now func() time.Duration) *fakeKernel {
	return &fakeKernel{
		now:   now,
		links: []link{{Name: "eth0", Index: 2, MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, AdminUp: true, Up: true}},
		addrs: make(map[placed]time.Duration),
	}
}

func (k *fakeKernel) note(s string) {
	k.mu.Lock()
	k.trace = append(k.trace, s)
	k.mu.Unlock()
}

// story returns the trace and begins a new one.
func (k *fakeKernel) story() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := k.trace
	k.trace = nil
	return t
}

func (k *fakeKernel) Link(name string) (link, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, l := range k.links {
		if l.Name == name {
			return l, nil
		}
	}
	return link{}, ErrNoInterface
}

func (k *fakeKernel) Links() ([]link, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.links), nil
}

func (k *fakeKernel) Addresses() ([]placed, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []placed
	for p, until := range k.addrs {
		if k.now() < until {
			out = append(out, p)
		}
	}
	return out, nil
}

func (k *fakeKernel) Put(index int, a netip.Addr, valid int) error {
	if k.onPut != nil {
		if err := k.onPut(a); err != nil {
			return err
		}
	}
	k.note("put " + a.String())
	k.mu.Lock()
	defer k.mu.Unlock()
	if !slices.ContainsFunc(k.links, func(l link) bool { return l.Index == index }) {
		return ErrNoInterface
	}
	k.addrs[placed{index, host(a)}] = k.now() + time.Duration(valid)*time.Second
	return nil
}

func (k *fakeKernel) Remove(index int, a netip.Addr) error {
	if k.onRemove != nil {
		if err := k.onRemove(); err != nil {
			return err
		}
	}
	k.note("remove " + a.String())
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.addrs, placed{index, host(a)})
	return nil
}

// steal deletes an address as somebody else would: the feed tells.
func (k *fakeKernel) steal(index int, a netip.Addr) {
	k.mu.Lock()
	delete(k.addrs, placed{index, host(a)})
	feeds := slices.Clone(k.feeds)
	k.mu.Unlock()
	for _, f := range feeds {
		f.tell(change{gone: host(a)})
	}
}

// takeSilently deletes an address, and the report is lost.
func (k *fakeKernel) takeSilently(index int, a netip.Addr) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.addrs, placed{index, host(a)})
}

// feed is the i-th subscription.
func (k *fakeKernel) feed(i int) *fakeFeed {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.feeds[i]
}

func (k *fakeKernel) Neighbours(_, limit int) ([]net.HardwareAddr, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.listed++
	return k.neighbours[:min(limit, len(k.neighbours))], nil
}

// lists is how often the neighbours were asked for.
func (k *fakeKernel) lists() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.listed
}

func (k *fakeKernel) Forwarding(string) bool                  { return false }
func (k *fakeKernel) Settled(int, []netip.Addr) (bool, error) { return true, nil }

func (k *fakeKernel) Destroy(flows []flow) error {
	k.mu.Lock()
	k.destroyed += len(flows)
	k.mu.Unlock()
	return nil
}

func (k *fakeKernel) Connections(_ []netip.Addr, _ uint32, each func(flow)) error {
	for range k.flows {
		each(flow{})
	}
	if k.onList != nil {
		return k.onList()
	}
	return nil
}

func (k *fakeKernel) Close() error { return nil }

func (k *fakeKernel) Subscribe() (subscription, error) {
	if k.onSub != nil {
		if err := k.onSub(); err != nil {
			return nil, err
		}
	}
	f := &fakeFeed{changes: make(chan change, 16)}
	f.ctx, f.end = context.WithCancelCause(context.Background())
	k.mu.Lock()
	k.feeds = append(k.feeds, f)
	k.mu.Unlock()
	return f, nil
}

func (k *fakeKernel) Dial(link) (wire, error) { return newFakeWire(k), nil }

func (k *fakeKernel) Listen(link, int, []bpf.RawInstruction) (wire, error) {
	return newFakeWire(k), nil
}

// frames returns what was sent and begins anew.
func (k *fakeKernel) frames() [][]byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.sent
	k.sent = nil
	return s
}

type fakeFeed struct {
	changes chan change
	ctx     context.Context
	end     context.CancelCauseFunc
}

func (f *fakeFeed) tell(c change) {
	select {
	case f.changes <- c:
	case <-f.ctx.Done():
	}
}

func (f *fakeFeed) Next() ([]change, error) {
	select {
	case c := <-f.changes:
		return []change{c}, nil
	case <-f.ctx.Done():
		return nil, context.Cause(f.ctx)
	}
}

func (f *fakeFeed) Close() { f.end(errors.New("closed")) }

// fakeWire hears nothing: Receive waits for its deadline or for Close.
type fakeWire struct {
	k    *fakeKernel
	done chan struct{}
	once sync.Once

	mu       sync.Mutex
	deadline time.Time
	moved    chan struct{} // closed when the deadline is
}

func newFakeWire(k *fakeKernel) *fakeWire {
	return &fakeWire{k: k, done: make(chan struct{}), moved: make(chan struct{})}
}

func (w *fakeWire) Send(frame []byte) error {
	if w.k.onSend != nil {
		if err := w.k.onSend(frame); err != nil {
			return err
		}
	}
	w.k.mu.Lock()
	defer w.k.mu.Unlock()
	w.k.sent = append(w.k.sent, slices.Clone(frame))
	return nil
}

func (w *fakeWire) Receive([]byte) (int, error) {
	for {
		w.mu.Lock()
		deadline, moved := w.deadline, w.moved
		w.mu.Unlock()
		var over <-chan time.Time
		if !deadline.IsZero() {
			over = time.After(time.Until(deadline))
		}
		select {
		case <-w.done:
			return 0, net.ErrClosed
		case <-over:
			return 0, os.ErrDeadlineExceeded
		case <-moved:
		}
	}
}

func (w *fakeWire) SetReadDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadline = t
	close(w.moved)
	w.moved = make(chan struct{})
	return nil
}

func (w *fakeWire) Close() error {
	w.once.Do(func() { close(w.done) })
	return nil
}

// fakeGate writes what it is told into the kernel's trace, and fails where it is told to.
type fakeGate struct {
	k    *fakeKernel
	fail map[string]error // by method
}

func (g *fakeGate) note(method, group string) error {
	g.k.note("gate " + method + " " + group)
	return g.fail[method]
}

func (g *fakeGate) Open(group string, _ time.Duration) error { return g.note("open", group) }
func (g *fakeGate) Shut(group string) error                  { return g.note("shut", group) }
func (g *fakeGate) Close(keep bool) error                    { return g.note(fmt.Sprint("close keep=", keep), "") }
func (g *fakeGate) String() string                           { return "fake" }

func (g *fakeGate) Renew(deadlines map[string]time.Duration) map[string]error {
	failed := make(map[string]error)
	for _, group := range slices.Sorted(maps.Keys(deadlines)) {
		if err := g.note("renew", group); err != nil {
			failed[group] = err
		}
	}
	return failed
}

func (g *fakeGate) SetGroups([]Group, func(string) bool) error {
	g.k.note("gate groups")
	return g.fail["groups"]
}
