package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// A Question is one "who has the address?" on the wire, and who answered.
type Question struct {
	Sent  time.Time
	Nodes []string // names of the answering machines (the MAC, for a stranger's), in order; empty: nobody
}

func (q Question) when() time.Time { return q.Sent }

// Chosen by us.
const (
	askInterval = 5 * time.Millisecond
	// askPatience is how long an answer may take before its question is closed: much longer than a
	// stalled machine of the lab takes to be scheduled.
	askPatience = 500 * time.Millisecond
)

// askMark starts the hardware address of every question: locally administered, and no machine of the
// lab has one like it. The question's number follows.
var askMark = [2]byte{0x02, 0x0b}

// A dialect is a protocol in which one asks who has an address.
type dialect struct {
	protocol int // unix.ETH_P_*
	// question builds the frame with this number, and says where it goes.
	question func(number uint32) (frame []byte, to net.HardwareAddr, err error)
	// answer takes a frame apart: the number of the question it answers, and who answers.
	answer func(frame []byte) (number uint32, from net.HardwareAddr, ok bool)
}

// An Asking asks on the wire who has an address, every few milliseconds, and records who answers each question. Two
// answers to one question are two owners: that is what hbagent promises never to happen, asserted on
// packets and not on anybody's word.
type Asking struct {
	w      *World
	target netip.Addr
	speak  dialect
	conn   *packet.Conn
	done   chan struct{}

	mu      sync.Mutex
	waiting map[uint32]*Question // answers may still come
	closed  history[Question]
}

// ask starts asking from World.Client. It ends with ctx.
func (w *World) ask(ctx context.Context, target netip.Addr, d dialect, interval time.Duration) (*Asking, error) {
	a := &Asking{w: w, target: target, speak: d, done: make(chan struct{}), waiting: make(map[uint32]*Question)}
	var err error
	if a.conn, err = w.Client.capture(d.protocol); err != nil {
		return nil, err
	}
	go a.run(ctx, interval)
	return a, nil
}

// capture opens a socket for whole frames on the machine's card, those for others included: answers go to
// hardware addresses that we made up.
func (n *Node) capture(protocol int) (conn *packet.Conn, err error) {
	err = n.Do(func() error {
		ifi, err := net.InterfaceByName(nic)
		if err != nil {
			return err
		}
		conn, err = packet.Listen(ifi, packet.Raw, protocol, nil)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(conn.SetPromiscuous(true), stamp(conn)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// frames calls got with each frame until the socket is closed. The bytes are only good until got returns.
func frames(conn *packet.Conn, got func([]byte)) {
	buf := make([]byte, 1514)
	for {
		k, _, err := conn.ReadFrom(buf)
		if errors.Is(err, os.ErrClosed) || errors.Is(err, net.ErrClosed) || errors.Is(err, unix.EBADF) {
			return // the last where Close came between two reads (mdlayher/socket)
		}
		if err == nil { // ENETDOWN while the client's cable is out
			got(buf[:k])
		}
	}
}

func (a *Asking) run(ctx context.Context, interval time.Duration) {
	defer close(a.done)
	var reader sync.WaitGroup
	reader.Go(func() { frames(a.conn, a.read) })
	defer reader.Wait()
	defer a.conn.Close() // ends the reader
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for number := uint32(1); ; number++ {
		select {
		case <-ctx.Done():
			a.closeBefore(time.Now())
			return
		case now := <-tick.C:
			a.closeBefore(now.Add(-askPatience))
			a.put(number)
		}
	}
}

// put sends one question.
func (a *Asking) put(number uint32) {
	frame, to, err := a.speak.question(number)
	if err != nil {
		a.w.log.Error("who has the address", "addr", a.target, "err", err)
		return
	}
	a.mu.Lock()
	a.waiting[number] = &Question{Sent: time.Now()}
	a.mu.Unlock()
	if _, err := a.conn.WriteTo(frame, &packet.Addr{HardwareAddr: to}); err != nil {
		// Not on the wire (the client's cable is out): no question.
		a.mu.Lock()
		delete(a.waiting, number)
		a.mu.Unlock()
	}
}

func (a *Asking) read(frame []byte) {
	number, mac, ok := a.speak.answer(frame)
	if !ok {
		return
	}
	node := a.w.nameOf(mac)
	a.mu.Lock()
	defer a.mu.Unlock()
	if q := a.waiting[number]; q != nil && !slices.Contains(q.Nodes, node) {
		q.Nodes = append(q.Nodes, node)
	}
}

// closeBefore moves questions sent before t to the history.
func (a *Asking) closeBefore(t time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for number, q := range a.waiting {
		if q.Sent.Before(t) {
			delete(a.waiting, number)
			a.closed.add(*q)
		}
	}
}

// Target is the address that is asked for.
func (a *Asking) Target() netip.Addr { return a.target }

// Done is closed when the watch has ended and its history is complete.
func (a *Asking) Done() <-chan struct{} { return a.done }

// Questions returns those sent within [from, to], the latest (still open for half a second) included.
func (a *Asking) Questions(from, to time.Time) []Question {
	a.mu.Lock() // before the history: a question that closes meanwhile is in one of the two, and in one only
	var open []Question
	for _, q := range a.waiting {
		if !q.Sent.Before(from) && !q.Sent.After(to) {
			open = append(open, Question{q.Sent, slices.Clone(q.Nodes)})
		}
	}
	qs := a.closed.between(from, to)
	a.mu.Unlock()
	slices.SortFunc(open, func(a, b Question) int { return a.Sent.Compare(b.Sent) })
	return append(qs, open...)
}

// OwnersOverlap returns the questions within [from, to] that two or more machines answered.
func (a *Asking) OwnersOverlap(from, to time.Time) []Question {
	return slices.DeleteFunc(a.Questions(from, to), func(q Question) bool { return len(q.Nodes) < 2 })
}

// LongestGap is the longest time within [from, to] in which nobody answered for the address.
func (a *Asking) LongestGap(from, to time.Time) Gap {
	var good []time.Time
	for _, q := range a.Questions(time.Time{}, time.Now()) {
		if len(q.Nodes) > 0 {
			good = append(good, q.Sent)
		}
	}
	return longestGap(good, from, to)
}

// WaitAnswers waits until exactly these machines answer a question asked after since.
func (a *Asking) WaitAnswers(ctx context.Context, since time.Time, nodes ...string) error {
	want := slices.Sorted(slices.Values(nodes))
	return Poll(ctx, func() error {
		var last []string
		for _, q := range a.Questions(since, time.Now()) {
			last = slices.Sorted(slices.Values(q.Nodes))
			if slices.Equal(last, want) {
				return nil
			}
		}
		return fmt.Errorf("who has %s: want an answer of %v, last %v", a.target, want, last)
	})
}
