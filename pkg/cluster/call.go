package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Limits of calls. Chosen by us: a cluster has a handful of people's commands and
// preflight questions at a time.
const (
	maxCallTime      = 60 * time.Second // for a caller without a deadline, and whatever it asks for
	maxServedCalls   = 32               // at a time; more are refused
	maxRefusals      = 32               // answers of that kind at a time; more are dropped
	maxMadeCalls     = 64               // at a time; more wait
	maxStaleAttempts = 3                // each side may have to learn the other's incarnation once
)

// Errors of Call, to be told apart with errors.Is.
var (
	ErrUnreachable = errors.New("node cannot be reached")
	ErrTimeout     = errors.New("no answer in time")
	ErrClosed      = errors.New("cluster is closed")
)

// RemoteError is what the other node's handler answered instead of a result, or
// why that node did not execute the call.
type RemoteError struct {
	Node string
	Msg  string
}

func (e RemoteError) Error() string { return e.Node + ": " + e.Msg }

// pendingCall waits for its answer.
type pendingCall struct {
	incarnation uint64 // ours, when asked; an answer must repeat it
	answer      chan answer
}

// Call asks node to execute method and returns its answer. It needs only the
// node's configured address, not its membership, and returns when ctx ends (60 s
// where it has no deadline). body and answer are 1 MiB at most. A call is executed
// at most once; after ErrTimeout it is unknown whether it was.
//
// Errors: ErrUnreachable, ErrTimeout, ErrClosed, RemoteError. Safe for concurrent
// use.
func (c *Cluster) Call(ctx context.Context, node, method string, body []byte) ([]byte, error) {
	result, err := c.call(ctx, node, method, body)
	if err != nil {
		return nil, fmt.Errorf("cluster: call %s on %s: %w", method, node, err)
	}
	return result, nil
}

func (c *Cluster) call(ctx context.Context, node, method string, body []byte) ([]byte, error) {
	p := c.peers[node]
	switch {
	case p == nil:
		return nil, fmt.Errorf("%w: not a configured peer", ErrUnreachable)
	case method == "" || len(method) > maxMethod:
		return nil, fmt.Errorf("method name needs 1 to %d bytes", maxMethod)
	case len(body) > maxBody:
		return nil, fmt.Errorf("body of %d bytes, at most %d: %w", len(body), maxBody, errTooLarge)
	}
	ctx, cancel := context.WithTimeout(ctx, maxCallTime)
	defer cancel()

	select {
	case c.made <- struct{}{}:
		defer func() { <-c.made }()
	case <-ctx.Done():
		return nil, timeoutError(ctx)
	}
	for range maxStaleAttempts {
		a, err := c.ask(ctx, p, method, body)
		switch {
		case err != nil:
			return nil, err
		case a.Refused == refusedStale:
			c.learnIncarnations(p, a)
		case a.Refused != "" || a.Error != "":
			return nil, RemoteError{Node: node, Msg: a.Error}
		default:
			return a.body, nil
		}
	}
	return nil, RemoteError{Node: node, Msg: "keeps calling this node's requests stale: does it restart all the time, or are two agents using one name?"}
}

// ask sends one request and waits for its answer.
func (c *Cluster) ask(ctx context.Context, p *peer, method string, body []byte) (answer, error) {
	id := c.lastCall.Add(1)
	ch := make(chan answer, 1)
	c.mu.Lock()
	pending := pendingCall{incarnation: c.incarnation, answer: ch}
	to := p.incarnation
	c.pending[id] = pending
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.pending, id)
		c.mu.Unlock()
	}()

	deadline, _ := ctx.Deadline()
	msg := encodeRequest(request{
		ID: id, From: c.opts.Node, FromIncarnation: pending.incarnation, ToIncarnation: to,
		Method: method, TimeoutMs: max(time.Until(deadline).Milliseconds(), 1), body: body,
	})
	// In a goroutine of its own, because dialling does not know ctx. It ends by the
	// transport's deadline.
	err := c.await(ctx, func() error { return c.ml.SendReliable(&p.node, msg) })
	switch {
	case ctx.Err() != nil:
		return answer{}, timeoutError(ctx)
	case errors.Is(err, ErrClosed):
		return answer{}, err
	case err != nil:
		return answer{}, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	select {
	case a := <-ch:
		return a, nil
	case <-ctx.Done():
		return answer{}, timeoutError(ctx)
	case <-c.ctx.Done():
		return answer{}, ErrClosed
	}
}

func timeoutError(ctx context.Context) error { return fmt.Errorf("%w: %w", ErrTimeout, ctx.Err()) }

// learnIncarnations prepares the next attempt. A request refused as stale was not
// executed, so asking again keeps "at most once".
func (c *Cluster) learnIncarnations(p *peer, a answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.incarnation = a.Incarnation
	if a.Seen > c.incarnation {
		c.raiseIncarnationLocked(a.Seen)
	}
}

// takeAnswer hands an answer to whoever waits for it.
func (c *Cluster) takeAnswer(a answer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	pending, ok := c.pending[a.ID]
	if !ok || pending.incarnation != a.ToIncarnation {
		return fmt.Errorf("answer %d of %s: nobody waits for it", a.ID, a.From)
	}
	delete(c.pending, a.ID)
	pending.answer <- a // has room for one
	return nil
}

// serve executes a request, or refuses it, in a goroutine of its own.
func (c *Cluster) serve(r request) error {
	p := c.peers[r.From]
	if p == nil {
		return fmt.Errorf("request of %q: %w", r.From, errStateUnknown)
	}
	a := answer{ID: r.ID, ToIncarnation: r.FromIncarnation, From: c.opts.Node}
	c.mu.Lock()
	switch {
	case r.ToIncarnation != c.incarnation:
		a.Refused, a.Error = refusedStale, "meant for another start of this node"
	default:
		a.Refused = p.replay.admit(r.FromIncarnation, r.ID)
		if a.Refused != "" {
			a.Error = "this request was seen before, or its sender has restarted since"
		}
	}
	a.Incarnation, a.Seen = c.incarnation, p.replay.incarnation
	c.mu.Unlock()

	if a.Refused == "" {
		if c.spawnLimited(c.served, func() { c.execute(p, r, a) }) {
			return nil
		}
		a.Refused, a.Error = refusedBusy, fmt.Sprintf("busy: %d calls are running", maxServedCalls)
	}
	if !c.spawnLimited(c.refusals, func() { c.sendAnswer(p, a) }) {
		return fmt.Errorf("request %s of %s: no room to refuse it (%s)", r.Method, r.From, a.Refused)
	}
	return nil
}

func (c *Cluster) execute(p *peer, r request, a answer) {
	timeout := maxCallTime
	if r.TimeoutMs < maxCallTime.Milliseconds() {
		timeout = time.Duration(r.TimeoutMs) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(c.ctx, timeout)
	defer cancel()
	body, err := c.opts.Handler.Call(ctx, r.From, r.Method, r.body)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return // the caller has given up, or does so within the millisecond
	case err != nil:
		a.Error = err.Error()
		if a.Error == "" {
			a.Error = "error without text"
		}
	case len(body) > maxBody:
		a.Error = fmt.Sprintf("answer of %d bytes, at most %d", len(body), maxBody)
	default:
		a.body = body
	}
	c.sendAnswer(p, a)
}

func (c *Cluster) sendAnswer(p *peer, a answer) {
	if err := c.ml.SendReliable(&p.node, encodeAnswer(a)); err != nil {
		c.logger.Debug("cannot answer a call", "peer", p.name, "err", err)
	}
}

// spawnLimited runs fn in a goroutine if limit has room.
func (c *Cluster) spawnLimited(limit chan struct{}, fn func()) bool {
	select {
	case limit <- struct{}{}:
	default:
		return false
	}
	ok := c.spawn(func() {
		defer func() { <-limit }()
		fn()
	})
	if !ok {
		<-limit
	}
	return ok
}
