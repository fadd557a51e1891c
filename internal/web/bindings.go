package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/time/rate"
)

// Chosen by us: a port that the program before us has not let go of is free
// within a second; an address that is still to come may take longer.
const (
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

// bindings brings what is bound in line with what is wanted. It belongs to the
// goroutine of Run.
type bindings struct {
	server *Server
	serve  func(net.Listener) error
	open   map[netip.AddrPort]*listener
	lost   chan *listener // those that have ended by themselves
	wg     sync.WaitGroup
}

// run ends with ctx, and leaves the listeners to http.Server.Shutdown.
func (b *bindings) run(ctx context.Context) {
	retry := time.NewTimer(0)
	defer retry.Stop()
	delay := firstRetry
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.server.changed:
			delay = firstRetry
		case l := <-b.lost:
			if b.open[l.at] == l {
				delete(b.open, l.at)
			}
		case <-retry.C:
		}
		if b.reconcile(ctx) {
			retry.Stop()
			delay = firstRetry
		} else {
			retry.Reset(delay)
			delay = min(2*delay, lastRetry)
		}
	}
}

// reconcile tells whether everything that is wanted is bound.
func (b *bindings) reconcile(ctx context.Context) (all bool) {
	want := b.server.wanted()
	for ap, l := range b.open { // first: one that goes may be in the way of one that comes
		if !slices.Contains(want, ap) {
			delete(b.open, ap)
			l.closeAll()
			b.server.log.Info("the status page has closed", "addr", ap.String())
		}
	}
	all = true
	for _, ap := range want {
		if b.open[ap] != nil {
			continue
		}
		l, err := listen(ctx, ap, b.server)
		b.server.note(ap, err)
		if err != nil {
			all = false
			continue
		}
		b.open[ap] = l
		b.wg.Go(func() {
			err := b.serve(l)
			select {
			case <-ctx.Done():
			case <-l.closed:
			case b.lost <- l:
				b.server.log.Warn("the status page has lost its listener", "addr", ap.String(), "error", err)
			}
		})
	}
	return all
}

// wait returns when every listener has ended.
func (b *bindings) wait() { b.wg.Wait() }

// note keeps what came of binding an address, and logs it when it is news.
func (s *Server) note(ap netip.AddrPort, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.problems[ap]
	if err == nil {
		delete(s.problems, ap)
		s.log.Info("the status page is open", "addr", ap.String())
		return
	}
	if !slices.Contains(s.want, ap) {
		return // changed meanwhile
	}
	why := fmt.Sprintf("the status page cannot listen on %s: %s; it is tried again", ap, explain(err))
	s.problems[ap] = why
	if why != was {
		s.log.Warn("the status page cannot be served", "addr", ap.String(), "error", err)
	}
}

// explain says what to do about it.
func explain(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "another program listens there (ss -ltnp says which)"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "this machine has no such address"
	case errors.Is(err, syscall.EACCES):
		return "the port is below 1024, which needs a privilege that the agent does not have"
	}
	return err.Error()
}

// network is "tcp4" for every IPv4 address: net.Listen makes [::] of "tcp" and 0.0.0.0.
func network(ap netip.AddrPort) string {
	if ap.Addr().Is4() {
		return "tcp4"
	}
	return "tcp"
}

// listener accepts as many connections as there are slots. One that finds none
// is hung up on: a queue would be filled by whoever opens connections and says
// nothing, for as long as he likes.
type listener struct {
	net.Listener
	at     netip.AddrPort
	slots  chan struct{}
	pace   *rate.Limiter
	ctx    context.Context // of Run
	closed chan struct{}   // by closeAll

	mu    sync.Mutex
	conns map[*conn]struct{}
}

func listen(ctx context.Context, ap netip.AddrPort, s *Server) (*listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, network(ap), ap.String())
	if err != nil {
		return nil, err
	}
	return &listener{Listener: l, at: ap, slots: s.slots, pace: s.pace, ctx: ctx, closed: make(chan struct{}), conns: make(map[*conn]struct{})}, nil
}

// Accept returns the next connection that finds a slot.
func (l *listener) Accept() (net.Conn, error) {
	for {
		_ = l.pace.Wait(l.ctx) // connections that come faster wait in the kernel; at the end Accept says so itself
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.slots <- struct{}{}:
		default:
			c.Close()
			continue
		}
		mine := &conn{Conn: c, of: l}
		l.mu.Lock()
		l.conns[mine] = struct{}{}
		l.mu.Unlock()
		select {
		case <-l.closed: // closeAll has not seen this one
			mine.Close()
		default:
		}
		return mine, nil
	}
}

// closeAll stops listening and hangs up on everybody.
func (l *listener) closeAll() {
	close(l.closed)
	l.Close()
	l.mu.Lock()
	conns := make([]*conn, 0, len(l.conns))
	for c := range l.conns {
		conns = append(conns, c)
	}
	l.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

type conn struct {
	net.Conn
	of   *listener
	once sync.Once
}

// Close hangs up and gives the slot back, however often it is called.
func (c *conn) Close() error {
	c.once.Do(func() {
		<-c.of.slots
		c.of.mu.Lock()
		delete(c.of.conns, c)
		c.of.mu.Unlock()
	})
	return c.Conn.Close()
}
