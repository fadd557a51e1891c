package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// A Claim is how a machine claims an address on the wire without one of our questions.
type Claim string

// What an [AnnouncementWatch] tells apart.
const (
	GratuitousRequest Claim = "gratuitous ARP request"
	GratuitousReply   Claim = "gratuitous ARP reply"
	ARPRequestFrom    Claim = "ARP request from it" // about somebody else, with the address as sender
	ARPReply          Claim = "ARP reply"           // to somebody who asked: the client's own kernel
	UnsolicitedNA     Claim = "unsolicited NA"
	SolicitedNA       Claim = "NA"
)

// An Announcement is a frame in which a machine says that an address is its own.
type Announcement struct {
	At    time.Time
	Node  string // the MAC, for a stranger's
	Addr  netip.Addr
	Claim Claim
}

func (a Announcement) when() time.Time { return a.At }

// An AnnouncementWatch records, at the client's card, which machine claims one of the addresses when. Answers to an
// [Asking] are not among them.
type AnnouncementWatch struct {
	w       *World
	targets []netip.Addr
	seen    history[Announcement]
	done    chan struct{}
}

// WatchAnnouncements starts listening on World.Client. It ends with ctx.
func (w *World) WatchAnnouncements(ctx context.Context, targets ...netip.Addr) (*AnnouncementWatch, error) {
	a := &AnnouncementWatch{w: w, targets: targets, done: make(chan struct{})}
	var conns []*packet.Conn
	for _, protocol := range []int{unix.ETH_P_ARP, unix.ETH_P_IPV6} {
		conn, err := w.Client.capture(protocol)
		if err != nil {
			for _, c := range conns {
				c.Close()
			}
			return nil, fmt.Errorf("announcement watch: %w", err)
		}
		conns = append(conns, conn)
	}
	var readers sync.WaitGroup
	for _, conn := range conns {
		context.AfterFunc(ctx, func() { conn.Close() }) // ends the reader
		readers.Go(func() { stampedFrames(conn, a.read) })
	}
	go func() {
		readers.Wait()
		close(a.done)
	}()
	return a, nil
}

func (a *AnnouncementWatch) read(frame []byte, at time.Time) {
	addr, from, claim, ok := claimIn(frame)
	if ok && slices.Contains(a.targets, addr) {
		a.seen.add(Announcement{at, a.w.nameOf(from), addr, claim})
	}
}

// claimIn takes a frame apart: which address it claims, and for whom.
func claimIn(b []byte) (addr netip.Addr, from net.HardwareAddr, c Claim, ok bool) {
	if p, ok := arpPacket(b); ok {
		_, ours := numberOf(p.TargetHardwareAddr)
		switch {
		case ours: // an answer to a question of the lab
			return netip.Addr{}, nil, "", false
		case p.SenderIP == p.TargetIP && p.Operation == arp.OperationRequest:
			c = GratuitousRequest
		case p.SenderIP == p.TargetIP:
			c = GratuitousReply
		case p.Operation == arp.OperationRequest:
			c = ARPRequestFrom
		default:
			c = ARPReply
		}
		return p.SenderIP, p.SenderHardwareAddr, c, true
	}
	na, f, ok := neighborAdvertisement(b)
	if !ok {
		return netip.Addr{}, nil, "", false
	}
	if _, ours := numberOf(f.Destination); ours {
		return netip.Addr{}, nil, "", false
	}
	c = UnsolicitedNA
	if na.Solicited {
		c = SolicitedNA
	}
	return na.TargetAddress, speaker(na, f), c, true
}

// Done is closed when the watch has ended and its history is complete.
func (a *AnnouncementWatch) Done() <-chan struct{} { return a.done }

// Announcements returns what was claimed within [from, to].
func (a *AnnouncementWatch) Announcements(from, to time.Time) []Announcement {
	return a.seen.between(from, to)
}
