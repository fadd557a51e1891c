package control

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Chosen by us.
const (
	// signOfLife is how often a stream says something; the client gives up after silenceLimit.
	signOfLife   = 5 * time.Second
	silenceLimit = 20 * time.Second
	// stepBuffer is more than a switchover has steps. A caller too slow for that loses steps from the
	// live view; the result has them all.
	stepBuffer    = 64
	defaultEvents = 1000
	maxEvents     = 100_000
)

// stream writes one message a line, each under its own deadline.
type stream struct {
	w   http.ResponseWriter
	rc  *http.ResponseController
	enc *json.Encoder
}

func newStream(w http.ResponseWriter) *stream {
	w.Header().Set("Content-Type", "application/x-ndjson")
	return &stream{w: w, rc: http.NewResponseController(w), enc: json.NewEncoder(w)}
}

func (st *stream) send(m message) error {
	if err := st.rc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	if err := st.enc.Encode(m); err != nil {
		return err
	}
	return st.rc.Flush()
}

// events answers with the history, and with follow=true stays and tells what happens.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	q, err := parseEventsQuery(r.URL.Query())
	if err != nil {
		s.fail(w, err)
		return
	}
	ctx := r.Context()
	past, live, err := s.history(ctx, q)
	if err != nil {
		s.fail(w, err)
		return
	}
	if err := s.tell(ctx, newStream(w), past, live); err != nil {
		s.logger.Debug("caller has gone", "reason", err)
	}
}

// history asks the agent; live is nil where nothing is to be followed.
func (s *Server) history(ctx context.Context, q eventsQuery) (past History, live <-chan Event, err error) {
	if q.follow {
		return s.agent.Follow(ctx, q.EventQuery)
	}
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	past, err = s.agent.Events(ctx, q.EventQuery)
	return past, nil, err
}

// tell sends the past, then what live brings (nil: nothing) until the caller or the agent ends it. The
// returned error is about the connection.
func (s *Server) tell(ctx context.Context, st *stream, past History, live <-chan Event) error {
	for _, source := range past.Sources {
		if err := st.send(message{Source: &source}); err != nil {
			return err
		}
	}
	for _, e := range past.Events {
		if err := st.send(message{Event: &e}); err != nil {
			return err
		}
	}
	if live == nil {
		return st.send(message{End: true})
	}
	tick := time.NewTicker(signOfLife)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done(): // the caller has gone, or the agent stops: the client sees the end either way
			return st.send(message{Error: Errorf(CodeUnavailable, "the agent is stopping")})
		case e, ok := <-live:
			switch {
			case !ok && ctx.Err() != nil:
				continue
			case !ok:
				return st.send(message{Error: Errorf(CodeUnavailable,
					"this reader fell behind the events: ask again with --since")})
			}
			if err := st.send(message{Event: &e}); err != nil {
				return err
			}
		case <-tick.C:
			if err := st.send(message{}); err != nil {
				return err
			}
		}
	}
}

type eventsQuery struct {
	EventQuery
	follow bool
}

// scopeCluster is the value of scope for the whole cluster; the only other one is empty.
const scopeCluster = "cluster"

func (q eventsQuery) encode() string {
	v := url.Values{}
	if !q.Since.IsZero() {
		v.Set("since", q.Since.Format(time.RFC3339Nano))
	}
	if q.Max > 0 {
		v.Set("max", strconv.Itoa(q.Max))
	}
	if q.Cluster {
		v.Set("scope", scopeCluster)
	}
	if q.Node != "" {
		v.Set("node", q.Node)
	}
	if q.follow {
		v.Set("follow", "true")
	}
	return v.Encode()
}

func parseEventsQuery(v url.Values) (q eventsQuery, err error) {
	q.Max = defaultEvents
	if t := v.Get("since"); t != "" {
		if q.Since, err = time.Parse(time.RFC3339Nano, t); err != nil {
			return q, Errorf(CodeBadRequest, "since: %v", err)
		}
	}
	if n := v.Get("max"); n != "" {
		if q.Max, err = strconv.Atoi(n); err != nil || q.Max < 1 || q.Max > maxEvents {
			return q, Errorf(CodeBadRequest, "max: %q is not a number from 1 to %d", n, maxEvents)
		}
	}
	switch scope := v.Get("scope"); scope {
	case "":
	case scopeCluster:
		q.Cluster = true
	default:
		return q, Errorf(CodeBadRequest, "scope: %q is not %q", scope, scopeCluster)
	}
	if q.Node = v.Get("node"); q.Node != "" && q.Cluster {
		return q, Errorf(CodeBadRequest, "node: one node's history, or scope=%s: not both", scopeCluster)
	}
	if f := v.Get("follow"); f != "" {
		if q.follow, err = strconv.ParseBool(f); err != nil {
			return q, Errorf(CodeBadRequest, "follow: %q is neither true nor false", f)
		}
	}
	return q, nil
}

// switchover streams the steps of a move and then its result.
func (s *Server) switchover(w http.ResponseWriter, r *http.Request) {
	var req SwitchoverRequest
	if err := decode(w, r, &req); err != nil {
		s.fail(w, err)
		return
	}
	if req.Group == "" {
		s.fail(w, Errorf(CodeBadRequest, "which group?"))
		return
	}
	s.steps(w, "switchover of "+req.Group, func(ctx context.Context, progress func(SwitchoverStep)) (message, error) {
		result, err := s.agent.Switchover(ctx, req, progress)
		result = result.filled()
		return message{Result: &result}, err
	})
}

// keysRotate streams the steps of a rotation and then its result.
func (s *Server) keysRotate(w http.ResponseWriter, r *http.Request) {
	var req KeyRotateRequest
	if err := decode(w, r, &req); err != nil {
		s.fail(w, err)
		return
	}
	s.steps(w, "key rotate", func(ctx context.Context, progress func(SwitchoverStep)) (message, error) {
		result, err := s.agent.KeyRotate(ctx, req, progress)
		result = result.filled()
		return message{Keys: &result}, err
	})
}

// steps streams what something takes that must be seen through. A caller that hangs up does not stop it: half
// done is the worst place to be. The handler stays until it has ended all the same, so that Run
// knows about it.
func (s *Server) steps(w http.ResponseWriter, what string, do func(context.Context, func(SwitchoverStep)) (message, error)) {
	ctx, cancel := context.WithTimeout(s.base, switchoverLimit)
	defer cancel()
	steps := make(chan SwitchoverStep, stepBuffer)
	end := make(chan message, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		last, err := do(ctx, func(step SwitchoverStep) {
			select {
			case steps <- step:
			default:
			}
		})
		if err != nil {
			last = message{Error: asError(err)}
		}
		end <- last
	}()
	if err := tellSteps(newStream(w), steps, end); err != nil {
		s.logger.Info("the caller has gone, what it asked for goes on", "command", what, "reason", err)
	}
	<-ended
}

func tellSteps(st *stream, steps <-chan SwitchoverStep, end <-chan message) error {
	tick := time.NewTicker(signOfLife)
	defer tick.Stop()
	for {
		var m message
		select {
		case step := <-steps:
			m.Step = &step
		case <-tick.C:
		case last := <-end:
			for len(steps) > 0 { // what was reported before the end is told before the end
				step := <-steps
				if err := st.send(message{Step: &step}); err != nil {
					return fmt.Errorf("tell a step: %w", err)
				}
			}
			return st.send(last)
		}
		if err := st.send(m); err != nil {
			return fmt.Errorf("tell a step: %w", err)
		}
	}
}
