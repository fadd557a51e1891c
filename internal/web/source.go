package web

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/hbagent/hbagent/internal/control"
)

// Chosen by us.
const (
	statusAge   = 200 * time.Millisecond // how old an answer may be: the loop is asked five times a second at most
	statusLimit = 2 * time.Second        // the loop answers in microseconds, or stands still
	// askEvents is more than maxEvents: some are not shown.
	askEvents = 4 * maxEvents
)

// source asks the agent on behalf of everybody. Safe for concurrent use.
type source struct {
	agent   Agent
	zone    *time.Location
	metrics bool

	mu     sync.Mutex
	last   *snapshot
	asking *snapshot
}

// snapshot is what the agent said at one moment, and what is made of it, once. It may be read when done
// is closed.
type snapshot struct {
	done   chan struct{}
	at     time.Time // asked
	status control.Status
	events []control.Event
	leases []LeaseHealth
	err    error

	data  func() pageData
	whole func() document // the page
	json  func() document // the status
}

// snapshot returns what the agent said at most statusAge before the call.
func (s *source) snapshot(ctx context.Context) (*snapshot, error) {
	s.mu.Lock()
	a := s.asking
	switch {
	case a != nil:
	case s.last != nil && time.Since(s.last.at) < statusAge:
		a = s.last
	default:
		a = s.newSnapshot()
		s.asking = a
		go s.ask(a) // for others, too: it does not end with this caller
	}
	s.mu.Unlock()
	select {
	case <-a.done:
		return a, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *source) newSnapshot() *snapshot {
	p := &snapshot{done: make(chan struct{}), at: time.Now()}
	p.data = sync.OnceValue(func() pageData {
		return pageData{view: viewOf(p.status, p.events, p.leases, s.zone), Build: build, Metrics: s.metrics}
	})
	p.whole = sync.OnceValue(func() document {
		return newDocument("text/html; charset=utf-8", []byte(render("page", p.data())))
	})
	p.json = sync.OnceValue(func() document { return jsonDocument(p.status) })
	return p
}

func jsonDocument(v any) document {
	body, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("web: %T cannot be marshalled: %v", v, err)) // all our types can be
	}
	return newDocument("application/json", append(body, '\n'))
}

func (s *source) ask(p *snapshot) {
	ctx, cancel := context.WithTimeout(context.Background(), statusLimit)
	defer cancel()
	var status control.Status
	if status, p.err = s.agent.Status(ctx); p.err == nil {
		p.status = status.Filled()
		// This node's own: the others' would be asked for five times a second.
		var history control.History
		history, p.err = s.agent.Events(ctx, control.EventQuery{Max: askEvents})
		p.events = history.Events
	}
	if p.err == nil {
		p.leases, p.err = s.agent.Leases(ctx)
	}
	s.mu.Lock()
	s.last, s.asking = p, nil
	s.mu.Unlock()
	close(p.done)
}
