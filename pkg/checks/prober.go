package checks

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// Chosen by us.
const (
	// hangGrace is how long a probe may take to return after its context has
	// ended before it is said to hang. Killing a plugin takes killDelay; a
	// network probe returns at once.
	hangGrace = 250 * time.Millisecond
)

// A prober runs the probes of one check, one at a time, and keeps no caller
// waiting for a probe that does not return.
type prober struct {
	checker Checker
	timeout time.Duration
	life    context.Context // ends when the check is removed
	log     *slog.Logger

	mu      sync.Mutex
	number  uint64  // of the newest flight
	current *flight // undecided, or nil
	last    *flight // the newest that called the checker, or nil
}

// A flight is one probe. It is decided by its answer or by its timeout; it has
// returned when the checker has.
type flight struct {
	number   uint64
	decided  chan struct{} // closed after result is set
	result   Result
	returned chan struct{}
}

// join returns the flight under way, or starts one. The caller waits for its
// decided, which closes within the timeout and hangGrace at the latest.
func (p *prober) join() *flight {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current != nil {
		return p.current
	}
	return p.startLocked()
}

// fresh returns the result of a probe that started after this call. Callers that
// meanwhile wait for the flight under way share the next.
func (p *prober) fresh(ctx context.Context) (Result, error) {
	p.mu.Lock()
	seen := p.number
	p.mu.Unlock()
	for {
		f := p.join()
		select {
		case <-f.decided:
			if f.number > seen {
				return f.result, nil
			}
		case <-ctx.Done():
			return Result{}, ctx.Err()
		case <-p.life.Done():
			return Result{}, ErrStopped
		}
	}
}

func (p *prober) startLocked() *flight {
	p.number++
	f := &flight{number: p.number, decided: make(chan struct{}), returned: make(chan struct{})}
	p.current = f
	go p.fly(f, p.last)
	return f
}

// fly decides f: by the checker's answer, by the timeout, or because the flight
// before has not returned.
func (p *prober) fly(f, before *flight) {
	if before != nil && !p.landed(before) {
		p.decide(f, fail("an earlier probe still hangs (%s)", noAnswer(p.timeout)))
		return
	}
	p.mu.Lock()
	p.last = f
	p.mu.Unlock()

	ctx, cancel := context.WithTimeout(p.life, p.timeout)
	defer cancel()
	start := time.Now()
	answer := make(chan Result, 1) // an abandoned probe must not block here
	go func() {
		defer close(f.returned)
		answer <- p.check(ctx)
	}()
	var res Result
	select {
	case res = <-answer:
	case <-ctx.Done():
	}
	// Whatever a checker says about its ended context: the reason is this.
	if !res.OK && expired(ctx) {
		res = fail("%s", noAnswer(p.timeout))
	}
	res.Took = time.Since(start)
	p.decide(f, res)
}

// landed waits for the end of an abandoned flight, a little while.
func (p *prober) landed(f *flight) bool {
	select {
	case <-f.returned: // before a timer is made: this is the usual case
		return true
	default:
	}
	grace := time.NewTimer(hangGrace)
	defer grace.Stop()
	select {
	case <-f.returned:
		return true
	case <-grace.C:
	case <-p.life.Done():
	}
	return false
}

func (p *prober) decide(f *flight, res Result) {
	res.Message = oneLine(res.Message)
	p.mu.Lock()
	defer p.mu.Unlock()
	f.result = res
	p.current = nil
	close(f.decided)
}

// check shields the agent from a checker's panic: a library that stumbles over
// a strange answer fails one check, and not the machine's floating addresses.
func (p *prober) check(ctx context.Context) (res Result) {
	defer func() {
		if r := recover(); r != nil {
			p.log.Error("check panicked", "reason", fmt.Sprint(r), "stack", string(debug.Stack()))
			res = fail("the check itself panicked: %v", r)
		}
	}()
	return p.checker.Check(ctx)
}
