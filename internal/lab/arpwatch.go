package lab

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// An ARPQuestion is one "who has the address?" on the wire, and who answered.
type ARPQuestion struct {
	Sent  time.Time
	Nodes []string // names of the answering machines (the MAC, for a stranger's), in order; empty: nobody
}

func (q ARPQuestion) when() time.Time { return q.Sent }

// An ARPWatch asks who has an address, every few milliseconds, and records who answers each question. Two
// answers to one question are two owners: that is what hbagent promises never to happen, asserted on
// packets and not on anybody's word.
//
// Answers are told apart exactly: each question carries its number in the sender's hardware address, which
// RFC 826 makes the answer's target. The sender's IP is an address no machine has.
type ARPWatch struct {
	w      *World
	target netip.Addr
	conn   *packet.Conn
	mac    net.HardwareAddr // the client's
	done   chan struct{}

	mu      sync.Mutex
	waiting map[uint32]*ARPQuestion // answers may still come
	closed  history[ARPQuestion]
}

// Chosen by us.
const (
	arpInterval = 5 * time.Millisecond
	// arpPatience is how long an answer may take before its question is closed: much longer than a
	// stalled machine of the lab takes to be scheduled.
	arpPatience = 500 * time.Millisecond
)

// arpMark starts the hardware address of every question: locally administered, and no machine of the
// lab has one like it. The question's number follows.
var arpMark = [2]byte{0x02, 0x0b}

// WatchARP starts asking from World.Client who has target (IPv4). It ends with ctx. interval 0 means 5 ms.
func (w *World) WatchARP(ctx context.Context, target netip.Addr, interval time.Duration) (*ARPWatch, error) {
	if !target.Is4() {
		return nil, fmt.Errorf("ARP watch: %s is not an IPv4 address", target)
	}
	a := &ARPWatch{w: w, target: target, mac: w.Client.MAC, done: make(chan struct{}), waiting: make(map[uint32]*ARPQuestion)}
	err := w.Client.Do(func() error {
		ifi, err := net.InterfaceByName(nic)
		if err != nil {
			return err
		}
		a.conn, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_ARP, nil)
		return err
	})
	if err == nil {
		// Answers go to the hardware addresses we made up.
		if err = a.conn.SetPromiscuous(true); err != nil {
			a.conn.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("ARP watch: %w", err)
	}
	go a.run(ctx, cmp.Or(interval, arpInterval))
	return a, nil
}

func (a *ARPWatch) run(ctx context.Context, interval time.Duration) {
	defer close(a.done)
	var reader sync.WaitGroup
	reader.Go(a.read)
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
			a.closeBefore(now.Add(-arpPatience))
			a.ask(number)
		}
	}
}

func (a *ARPWatch) ask(number uint32) {
	frame, err := question(number, a.mac, a.target, a.w.Client.Addr4.Addr())
	if err != nil {
		a.w.log.Error("ARP watch", "err", err)
		return
	}
	a.mu.Lock()
	a.waiting[number] = &ARPQuestion{Sent: time.Now()}
	a.mu.Unlock()
	if _, err := a.conn.WriteTo(frame, &packet.Addr{HardwareAddr: ethernet.Broadcast}); err != nil {
		// Not on the wire (the client's cable is out): no question.
		a.mu.Lock()
		delete(a.waiting, number)
		a.mu.Unlock()
	}
}

// question builds the frame: the sender's hardware address in the ARP packet carries the number, while the
// frame itself comes from the client's card, so that the switch learns nothing odd.
func question(number uint32, card net.HardwareAddr, target, client netip.Addr) ([]byte, error) {
	asker := client.As4()
	asker[3] = askerHost
	sender := make(net.HardwareAddr, 6)
	copy(sender, arpMark[:])
	binary.BigEndian.PutUint32(sender[2:], number)
	p, err := arp.NewPacket(arp.OperationRequest, sender, netip.AddrFrom4(asker), make(net.HardwareAddr, 6), target)
	if err != nil {
		return nil, err
	}
	payload, err := p.MarshalBinary()
	if err != nil {
		return nil, err
	}
	f := ethernet.Frame{Destination: ethernet.Broadcast, Source: card, EtherType: ethernet.EtherTypeARP, Payload: payload}
	return f.MarshalBinary()
}

func (a *ARPWatch) read() {
	buf := make([]byte, 1514)
	for {
		k, _, err := a.conn.ReadFrom(buf)
		if errors.Is(err, os.ErrClosed) || errors.Is(err, net.ErrClosed) || errors.Is(err, unix.EBADF) {
			return // the last where Close came between two reads (mdlayher/socket)
		}
		if err != nil {
			continue // ENETDOWN while the client's cable is out
		}
		if number, mac, ok := answer(buf[:k], a.target); ok {
			a.note(number, a.w.nameOf(mac))
		}
	}
}

// answer takes a frame apart: the number of the question it answers, and who answers.
func answer(b []byte, target netip.Addr) (number uint32, from net.HardwareAddr, ok bool) {
	var f ethernet.Frame
	var p arp.Packet
	if f.UnmarshalBinary(b) != nil || f.EtherType != ethernet.EtherTypeARP || p.UnmarshalBinary(f.Payload) != nil {
		return 0, nil, false
	}
	if p.Operation != arp.OperationReply || p.SenderIP != target ||
		len(p.TargetHardwareAddr) != 6 || [2]byte(p.TargetHardwareAddr[:2]) != arpMark {
		return 0, nil, false
	}
	return binary.BigEndian.Uint32(p.TargetHardwareAddr[2:]), p.SenderHardwareAddr, true
}

func (a *ARPWatch) note(number uint32, node string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	q := a.waiting[number]
	if q != nil && !slices.Contains(q.Nodes, node) {
		q.Nodes = append(q.Nodes, node)
	}
}

// closeBefore moves questions sent before t to the history.
func (a *ARPWatch) closeBefore(t time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for number, q := range a.waiting {
		if q.Sent.Before(t) {
			delete(a.waiting, number)
			a.closed.add(*q)
		}
	}
}

// Done is closed when the watch has ended and its history is complete.
func (a *ARPWatch) Done() <-chan struct{} { return a.done }

// Questions returns those sent within [from, to], the latest (still open for half a second) included.
func (a *ARPWatch) Questions(from, to time.Time) []ARPQuestion {
	qs := a.closed.between(from, to)
	a.mu.Lock()
	defer a.mu.Unlock()
	var open []ARPQuestion
	for _, q := range a.waiting {
		if !q.Sent.Before(from) && !q.Sent.After(to) {
			open = append(open, ARPQuestion{q.Sent, slices.Clone(q.Nodes)})
		}
	}
	slices.SortFunc(open, func(a, b ARPQuestion) int { return a.Sent.Compare(b.Sent) })
	return append(qs, open...)
}

// OwnersOverlap returns the questions within [from, to] that two or more machines answered.
func (a *ARPWatch) OwnersOverlap(from, to time.Time) []ARPQuestion {
	return slices.DeleteFunc(a.Questions(from, to), func(q ARPQuestion) bool { return len(q.Nodes) < 2 })
}

// LongestGap is the longest time within [from, to] in which nobody answered for the address.
func (a *ARPWatch) LongestGap(from, to time.Time) Gap {
	var good []time.Time
	for _, q := range a.Questions(time.Time{}, time.Now()) {
		if len(q.Nodes) > 0 {
			good = append(good, q.Sent)
		}
	}
	return longestGap(good, from, to)
}

// WaitAnswers waits until exactly these machines answer a question asked after since.
func (a *ARPWatch) WaitAnswers(ctx context.Context, since time.Time, nodes ...string) error {
	want := slices.Sorted(slices.Values(nodes))
	return poll(ctx, func() error {
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
