package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// Chosen by us.
const (
	headerTimeout   = 5 * time.Second // a caller on the same machine needs microseconds
	bodyTimeout     = 5 * time.Second
	writeTimeout    = 5 * time.Second // for one answer, or one line of a stream
	idleTimeout     = 10 * time.Second
	shutdownTimeout = 2 * time.Second // the leases are handed over by then; nobody waits for a reader
	maxHeaderBytes  = 8 << 10
	maxRequestBody  = 64 << 10 // the largest request is a few names

	readLimit       = 5 * time.Second  // status and history come from memory
	probeLimit      = 15 * time.Second // pkg/cluster ends it after ten
	checksLimit     = 2 * time.Minute  // the sum of what checks may be given as timeout, within reason
	reloadLimit     = 30 * time.Second // reading a file, adding and removing addresses
	switchoverLimit = 15 * time.Minute // above any drain that makes sense; the agent bounds it by the config
)

// ServerOptions says where to listen and who answers.
type ServerOptions struct {
	RunDir string // must exist; the caller holds its lock
	Agent  Agent
	Group  string // members may command; empty: DefaultGroup
	Logger *slog.Logger
}

// Server is the agent's end of the socket.
type Server struct {
	agent    Agent
	guard    guard
	logger   *slog.Logger
	listener *listener
	base     context.Context // of Run: what outlives a request ends with it
	started  atomic.Bool
}

// Listen binds the socket, so that a problem with it is known before the agent takes part in anything.
// Callers wait in the kernel's backlog until Run. Errors: ErrInUse, or what the kernel says. A Server
// that is never run is released with Close.
func Listen(o ServerOptions) (*Server, error) {
	if o.Group == "" {
		o.Group = DefaultGroup
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	l, err := listenSocket(SocketPath(o.RunDir))
	if err != nil {
		return nil, err
	}
	return &Server{
		agent:    o.Agent,
		guard:    newGuard(o.Group),
		logger:   o.Logger,
		listener: newListener(l, o.Logger),
	}, nil
}

// Close releases the socket and removes it. Run does so by itself.
func (s *Server) Close() error { return s.listener.Close() }

// Run answers until ctx ends, then gives running answers a moment and removes the socket. It is called
// once; the error is nil after a stop that was asked for.
func (s *Server) Run(ctx context.Context) error {
	if s.started.Swap(true) {
		panic("control: Server.Run was called twice")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.base = ctx
	srv := &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: headerTimeout,
		// No ReadTimeout: its deadline would also end the watch for a caller that hangs up, and with it
		// every long request. decode bounds the body instead, and every write has a deadline.
		IdleTimeout:    idleTimeout,
		MaxHeaderBytes: maxHeaderBytes,
		BaseContext:    func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, c.(*conn).peer)
		},
		ErrorLog: slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(s.listener) }()
	select {
	case err := <-failed:
		srv.Close()
		return fmt.Errorf("control socket: %w", err)
	case <-ctx.Done():
	}
	stop, done := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer done()
	if err := srv.Shutdown(stop); err != nil {
		srv.Close()
	}
	<-failed
	return nil
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+pathStatus, call(s, readLimit, s.status))
	mux.Handle("POST "+pathPlan, call(s, readLimit, s.plan)) // POST for its body; it only reads
	mux.Handle("GET "+pathAgent, call(s, readLimit, s.process))
	mux.Handle("POST "+pathProbe, call(s, probeLimit, s.probe))
	mux.HandleFunc("GET "+pathEvents, s.events)
	mux.Handle("GET "+pathKeys, call(s, readLimit, s.keyStatus))
	mux.Handle("POST "+pathKeysRotate, s.command(http.HandlerFunc(s.keysRotate)))
	mux.Handle("POST "+pathChecksRun, s.command(call(s, checksLimit, s.runChecks)))
	// What a file says may be nobody's business: a command, although it changes nothing.
	mux.Handle("POST "+pathTemplates, s.command(call(s, readLimit, s.renderTemplates)))
	mux.Handle("POST "+pathReload, s.command(call(s, reloadLimit, s.reload)))
	mux.Handle("POST "+pathMaintenance, s.command(call(s, switchoverLimit, s.maintenance)))
	mux.Handle("POST "+pathSwitchover, s.command(http.HandlerFunc(s.switchover)))
	return mux
}

type peerKey struct{}

// command lets only those through who may change something, and leaves a trace of who did.
func (s *Server) command(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := r.Context().Value(peerKey{}).(peer)
		if err := s.guard.allow(p); err != nil {
			s.logger.Warn("command refused", "path", r.URL.Path, "uid", p.UID, "pid", p.PID, "reason", err)
			s.fail(w, err)
			return
		}
		s.logger.Info("command", "path", r.URL.Path, "uid", p.UID, "pid", p.PID)
		next.ServeHTTP(w, r)
	})
}

// call makes a handler of a function from a request to one value.
func call[Req, Resp any](s *Server, limit time.Duration, f func(context.Context, Req) (Resp, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req Req
		if r.Method == http.MethodPost {
			if err := decode(w, r, &req); err != nil {
				s.fail(w, err)
				return
			}
		}
		ctx, cancel := context.WithTimeout(r.Context(), limit)
		defer cancel()
		resp, err := f(ctx, req)
		if err != nil {
			s.fail(w, err)
			return
		}
		s.write(w, http.StatusOK, resp)
	})
}

func (s *Server) status(ctx context.Context, _ struct{}) (Status, error) {
	v, err := s.agent.Status(ctx)
	return v.Filled(), err
}

func (s *Server) plan(ctx context.Context, req PlanRequest) (Plan, error) {
	v, err := s.agent.Plan(ctx, req)
	return v.filled(), err
}

func (s *Server) keyStatus(ctx context.Context, _ struct{}) (KeyStatus, error) {
	v, err := s.agent.KeyStatus(ctx)
	return v.filled(), err
}

func (s *Server) process(ctx context.Context, _ struct{}) (AgentProcess, error) {
	v, err := s.agent.Process(ctx)
	return v.filled(), err
}

func (s *Server) probe(ctx context.Context, req ProbeRequest) (ProbeResult, error) {
	v, err := s.agent.Probe(ctx, req)
	return v.filled(), err
}

func (s *Server) runChecks(ctx context.Context, req checksRequest) ([]CheckRun, error) {
	runs, err := s.agent.RunChecks(ctx, req.Name)
	return filled(runs), err
}

func (s *Server) renderTemplates(ctx context.Context, req templatesRequest) ([]TemplateRender, error) {
	list, err := s.agent.RenderTemplates(ctx, req.Name)
	return filled(list), err
}

func (s *Server) maintenance(_ context.Context, req MaintenanceRequest) (MaintenanceResult, error) {
	ctx, cancel := context.WithTimeout(s.base, switchoverLimit) // not the caller's: see Agent
	defer cancel()
	v, err := s.agent.Maintenance(ctx, req)
	return v.filled(), err
}

func (s *Server) reload(_ context.Context, req reloadRequest) (ReloadResult, error) {
	ctx, cancel := context.WithTimeout(s.base, reloadLimit) // not the caller's: see Agent
	defer cancel()
	v, err := s.agent.Reload(ctx, req.Force)
	return v.filled(), err
}

// decode reads a request strictly: an option of a newer program that this agent does not know must not
// be ignored in a command.
func decode(w http.ResponseWriter, r *http.Request, into any) error {
	rc := http.NewResponseController(w)
	if err := rc.SetReadDeadline(time.Now().Add(bodyTimeout)); err != nil {
		return fmt.Errorf("bound the reading of the request: %w", err)
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequestBody))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return Errorf(CodeBadRequest, "the agent does not understand the request (is it of another version?): %v", err)
	}
	if err := d.Decode(&struct{}{}); !errors.Is(err, io.EOF) {
		return Errorf(CodeBadRequest, "the request has something behind its end")
	}
	if err := rc.SetReadDeadline(time.Time{}); err != nil { // else it would end a long answer
		return fmt.Errorf("lift the bound again: %w", err)
	}
	return nil
}

// httpStatus is how a class of errors travels.
func httpStatus(c Code) int {
	switch c {
	case CodeBadRequest:
		return http.StatusBadRequest
	case CodeForbidden:
		return http.StatusForbidden
	case CodeNotFound:
		return http.StatusNotFound
	case CodeConflict:
		return http.StatusConflict
	case CodeInvalid:
		return http.StatusUnprocessableEntity
	case CodeUnavailable, CodeNoAgent:
		return http.StatusServiceUnavailable
	case CodeTimeout:
		return http.StatusGatewayTimeout
	case CodeInternal:
		return http.StatusInternalServerError
	}
	return http.StatusInternalServerError // a newer class of the agent's author: still an error
}

// asError gives every error a class.
func asError(err error) *Error {
	if e := (*Error)(nil); errors.As(err, &e) {
		return &Error{Code: e.Code, Message: err.Error()}
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return Errorf(CodeTimeout, "the agent took too long: %v", err)
	case errors.Is(err, context.Canceled):
		return Errorf(CodeUnavailable, "the agent is stopping")
	}
	return &Error{Code: CodeInternal, Message: err.Error()}
}

func (s *Server) fail(w http.ResponseWriter, err error) {
	e := asError(err)
	s.write(w, httpStatus(e.Code), message{Error: e})
}

func (s *Server) write(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("control: %T cannot be marshalled: %v", v, err)) // all our types can be
	}
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		s.logger.Debug("caller has gone", "reason", err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if _, err := w.Write(append(body, '\n')); err != nil {
		s.logger.Debug("caller has gone", "reason", err)
	}
}
