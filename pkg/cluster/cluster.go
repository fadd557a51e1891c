package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	"golang.org/x/sync/singleflight"
)

// Cluster is this node's end of the common wire. Its methods are safe for
// concurrent use.
type Cluster struct {
	opts     Options
	logger   *slog.Logger
	instance uint64 // differs with each Start
	ml       *memberlist.Memberlist
	net      *transport
	problems *problems

	keyMu   sync.Mutex
	keyring *memberlist.Keyring // nil: no encryption

	seal    atomic.Pointer[sealer] // of probes; replaced with the keys
	leases  atomic.Pointer[leaseWire]
	probing *probing
	backs   singleflight.Group // streams that peers have asked for

	// Fixed at Start.
	peers     map[string]*peer          // without ourselves
	order     []*peer                   // by name: news are delivered in this order
	addresses map[string]netip.AddrPort // of all configured nodes
	forbidden map[netip.Addr]bool

	news     chan struct{} // wakes Run's deliveries
	made     chan struct{} // one for each call being made
	served   chan struct{} // one for each call being executed
	refusals chan struct{} // one for each refusal being sent
	joining  chan struct{} // one for each join under way
	lastCall atomic.Uint64
	stats    struct{ leasesIn, leasesOut atomic.Uint64 }

	ctx       context.Context // ends with Close
	stop      context.CancelFunc
	running   atomic.Bool
	life      sync.Mutex // guards closed, and so wg.Add against wg.Wait
	closed    bool
	wg        sync.WaitGroup
	closeOnce sync.Once

	mu          sync.Mutex // taken inside memberlist's node lock: see the package doc
	incarnation uint64     // of our states and calls; only grows
	seq         uint64     // of our last state
	own         known
	pending     map[uint64]pendingCall // at most maxMadeCalls
}

// Start checks the options, binds the node's own address and begins to listen.
// Errors say what to change. Call Run next, and Close at the end.
func Start(o Options) (*Cluster, error) {
	o, err := o.normalize()
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	c, err := newCluster(o)
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	return c, nil
}

func newCluster(o Options) (*Cluster, error) {
	now := uint64(time.Now().UnixNano())
	c := &Cluster{
		opts: o, logger: o.Logger, instance: now, incarnation: now,
		peers: map[string]*peer{}, addresses: map[string]netip.AddrPort{}, forbidden: map[netip.Addr]bool{},
		news: make(chan struct{}, 1), pending: map[uint64]pendingCall{},
		made:     make(chan struct{}, maxMadeCalls),
		served:   make(chan struct{}, maxServedCalls),
		refusals: make(chan struct{}, maxRefusals),
		joining:  make(chan struct{}, joinsAtOnce),
	}
	c.problems = &problems{wake: c.wakeNews, now: time.Now, last: map[problemKey]time.Time{}}
	for _, a := range o.Forbidden {
		c.forbidden[a] = true
	}
	byAddr := map[netip.Addr]*peer{}
	for _, p := range o.Peers {
		c.addresses[p.Name] = netip.AddrPortFrom(p.Address, uint16(o.Port))
		if p.Name != o.Node {
			q := newPeer(p, o.Port)
			c.peers[p.Name], byAddr[p.Address] = q, q
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.peers)) {
		c.order = append(c.order, c.peers[name])
	}
	var err error
	if c.keyring, err = newKeyring(o.Keys); err != nil {
		return nil, err
	}
	seal, err := newSealer(o.Cluster, o.Keys)
	if err != nil {
		return nil, err
	}
	c.seal.Store(seal)
	leases, err := newLeaseWire(o.Cluster, o.Keys)
	if err != nil {
		return nil, err
	}
	c.leases.Store(leases)
	if c.net, err = newTransport(c.addresses[o.Node], byAddr, o.Logger); err != nil {
		return nil, err
	}
	c.probing = newProbing(o.Node, c.seal.Load)
	c.probing.send = func(b []byte, to netip.AddrPort) error {
		_, err := c.net.udp.WriteToUDPAddrPort(b, to)
		return err
	}
	c.probing.dial = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
		return dialFrom(ctx, c.net.self.Addr(), to)
	}
	c.net.probe, c.net.probeStream = c.takeProbe, c.serveProbe
	c.net.heard = heard
	c.net.sniff = c.sniff
	c.net.lease = c.takeLease
	c.net.stranger = c.reportStranger
	c.net.overload = c.reportOverload

	logs := &logAdapter{logger: o.Logger, report: c.problems.report, self: o.Node, byAddr: func(a netip.Addr) string {
		if p := byAddr[a]; p != nil {
			return p.name
		}
		return ""
	}, unreadable: func(node string) {
		if p := c.peers[node]; p != nil {
			p.unreadableAt.Store(time.Now().UnixNano())
			p.unreadable.Add(1)
		}
	}}
	c.ctx, c.stop = context.WithCancel(context.Background())
	if c.ml, err = memberlist.Create(memberlistConfig(o, c, c.net, logs.stdlib())); err != nil {
		c.stop()
		_ = c.net.Shutdown()
		return nil, err
	}
	c.net.start()
	return c, nil
}

// heard is called for each packet: a peer we believe dead is joined soon (heardJoin).
func heard(p *peer) {
	if p.wantJoin.Load() {
		p.wakeJoin()
	}
}

func (c *Cluster) reportStranger(from netip.AddrPort, cluster string) {
	says := ""
	if cluster != "" {
		says = fmt.Sprintf(" of cluster %q", cluster)
	}
	// Without the port, which may differ with each packet.
	c.problems.report(Problem{Kind: UnknownPeer, Addr: from, Detail: fmt.Sprintf(
		"packets%s from %s, which is no configured node's address, are dropped: is a [[node]] missing here, or does that machine send from another address of its own?",
		says, from.Addr())})
}

func (c *Cluster) reportOverload(from netip.AddrPort, limit int) {
	c.problems.report(Problem{Kind: Overload, Addr: from, Detail: fmt.Sprintf(
		"%d streams are open, one more from %s was refused: is this machine short of CPU?", limit, from.Addr())})
}

// Run keeps the peers joined, spreads states, and delivers news to the Handler
// until ctx ends or Close is called; then it returns nil. Once only.
func (c *Cluster) Run(ctx context.Context) error {
	if c.running.Swap(true) {
		return errors.New("cluster: Run was called before")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()

	var wg sync.WaitGroup
	for _, p := range c.order {
		wg.Go(func() { c.keepJoined(ctx, p) })
		wg.Go(func() { c.keepTold(ctx, p) })
	}
	wg.Go(func() { c.deliverNews(ctx) })
	wg.Wait()
	return nil
}

func (c *Cluster) wakeNews() { wake(c.news) }

// deliverNews tells the handler what changed, one thing at a time. What waits is
// kept per peer and per problem, so nothing grows when the handler is slow.
func (c *Cluster) deliverNews(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.news:
		}
		for _, p := range c.order {
			c.mu.Lock()
			alive, reason, aliveNew := p.alive, p.reason, p.alive != p.toldAlive || !p.alive && p.reason != p.toldReason
			state, stateNew := p.known.state, p.known.version().newerThan(p.toldState)
			p.toldAlive, p.toldReason, p.toldState = alive, reason, state.version()
			c.mu.Unlock()
			if aliveNew {
				c.opts.Handler.PeerAlive(p.name, alive, reason)
			}
			if stateNew {
				c.opts.Handler.PeerState(state)
			}
		}
		for _, p := range c.problems.take() {
			c.opts.Handler.Problem(p)
		}
	}
}

// SendLease sends payload to node's configured address as one datagram, in the
// caller's goroutine. No error means it left this machine, not that it arrived.
func (c *Cluster) SendLease(node string, payload []byte) error {
	p := c.peers[node]
	if p == nil {
		return fmt.Errorf("cluster: send lease to %q: not a configured peer", node)
	}
	if len(payload) > maxLease {
		return fmt.Errorf("cluster: send lease to %s: %d bytes, at most %d: %w", node, len(payload), maxLease, errTooLarge)
	}
	if err := c.sendLease(p, payload); err != nil {
		return fmt.Errorf("cluster: send lease to %s: %w", node, err)
	}
	c.stats.leasesOut.Add(1)
	return nil
}

// Alive tells which configured nodes answer probes; this node is always one.
func (c *Cluster) Alive() map[string]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	alive := map[string]bool{c.opts.Node: true}
	for name, p := range c.peers {
		alive[name] = p.alive
	}
	return alive
}

// RTT returns smoothed round trips of probes to peers. One that no probe has
// answered yet is missing; one that died keeps its last value.
func (c *Cluster) RTT() map[string]time.Duration {
	rtts := map[string]time.Duration{}
	for name, p := range c.peers {
		if rtt := p.rtt.Load(); rtt > 0 {
			rtts[name] = time.Duration(rtt)
		}
	}
	return rtts
}

// Stats count since Start.
type Stats struct {
	PacketsIn, PacketsOut uint64 // datagrams from and to peers
	BytesIn, BytesOut     uint64 // in those datagrams, without IP and UDP headers
	StreamsIn, StreamsOut uint64
	LeasesIn, LeasesOut   uint64
	Strangers             uint64 // packets and streams of unknown addresses, dropped unread
	StreamsRefused        uint64 // of peers, too many at a time
	// Problems count each time that one was met, where Handler.Problem is told once a
	// minute. Of WrongKey, Overload and UnknownPeer that is once for each message.
	Problems map[ProblemKind]uint64
}

// Stats returns the counters.
func (c *Cluster) Stats() Stats {
	s := &c.net.stats
	return Stats{
		PacketsIn: s.packetsIn.Load(), PacketsOut: s.packetsOut.Load(),
		BytesIn: s.bytesIn.Load(), BytesOut: s.bytesOut.Load(),
		StreamsIn: s.streamsIn.Load(), StreamsOut: s.streamsOut.Load(),
		LeasesIn: c.stats.leasesIn.Load(), LeasesOut: c.stats.leasesOut.Load(),
		Strangers: s.strangers.Load(), StreamsRefused: s.refused.Load(),
		Problems: c.problems.counts(),
	}
}

// spawn runs fn in a goroutine that Close waits for; false after Close.
func (c *Cluster) spawn(fn func()) bool {
	c.life.Lock()
	defer c.life.Unlock()
	if c.closed {
		return false
	}
	c.wg.Go(fn)
	return true
}

// await runs fn, which may block longer than ctx, and stops waiting when ctx ends.
func (c *Cluster) await(ctx context.Context, fn func() error) error {
	done := make(chan error, 1)
	if !c.spawn(func() { done <- fn() }) {
		return ErrClosed
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
