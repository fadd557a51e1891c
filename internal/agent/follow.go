package agent

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/hbagent/hbagent/internal/control"
)

// Chosen by us.
const (
	// followCalls bounds the calls that all readers of this agent have waiting at other nodes: half of what a node makes
	// at a time.
	followCalls = 32
	followRetry = time.Second // after a peer that did not answer, or did so without waiting
	// moveSettle is how long a move that an observer tells of waits for the new owner's own account of it.
	moveSettle = time.Second
	// followMoves is how many moves a reader remembers: whoever tells of an older one is not recognised.
	followMoves = 1000
)

// Subscribe implements control.Agent.
func (a *api) Subscribe(ctx context.Context) (<-chan control.Event, error) {
	events, cancel := a.loop.history.subscribe()
	context.AfterFunc(ctx, cancel)
	return events, nil
}

// Follow implements control.Agent.
func (a *api) Follow(ctx context.Context, q control.EventQuery) (control.History, <-chan control.Event, error) {
	began := time.Now()
	// Before the past is read, so that nothing falls in between.
	own, cancelOwn := a.loop.history.subscribe()
	look, cancelLook := context.WithTimeout(ctx, historyPeerWait+historyLook)
	defer cancelLook()
	all, err := a.histories(look, q)
	if err != nil {
		cancelOwn()
		return control.History{}, nil, err
	}
	var peers []peerHistory
	r := &reader{fold: q.Cluster, out: make(chan control.Event, subscriberQueue), told: make(map[moveKey]bool), open: make(map[moveKey]*openMove)}
	for _, p := range all {
		if p.source.Node != a.loop.node {
			peers = append(peers, p)
			continue
		}
		r.own = true
		for _, e := range p.events {
			r.ownSeq = max(r.ownSeq, e.Seq)
		}
	}
	if n := int64(len(peers)); a.followers.Add(n) > followCalls && n > 0 {
		a.followers.Add(-n)
		cancelOwn()
		return control.History{}, nil, control.Errorf(control.CodeUnavailable,
			"too many readers follow the other nodes' events on %s already: end one, or follow with --local", a.loop.node)
	}
	past := joined(all, q)
	for _, e := range past.Events {
		r.remember(e)
	}
	ctx, cancel := context.WithCancel(ctx)
	news := make(chan control.Event)
	var wg sync.WaitGroup
	for _, p := range peers {
		wg.Go(func() { a.readPeer(ctx, p, began, news) })
	}
	go func() {
		r.run(ctx, own, news)
		cancel()
		cancelOwn()
		wg.Wait()
		a.followers.Add(-int64(len(peers)))
		close(r.out)
	}()
	return past, r.out, nil
}

// readPeer hands over what a peer records, until ctx ends. A peer that is away is asked again; what it has recorded meanwhile is
// told then.
func (a *api) readPeer(ctx context.Context, p peerHistory, began time.Time, news chan<- control.Event) {
	seq := p.last
	for _, e := range p.events {
		seq = max(seq, e.Seq)
	}
	for ctx.Err() == nil {
		req := historyRequest{Follow: true, After: seq}
		if p.last == 0 { // it has not answered yet: what it recorded since this reader began
			req.After, req.AgeMs = math.MaxUint64, max(time.Since(began).Milliseconds(), 1)
		}
		asked := time.Now()
		var ans historyAnswer
		short, cancel := context.WithTimeout(ctx, historyWait+historyPeerWait)
		err := a.call(short, p.source.Node, methodHistory, req, &ans)
		cancel()
		if err == nil {
			seq, p.last = ans.Last, max(ans.Last, 1)
			for _, e := range ans.Events {
				select {
				case news <- e:
				case <-ctx.Done():
					return
				}
			}
		}
		if err != nil || len(ans.Events) == 0 && time.Since(asked) < followRetry {
			select {
			case <-time.After(followRetry):
			case <-ctx.Done():
			}
		}
	}
}

// reader tells one follower what happens. It belongs to the goroutine of run.
type reader struct {
	own    bool   // this node's events are wanted, too
	ownSeq uint64 // the newest of this node's events that was told
	fold   bool   // a move once, whoever tells of it
	out    chan control.Event

	told  map[moveKey]bool
	order []moveKey // of told, oldest first
	open  map[moveKey]*openMove
}

// openMove waits for the best account of it.
type openMove struct {
	accounts []control.Event
	until    time.Time
}

// run ends with ctx, with the agent, and when the follower has fallen behind.
func (r *reader) run(ctx context.Context, own, news <-chan control.Event) {
	tick := time.NewTicker(moveSettle / 4)
	defer tick.Stop()
	for ok := true; ok; {
		select {
		case <-ctx.Done():
			return
		case e, open := <-own:
			if !open {
				return
			}
			if r.own && e.Seq > r.ownSeq {
				ok = r.take(e, time.Now())
			}
		case e := <-news:
			ok = r.take(e, time.Now())
		case <-tick.C:
			ok = r.settle(time.Now())
		}
	}
}

// take tells an event, or keeps it until somebody tells it better. It reports whether there was room.
func (r *reader) take(e control.Event, now time.Time) bool {
	k, move := moveOf(e)
	if !r.fold || !move {
		return r.tell(e)
	}
	if r.told[k] {
		return true
	}
	m := r.open[k]
	if m == nil {
		m = &openMove{until: now.Add(moveSettle)}
		r.open[k] = m
	}
	m.accounts = append(m.accounts, e)
	if e.Node != e.To {
		return true
	}
	return r.tellMove(k, m)
}

// settle tells the moves that have waited long enough, oldest first.
func (r *reader) settle(now time.Time) bool {
	for {
		var first moveKey
		var oldest *openMove
		for k, m := range r.open {
			if !now.Before(m.until) && (oldest == nil || k.epoch < first.epoch) {
				first, oldest = k, m
			}
		}
		if oldest == nil {
			return true
		}
		if !r.tellMove(first, oldest) {
			return false
		}
	}
}

func (r *reader) tellMove(k moveKey, m *openMove) bool {
	delete(r.open, k)
	e := fold(m.accounts)
	r.remember(e)
	return r.tell(e)
}

// remember notes a move as told.
func (r *reader) remember(e control.Event) {
	k, ok := moveOf(e)
	if !ok || r.told[k] {
		return
	}
	r.told[k] = true
	if r.order = append(r.order, k); len(r.order) > followMoves {
		delete(r.told, r.order[0])
		r.order = r.order[1:]
	}
}

func (r *reader) tell(e control.Event) bool {
	select {
	case r.out <- e:
		return true
	default:
		return false
	}
}
