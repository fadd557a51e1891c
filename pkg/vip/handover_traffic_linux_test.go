package vip

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netns"
)

const (
	webPort = 80
	// chunk is how much a slow transfer sends at a time, every pace.
	chunk = 20_000
	pace  = 5 * time.Millisecond
)

// serve answers on the port of a node: "who" with its name, "down N" with N bytes, "up N" and N bytes with their
// number. Sockets stay in the namespace in which they are born.
func serve(t testing.TB, n *node, port uint16, options ...func(fd uintptr) error) {
	t.Helper()
	var l net.Listener
	inNamespace(t, n.ns, func() (err error) {
		lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) {
				for _, o := range append(options, bothFamilies) {
					if err := o(fd); err != nil {
						t.Error(err)
					}
				}
			})
		}}
		l, err = lc.Listen(context.Background(), "tcp6", fmt.Sprintf("[::]:%d", port))
		return err
	})
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveOne(c, n.name)
		}
	}()
}

// bothFamilies lets a socket of IPv6 take IPv4 too. Package net would by itself, if it found IPv6 in the namespace that it
// happened to look at first, for the whole process; in one that is just made, ::1 may not be in use yet.
func bothFamilies(fd uintptr) error {
	return syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IPV6, syscall.IPV6_V6ONLY, 0)
}

func serveOne(c net.Conn, name string) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		var n int
		switch {
		case strings.HasPrefix(line, "who"):
			_, err = fmt.Fprintln(c, name)
		case strings.HasPrefix(line, "down"):
			_, _ = fmt.Sscanf(line, "down %d", &n)
			for ; n > 0 && err == nil; n -= chunk {
				_, err = c.Write(make([]byte, min(n, chunk)))
				<-time.After(pace)
			}
		case strings.HasPrefix(line, "fast"):
			_, _ = fmt.Sscanf(line, "fast %d", &n)
			_, err = io.CopyN(c, zeros{}, int64(n))
		case strings.HasPrefix(line, "up"):
			_, _ = fmt.Sscanf(line, "up %d", &n)
			if _, err = io.CopyN(io.Discard, r, int64(n)); err == nil {
				_, err = fmt.Fprintln(c, n)
			}
		}
		if err != nil {
			return
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// dial connects from a namespace; a local port of 0 is any.
func dial(ns netns.NsHandle, to netip.AddrPort, local uint16) (c net.Conn, err error) {
	return dialWith(ns, to, local, nil)
}

// dialFrom connects from an address.
func dialFrom(ns netns.NsHandle, to, from netip.AddrPort) (c net.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		d := net.Dialer{Timeout: patience, LocalAddr: net.TCPAddrFromAddrPort(from)}
		err = onThread(ns, func() error {
			c, err = d.Dial("tcp", to.String())
			return err
		})
	}()
	<-done
	return c, err
}

// dialWith is dial with an option of the socket.
func dialWith(ns netns.NsHandle, to netip.AddrPort, local uint16, option func(fd uintptr) error) (c net.Conn, err error) {
	d := net.Dialer{Timeout: patience, Control: func(_, _ string, rc syscall.RawConn) (err error) {
		cerr := rc.Control(func(fd uintptr) {
			if local != 0 {
				err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
			}
			if err == nil && option != nil {
				err = option(fd)
			}
		})
		return errors.Join(cerr, err)
	}}
	if local != 0 {
		d.LocalAddr = &net.TCPAddr{Port: int(local)}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = onThread(ns, func() error {
			c, err = d.Dial("tcp", to.String())
			return err
		})
	}()
	<-done
	return c, err
}

// talk is one connection that is asked now and then.
type talk struct {
	net.Conn
	r *bufio.Reader
}

func (s *site) talk(ns netns.NsHandle, to netip.AddrPort) *talk {
	s.t.Helper()
	c, err := dial(ns, to, 0)
	s.must(err)
	s.t.Cleanup(func() { _ = c.Close() })
	return &talk{c, bufio.NewReader(c)}
}

// who asks which node is at the other end.
func (k *talk) who() (string, error) {
	if err := k.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintln(k, "who"); err != nil {
		return "", err
	}
	line, err := k.r.ReadString('\n')
	return strings.TrimSpace(line), err
}

func (s *site) wantWho(k *talk, want, when string) {
	s.t.Helper()
	if got, err := k.who(); err != nil || got != want {
		s.t.Errorf("%s: answered by %q, error %v, want %q", when, got, err, want)
	}
}

// fresh makes a connection, asks and closes it.
func fresh(ns netns.NsHandle, to netip.AddrPort) (string, error) {
	c, err := dial(ns, to, 0)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return (&talk{c, bufio.NewReader(c)}).who()
}

// load is traffic of all kinds that runs until it is stopped.
type load struct {
	wg   sync.WaitGroup
	stop context.CancelFunc
	mu   sync.Mutex
	errs []error
	// by is who answered new connections, how often; slowest is the longest that one took.
	by      map[string]int
	slowest time.Duration
	asked   int
}

// begin starts a slow download, a slow upload, a connection that is kept, and new ones all the time, to the address.
func (s *site) begin(ns netns.NsHandle, to netip.AddrPort) *load {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	l := &load{stop: cancel, by: make(map[string]int)}
	kept, up, down := s.talk(ns, to), s.talk(ns, to), s.talk(ns, to)
	run := func(what string, f func() error) {
		l.wg.Go(func() {
			for ctx.Err() == nil {
				if err := f(); err != nil {
					l.mu.Lock()
					l.errs = append(l.errs, fmt.Errorf("%s from %v: %w", what, to, err))
					l.mu.Unlock()
					return
				}
			}
		})
	}
	run("kept connection", func() error { <-time.After(pace); l.count(); return kept.expect("") })
	run("download", func() error { l.count(); return transfer(down, true, 40*chunk) })
	run("upload", func() error { l.count(); return transfer(up, false, 40*chunk) })
	run("new connection", func() error {
		began := time.Now()
		name, err := fresh(ns, to)
		l.mu.Lock()
		l.by[name]++
		l.slowest = max(l.slowest, time.Since(began))
		l.mu.Unlock()
		<-time.After(pace)
		return err
	})
	return l
}

func (l *load) count() { l.mu.Lock(); l.asked++; l.mu.Unlock() }

func (k *talk) expect(want string) error {
	got, err := k.who()
	if err == nil && want != "" && got != want {
		err = fmt.Errorf("answered by %q, want %q", got, want)
	}
	return err
}

func transfer(k *talk, down bool, n int) error {
	if err := k.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if down {
		if _, err := fmt.Fprintf(k, "down %d\n", n); err != nil {
			return err
		}
		_, err := io.CopyN(io.Discard, k.r, int64(n))
		return err
	}
	if _, err := fmt.Fprintf(k, "up %d\n", n); err != nil {
		return err
	}
	for left := n; left > 0; left -= chunk {
		if _, err := k.Write(make([]byte, min(left, chunk))); err != nil {
			return err
		}
		<-time.After(pace)
	}
	line, err := k.r.ReadString('\n')
	if err == nil && strings.TrimSpace(line) != fmt.Sprint(n) {
		err = fmt.Errorf("the server got %q bytes, want %d", line, n)
	}
	return err
}

// end stops the traffic and returns what went wrong.
func (l *load) end() error {
	l.stop()
	l.wg.Wait()
	return errors.Join(l.errs...)
}
