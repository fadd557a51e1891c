package cluster

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// Healing and spreading times. Chosen by us.
const (
	minJoinDelay = 1 * time.Second       // between tries to join a peer; also after anything heard from it
	maxJoinDelay = 5 * time.Second       // a dead peer costs one refused or unanswered dial in that time
	joinRounds   = 3                     // exchanges per try: the first tells each side of its death, the second carries the refutations
	joinPause    = 50 * time.Millisecond // between them: the other side merges after it has answered
	pushGap      = 20 * time.Millisecond // states to one peer, at most one in this time,
	pushSpread   = 1 * time.Millisecond  // or in this times the nodes: all of them tell all,
	pushRate     = 1 << 20               // and not more than these bytes a second: a state of hundreds of groups takes the reader a while
	joinSpread   = 20 * time.Millisecond // times the nodes: joins begin at random within it, so that what one brings spares the others
	joinsDirect  = 16                    // nodes up to which one that starts joins each of them, alive or not: gossip of it would take a second or more
	joinsAtOnce  = 8                     // a hundred nodes that start together would each open a stream to each other one
	rttWeight    = 8                     // round trips: new = old + (sample - old)/8, as TCP does (RFC 6298)
)

// Reasons given to Handler.PeerAlive.
const (
	ReasonJoined = "joined"                 // seen for the first time, or again
	ReasonFailed = "does not answer probes" // neither to us nor to those we asked
	ReasonLeft   = "left"                   // said goodbye
)

// peer is another configured node.
type peer struct {
	name string
	addr netip.AddrPort
	node memberlist.Node    // to send streams without asking membership
	dest memberlist.Address // to send datagrams likewise

	// wantJoin: not alive, and did not say goodbye. Read for each packet received.
	wantJoin atomic.Bool
	rtt      atomic.Int64 // smoothed, nanoseconds; 0: not measured
	push     chan struct{}
	join     chan struct{}

	sight        atomic.Pointer[KeySight] // see sniff
	sniffed      time.Time                // the read loop's
	unreadable   atomic.Uint64
	unreadableAt atomic.Int64 // Unix time in nanoseconds
	answering    answering    // of the goroutine that reads packets

	// Guarded by Cluster.mu.
	alive        bool
	reason       string // of the last change
	instance     uint64 // from its metadata: which start of the agent it is
	runID        string
	runIDBefore  string // the one before, to notice two agents taking turns
	runIDReturns int    // how often that came back
	leftInstance uint64 // the instance that said goodbye
	incarnation  uint64 // highest known; calls name it
	replay       replayWindow
	known        known
	wanted       map[string]bool // nodes whose states it has asked us for: configured ones
	relaying     bool            // they are being sent
	toldAlive    bool            // what the handler was told last
	toldReason   string          //
	toldState    version         //
}

func newPeer(p Peer, port int) *peer {
	addr := netip.AddrPortFrom(p.Address, uint16(port))
	q := &peer{
		name: p.Name,
		addr: addr,
		node: memberlist.Node{Name: p.Name, Addr: p.Address.AsSlice(), Port: uint16(port)},
		dest: memberlist.Address{Addr: addr.String(), Name: p.Name},
		push: make(chan struct{}, 1),
		join: make(chan struct{}, 1),

		wanted: map[string]bool{},
	}
	q.wantJoin.Store(true)
	return q
}

// wakePush and wakeJoin never block: one wake-up waiting is enough.
func (p *peer) wakePush() { wake(p.push) }
func (p *peer) wakeJoin() { wake(p.join) }

func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// setAliveLocked records a change of liveness. c.mu is held, and often
// memberlist's node lock too.
func (c *Cluster) setAliveLocked(p *peer, alive bool, reason string) {
	if p.alive == alive {
		return
	}
	p.alive, p.reason = alive, reason
	p.wantJoin.Store(!alive && reason != ReasonLeft)
	p.wakeJoin()
	if alive {
		p.wakePush()
	}
	c.wakeNews()
}

// sampleRTT is called from memberlist's probe goroutine only.
func (p *peer) sampleRTT(sample time.Duration) {
	sample = max(sample, 1)
	if old := time.Duration(p.rtt.Load()); old != 0 {
		sample = max(old+(sample-old)/rttWeight, 1)
	}
	p.rtt.Store(int64(sample))
}

// keepJoined joins one peer when we start, and again whenever it is not alive. It sleeps without a timer while the peer is.
func (c *Cluster) keepJoined(ctx context.Context, p *peer) {
	delay := minJoinDelay
	spread := joinSpread * time.Duration(len(c.order))
	var lastJoin time.Time
	introduce := len(c.order) <= joinsDirect
	joinAt := time.Now().Add(rand.N(spread)) // zero: not at all
	join := time.NewTimer(time.Until(joinAt))
	defer join.Stop()
	plan := func(at time.Time) {
		joinAt = at
		join.Reset(time.Until(at))
	}
	for {
		select {
		case <-ctx.Done():
			return

		case <-p.join:
			// Liveness changed, or a peer we believe dead was heard.
			if c.isAlive(p) {
				if introduce {
					continue // we have heard of it, and it not of us
				}
				join.Stop()
				delay, joinAt = minJoinDelay, time.Time{}
				continue
			}
			if !p.wantJoin.Load() {
				plan(time.Now().Add(jitter(delay))) // left: it comes back when it likes
				continue
			}
			delay = minJoinDelay
			if at := heardJoin(joinAt, time.Now(), lastJoin, spread); at != joinAt {
				plan(at)
			}

		case <-join.C:
			joinAt = time.Time{}
			if c.isAlive(p) && !introduce {
				continue
			}
			if !c.mayJoin(ctx) {
				return
			}
			lastJoin = time.Now()
			if !c.isAlive(p) || introduce { // another's exchange may have brought it
				if err := c.joinPeer(ctx, p); err != nil {
					c.logger.Debug("cannot join peer", "peer", p.name, "addr", p.addr, "err", err)
				}
			}
			introduce = false
			<-c.joining
			if !c.isAlive(p) {
				plan(time.Now().Add(jitter(delay)))
				delay = min(delay*3/2, maxJoinDelay)
			}
		}
	}
}

// heardJoin returns when to join a peer that is heard and not alive: at random within spread, but not sooner than minJoinDelay
// after the last try. Where many look at it, it mostly refutes its death before anybody has to join it. planned is when it was
// to be joined so far (zero: not at all), and stays where that is soon enough: each packet of the peer asks here, and the
// earliest of many draws would be no spread.
func heardJoin(planned, now, last time.Time, spread time.Duration) time.Time {
	earliest := now
	if next := last.Add(minJoinDelay); next.After(now) {
		earliest = next
	}
	if !planned.IsZero() && !planned.After(earliest.Add(spread)) {
		return planned
	}
	return earliest.Add(rand.N(spread))
}

// keepTold gives one peer our states: the newest only, and not more often than pushGap and pushSpread allow. It runs beside keepJoined, so
// that no join, nor the queue for them, keeps a state waiting.
func (c *Cluster) keepTold(ctx context.Context, p *peer) {
	var next time.Time
	gap := max(pushGap, pushSpread*time.Duration(len(c.order)))
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.push:
		}
		if !sleep(ctx, time.Until(next)) {
			return
		}
		began := time.Now()
		size, err := c.pushState(ctx, p)
		if err != nil {
			c.logger.Debug("cannot send own state", "peer", p.name, "err", err)
		}
		next = began.Add(max(gap, time.Duration(size)*time.Second/pushRate))
	}
}

// joinPeer exchanges membership and states until both sides agree that the peer
// is alive. One exchange is not enough when one side believed the other dead: its
// higher incarnation, by which it refutes, comes with the next one.
func (c *Cluster) joinPeer(ctx context.Context, p *peer) error {
	for round := range joinRounds {
		if round > 0 && !sleep(ctx, joinPause) {
			return ctx.Err()
		}
		err := c.await(ctx, func() error {
			_, err := c.ml.Join([]string{p.name + "/" + p.addr.String()})
			return err
		})
		if err != nil {
			if m, ok := classifyJoin(err.Error()); ok {
				problem := Problem{Kind: m.kind, Node: p.name, Addr: p.addr}
				problem.Detail = problemDetail(problem, err.Error(), c.opts.Node)
				c.problems.report(problem)
			}
			return err
		}
		if c.isAlive(p) {
			return nil
		}
	}
	return nil
}

// pushState sends our newest state to p: in a datagram where it fits, so that one
// for a dead peer costs nothing; else in a stream, for which p must be alive. It returns how many bytes it had to send.
func (c *Cluster) pushState(ctx context.Context, p *peer) (size int, err error) {
	c.mu.Lock()
	raw, alive := c.own.raw, p.alive
	c.mu.Unlock()
	switch {
	case raw == nil:
		return 0, nil
	case len(raw) <= maxStateDatagram:
		return len(raw), c.ml.SendToAddress(p.dest, encodeRawState(raw))
	case !alive:
		return 0, nil // it is pushed again when it becomes alive
	}
	return len(raw), c.await(ctx, func() error { return c.ml.SendReliable(&p.node, encodeRawState(raw)) })
}

// mayJoin waits for its turn among the joins; false means ctx ended first. Whoever was let in takes one out of c.joining.
func (c *Cluster) mayJoin(ctx context.Context) bool {
	select {
	case c.joining <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (c *Cluster) isAlive(p *peer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return p.alive
}

// jitter spreads d over 75 to 125 % of it, within the bounds of join delays.
func jitter(d time.Duration) time.Duration {
	return min(max(d*3/4+rand.N(d/2), minJoinDelay), maxJoinDelay)
}

// sleep waits for d; false means ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
