package web

import (
	"context"
	"sync"
	"time"

	"github.com/hbagent/hbagent/internal/control"
)

// Chosen by us.
const (
	statusAge   = 200 * time.Millisecond // how old an answer may be: the loop is asked five times a second at most
	statusLimit = 2 * time.Second        // the loop answers in microseconds, or stands still
)

// source asks the agent on behalf of everybody. Safe for concurrent use.
type source struct {
	agent Agent

	mu     sync.Mutex
	last   *answer
	asking *answer
}

// answer is one answer of the agent; it may be read when done is closed.
type answer struct {
	done   chan struct{}
	at     time.Time // asked
	status control.Status
	err    error
}

func newSource(a Agent) *source { return &source{agent: a} }

// status returns what the agent said at most statusAge before the call.
func (s *source) status(ctx context.Context) (control.Status, error) {
	s.mu.Lock()
	a := s.asking
	switch {
	case a != nil:
	case s.last != nil && time.Since(s.last.at) < statusAge:
		a = s.last
	default:
		a = &answer{done: make(chan struct{}), at: time.Now()}
		s.asking = a
		go s.ask(a) // for others, too: it does not end with this caller
	}
	s.mu.Unlock()
	select {
	case <-a.done:
		return a.status, a.err
	case <-ctx.Done():
		return control.Status{}, ctx.Err()
	}
}

func (s *source) ask(a *answer) {
	ctx, cancel := context.WithTimeout(context.Background(), statusLimit)
	defer cancel()
	status, err := s.agent.Status(ctx)
	a.status, a.err = status.Filled(), err
	s.mu.Lock()
	s.last, s.asking = a, nil
	s.mu.Unlock()
	close(a.done)
}
