package lab

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/mdlayher/socket"
	"golang.org/x/sys/unix"
)

// HTTPOptions describe a client that asks again and again.
type HTTPOptions struct {
	Target   netip.AddrPort
	Path     string        // default /
	Interval time.Duration // between questions; default 5 ms
	Timeout  time.Duration // of one question, connect included; default 150 ms
	InFlight int           // questions under way at once; default 64. A question that finds no room is not asked
	// KeepAlive asks everything over one connection, one question after the other. After a failure there is
	// a new connection.
	KeepAlive bool
}

// An HTTPAnswer is one question of the client, each over a new TCP connection unless KeepAlive says
// otherwise, and what became of it.
type HTTPAnswer struct {
	Sent time.Time
	Done time.Time
	Body string // first bytes, without spaces around: the lab's web servers say their node's name
	Err  error  // nil: answered with 200
}

func (a HTTPAnswer) when() time.Time { return a.Done }

// An HTTPProbe is a client on World.Client that measures what a person in front of a browser would feel.
type HTTPProbe struct {
	o    HTTPOptions
	ns   int // descriptor of the client's network namespace
	seen history[HTTPAnswer]
	done chan struct{}
}

// ProbeHTTP starts asking; it ends with ctx. The client must stay powered on until then.
func (w *World) ProbeHTTP(ctx context.Context, o HTTPOptions) (*HTTPProbe, error) {
	space, err := w.Client.alive()
	if err != nil {
		return nil, err
	}
	o.Path = cmp.Or(o.Path, "/")
	o.Interval = cmp.Or(o.Interval, 5*time.Millisecond)
	o.Timeout = cmp.Or(o.Timeout, 150*time.Millisecond)
	o.InFlight = cmp.Or(o.InFlight, 64)
	p := &HTTPProbe{o: o, ns: int(space.ns), done: make(chan struct{})}
	if o.KeepAlive {
		go p.runKeepAlive(ctx)
	} else {
		go p.run(ctx)
	}
	return p, nil
}

func (p *HTTPProbe) run(ctx context.Context) {
	defer close(p.done)
	var asking sync.WaitGroup
	defer asking.Wait()
	room := make(chan struct{}, p.o.InFlight)
	tick := time.NewTicker(p.o.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		select {
		case room <- struct{}{}:
		default:
			continue // a gap is measured between good answers: an unasked question hides nothing
		}
		asking.Go(func() {
			defer func() { <-room }()
			a := p.ask(ctx)
			if ctx.Err() == nil { // an answer cut off by our own end says nothing
				p.seen.add(a)
			}
		})
	}
}

// ask puts one question, bounded by the timeout.
func (p *HTTPProbe) ask(ctx context.Context) HTTPAnswer {
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	a := HTTPAnswer{Sent: time.Now()}
	a.Body, a.Err = p.get(ctx)
	a.Done = time.Now()
	return a
}

func (p *HTTPProbe) get(ctx context.Context) (string, error) {
	c, err := p.connect(ctx)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return c.get(ctx, p.o, "close")
}

// A line is a connection of the client.
type line struct {
	*socket.Conn
	r    *bufio.Reader
	last bool // the server has said that it takes no more requests
}

func (p *HTTPProbe) connect(ctx context.Context) (*line, error) {
	family, to := sockaddr(p.o.Target)
	c, err := socket.Socket(family, unix.SOCK_STREAM, unix.IPPROTO_TCP, "probe", &socket.Config{NetNS: p.ns})
	if err != nil {
		return nil, err
	}
	if _, err := c.Connect(ctx, to); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &line{Conn: c, r: bufio.NewReader(c)}, nil
}

// get puts a question, and reads the answer to its end: first bytes of the body.
func (c *line) get(ctx context.Context, o HTTPOptions, connection string) (string, error) {
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(deadline); err != nil {
			return "", err
		}
	}
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: %s\r\n\r\n", o.Path, o.Target, connection); err != nil {
		return "", err
	}
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	c.last = res.Close
	body, err := io.ReadAll(io.LimitReader(res.Body, 64))
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s", res.Status)
	}
	return strings.TrimSpace(string(body)), err
}

func sockaddr(a netip.AddrPort) (family int, sa unix.Sockaddr) {
	if a.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

// Done is closed when the probe has ended and its history is complete.
func (p *HTTPProbe) Done() <-chan struct{} { return p.done }

// Answers returns what became of the questions that ended within [from, to].
func (p *HTTPProbe) Answers(from, to time.Time) []HTTPAnswer { return p.seen.between(from, to) }

// LongestGap is the longest time without a good answer that touches [from, to]: from the last good answer
// before to the first good one after. With nothing wrong it is about the interval.
func (p *HTTPProbe) LongestGap(from, to time.Time) Gap {
	var good []time.Time
	for _, a := range p.seen.all() {
		if a.Err == nil {
			good = append(good, a.Done)
		}
	}
	return longestGap(good, from, to)
}

// A Tally sums up what a client saw.
type Tally struct {
	Asked   int           // questions that ended
	Failed  int           // of these, without a good answer
	Slowest time.Duration // of the good ones
}

// Tally counts the questions that were sent within [from, to].
func (p *HTTPProbe) Tally(from, to time.Time) Tally {
	var t Tally
	for _, a := range p.seen.between(from, time.Now()) { // they are recorded by their end
		switch {
		case a.Sent.Before(from) || a.Sent.After(to):
			continue
		case a.Err != nil:
			t.Failed++
		default:
			t.Slowest = max(t.Slowest, a.Done.Sub(a.Sent))
		}
		t.Asked++
	}
	return t
}

// WaitAnswer waits for a good answer with this body ("" for any) to a question sent after `since`.
func (p *HTTPProbe) WaitAnswer(ctx context.Context, since time.Time, body string) error {
	return Poll(ctx, func() error {
		last := "no answer"
		for _, a := range p.Answers(since, time.Now()) {
			switch {
			case a.Sent.Before(since):
			case a.Err != nil:
				last = a.Err.Error()
			case body == "" || a.Body == body:
				return nil
			default:
				last = "answered by " + a.Body
			}
		}
		return fmt.Errorf("the client waits for an answer of %q from %s: last: %s", body, p.o.Target, last)
	})
}
