package web

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/hbagent/hbagent/internal/control"
)

// Chosen by us.
const (
	headerTimeout   = 5 * time.Second
	readTimeout     = 10 * time.Second
	writeTimeout    = 10 * time.Second // for one answer, or one piece of a live stream
	idleTimeout     = 30 * time.Second
	shutdownTimeout = time.Second
	maxHeaderBytes  = 16 << 10 // cookies of other services on the same host come along
	maxConns        = 64       // of all readers together; a browser opens up to six
	// Requests and connections a second, of all readers together, that the agent works for; more wait for their
	// turn. A page is five requests, and a second of these costs some percent of one core.
	pace  = 100
	burst = 200
)

// Agent is what the page shows, a part of [control.Agent]; see there.
type Agent interface {
	Status(ctx context.Context) (control.Status, error)
	Events(ctx context.Context, q control.EventQuery) (control.History, error)
	Subscribe(ctx context.Context) (<-chan control.Event, error)
	// Leases returns the health of every group's lease, in the order of the config.
	Leases(ctx context.Context) ([]LeaseHealth, error)
}

// Options say what is served, and where.
type Options struct {
	Agent Agent
	// Metrics answers GET /metrics; nil: there is none. It is called for each request, many at a time.
	Metrics http.Handler
	// Zone is that of the times on the page; nil: the machine's.
	Zone *time.Location
	// Listen and Hosts are as for [Server.Set].
	Listen []netip.AddrPort
	Hosts  []string
	Logger *slog.Logger // nil: none
}

// Server serves the page. It listens on nothing until Run is called.
type Server struct {
	log *slog.Logger
	*source
	live    *live
	handler http.Handler
	beat    time.Duration // of live streams
	slots   chan struct{} // one for each connection
	pace    *rate.Limiter
	changed chan struct{} // to Run: look at want

	mu       sync.Mutex
	want     []netip.AddrPort
	hosts    []string
	problems map[netip.AddrPort]string
}

// New returns a server that Run starts.
func New(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Zone == nil {
		o.Zone = time.Local
	}
	s := &Server{
		log: o.Logger, source: &source{agent: o.Agent, zone: o.Zone, metrics: o.Metrics != nil},
		slots: make(chan struct{}, maxConns), pace: rate.NewLimiter(pace, burst), changed: make(chan struct{}, 1), problems: make(map[netip.AddrPort]string),
	}
	s.live, s.beat = newLive(s.source), beatEvery
	s.handler = s.guard(s.routes(o.Metrics))
	s.Set(o.Listen, o.Hosts)
	return s
}

// Set says where to listen from now on, and by which names browsers may ask, in
// lower case, beside "localhost" and IP addresses. Connections to an address
// that is not among them any more are closed. It does not wait for anything.
func (s *Server) Set(listen []netip.AddrPort, hosts []string) {
	s.mu.Lock()
	s.want, s.hosts = slices.Clone(listen), slices.Clone(hosts)
	for ap := range s.problems {
		if !slices.Contains(s.want, ap) {
			delete(s.problems, ap)
		}
	}
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default: // Run has not yet looked at the change before
	}
}

// Problems says where it cannot listen, and why, one sentence an address.
func (s *Server) Problems() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, ap := range s.want {
		if why := s.problems[ap]; why != "" {
			out = append(out, why)
		}
	}
	return out
}

func (s *Server) wanted() []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.want)
}

// Run serves until ctx ends. It is called once, and never fails: an address that
// cannot be bound is tried again, at longer and longer intervals.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	srv := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	b := &bindings{server: s, serve: srv.Serve, open: make(map[netip.AddrPort]*listener), lost: make(chan *listener)}
	var wg sync.WaitGroup
	wg.Go(func() { s.live.Run(ctx) })
	b.run(ctx)

	stop, done := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer done()
	if err := srv.Shutdown(stop); err != nil {
		srv.Close()
	}
	b.wait()
	wg.Wait()
	return nil
}
