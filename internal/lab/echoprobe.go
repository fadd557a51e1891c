package lab

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// echoPatience bounds how long the reader of an [EchoProbe] sleeps after its end. Chosen by us.
const echoPatience = 50 * time.Millisecond

// observerNice is for what measures: a late observer must not look like a late answer.
const observerNice = -15

// An EchoAnswer is one answer that a client got for an address.
type EchoAnswer struct {
	At   time.Time
	Node string // who answered, by its own word
}

func (a EchoAnswer) when() time.Time { return a.At }

// An EchoProbe is a client on World.Client that sends a datagram to an address every millisecond or so; [Node.Echo]
// answers on the machine that has it. It sees shorter outages than an [HTTPProbe], and costs less.
type EchoProbe struct {
	target netip.Addr
	seen   history[EchoAnswer]
	done   chan struct{}
}

// ProbeEcho starts sending to target (IPv4). It ends with ctx. interval 0 means 1 ms.
func (w *World) ProbeEcho(ctx context.Context, target netip.Addr, interval time.Duration) (*EchoProbe, error) {
	p := &EchoProbe{target: target, done: make(chan struct{})}
	var fd int
	err := w.Client.Do(func() (err error) {
		fd, err = echoSocket(w.Client.Addr4.Addr().String(), 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("echo probe: %w", err)
	}
	patience := unix.NsecToTimeval(echoPatience.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
		return nil, errors.Join(fmt.Errorf("echo probe: %w", err), unix.Close(fd))
	}
	var both sync.WaitGroup
	both.Go(func() { onObserverThread(func() { p.send(ctx, fd, cmp.Or(interval, time.Millisecond)) }) })
	both.Go(func() { onObserverThread(func() { p.read(ctx, fd) }) })
	go func() {
		both.Wait()
		_ = unix.Close(fd) // nobody uses it any more
		close(p.done)
	}()
	return p, nil
}

// onObserverThread runs fn on a thread of its own with a better nice value, where we may give it one. The thread ends
// with fn.
func onObserverThread(fn func()) {
	runtime.LockOSThread()                                               // for good: the thread's nice value must not go on
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), observerNice) // who is not root measures without
	fn()
}

func (p *EchoProbe) send(ctx context.Context, fd int, interval time.Duration) {
	to := &unix.SockaddrInet4{Port: echoPort, Addr: p.target.As4()}
	frame := make([]byte, echoBytes)
	next := time.Now()
	for number := uint64(1); ctx.Err() == nil; number++ {
		binary.BigEndian.PutUint64(frame, number)
		_ = unix.Sendto(fd, frame, 0, to) // without an answer, whatever the reason
		next = next.Add(interval)
		now := time.Now()
		if next.Before(now) { // late: what was not asked cannot be asked any more
			next = now.Add(interval)
		}
		pause := unix.NsecToTimespec(next.Sub(now).Nanoseconds())
		_ = unix.Nanosleep(&pause, nil) // a signal cuts it short, no harm
	}
}

func (p *EchoProbe) read(ctx context.Context, fd int) {
	buf := make([]byte, 64)
	names := make(map[string]string) // one copy of each name
	for ctx.Err() == nil {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err != nil || n <= echoBytes {
			continue // patience ran out, or an ICMP error: no answer
		}
		at := time.Now()
		name, ok := names[string(buf[echoBytes:n])]
		if !ok {
			name = string(buf[echoBytes:n])
			names[name] = name
		}
		p.seen.add(EchoAnswer{at, name})
	}
}

// Done is closed when the probe has ended and its history is complete.
func (p *EchoProbe) Done() <-chan struct{} { return p.done }

// Answers returns those that came within [from, to].
func (p *EchoProbe) Answers(from, to time.Time) []EchoAnswer { return p.seen.between(from, to) }

// LongestGap is the longest time without an answer that touches [from, to]: from the last one before to the first one
// after. With nothing wrong it is about the interval.
func (p *EchoProbe) LongestGap(from, to time.Time) Gap {
	var good []time.Time
	for _, a := range p.seen.between(from.Add(-time.Minute), time.Now()) {
		good = append(good, a.At)
	}
	return longestGap(good, from, to)
}

// WaitAnswer waits for an answer of node ("" for any) that comes after since.
func (p *EchoProbe) WaitAnswer(ctx context.Context, since time.Time, node string) error {
	return Poll(ctx, func() error {
		last := "nobody"
		for _, a := range p.Answers(since, time.Now()) {
			if last = a.Node; node == "" || node == last {
				return nil
			}
		}
		return fmt.Errorf("the client waits for an answer of %q for %s: last: %s", node, p.target, last)
	})
}
