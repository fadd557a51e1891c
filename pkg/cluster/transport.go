package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// Limits of the transport. Given by UDP (RFC 768: the length field has 16 bits).
const maxDatagram = 65535

// Limits of the transport. Chosen by us.
const (
	maxInboundStreams = 160                   // memberlist starts a goroutine for each; after a takeover every peer may send its state at once
	firstByte         = 5 * time.Second       // for the first byte of a stream, which comes with it
	acceptPause       = 50 * time.Millisecond // after an accept or read error (out of descriptors), so as not to spin
)

// transport carries memberlist's packets and streams over one UDP and one TCP
// socket, to and from configured peers only.
//
// memberlist.NetTransport is not wrapped, because what we need lies inside it: it
// reads each packet into a fresh 64 KiB buffer before anyone can look at its
// source, a filter behind its channel costs a goroutine switch per lease
// datagram, its bind errors lose the errno, it dials from whatever source address
// the kernel picks (which the peer's filter then refuses), and user messages are
// written without a deadline.
//
// Read loops begin with start, so that nothing arrives before the Cluster is whole.
type transport struct {
	self   netip.AddrPort
	peers  map[netip.Addr]*peer // never changed
	udp    *net.UDPConn
	tcp    *net.TCPListener
	logger *slog.Logger

	// Called from the read loops; must not block.
	heard    func(*peer)                                // a packet or stream of a peer came, not yet decrypted
	sniff    func(p *peer, packet []byte, at time.Time) // a packet of a peer, before anybody else has it
	lease    func(packet []byte) bool                   // takes a packet that is a lease; false: it is not
	stranger func(from netip.AddrPort, cluster string)  // one of an unknown address was dropped
	overload func(from netip.AddrPort, limit int)       // a stream was refused
	probe    func(p *peer, from netip.AddrPort, b []byte, at time.Time)
	// probeStream is called in a goroutine of its own for a stream that begins as a probe, and closes it.
	probeStream func(*peer, net.Conn)

	packets chan *memberlist.Packet // unbuffered: memberlist has its own queue
	streams chan net.Conn           // unbuffered
	ctx     context.Context         // ends dials and the read loops
	stop    context.CancelFunc
	wg      sync.WaitGroup // the read loops

	mu   sync.Mutex
	open map[*inboundStream]struct{} // at most maxInboundStreams

	stats struct {
		packetsIn, packetsOut, bytesIn, bytesOut, streamsIn, streamsOut, strangers, refused atomic.Uint64
	}
}

var _ memberlist.NodeAwareTransport = (*transport)(nil)

// errNotPeer is returned for sending anywhere but to a configured peer. Messages
// carry reply addresses, and must not make us send elsewhere.
var errNotPeer = errors.New("not the address of a configured peer")

func newTransport(self netip.AddrPort, peers map[netip.Addr]*peer, logger *slog.Logger) (*transport, error) {
	udp, tcp, err := listen(self)
	if err != nil {
		return nil, err
	}
	t := &transport{
		self: self, peers: peers, udp: udp, tcp: tcp, logger: logger,
		packets: make(chan *memberlist.Packet),
		streams: make(chan net.Conn),
		open:    map[*inboundStream]struct{}{},
	}
	t.ctx, t.stop = context.WithCancel(context.Background())
	return t, nil
}

func (t *transport) start() {
	t.wg.Go(t.readPackets)
	t.wg.Go(t.acceptStreams)
}

// FinalAdvertiseAddr tells peers the bound address. IPv4 must be 4 bytes long:
// memberlist compares addresses as bytes.
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.self.Addr().AsSlice(), int(t.self.Port()), nil
}

// PacketCh is the channel memberlist reads packets from.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh is the channel memberlist takes accepted streams from.
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// WriteTo is WriteToAddress for a caller without a name.
func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	return t.WriteToAddress(b, memberlist.Address{Addr: addr})
}

// WriteToAddress sends a datagram, in the caller's goroutine.
func (t *transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	to, err := t.peerAddress(a)
	if err != nil {
		return time.Time{}, err
	}
	n, err := t.udp.WriteToUDPAddrPort(b, to)
	if err == nil {
		t.stats.packetsOut.Add(1)
		t.stats.bytesOut.Add(uint64(n))
	}
	return time.Now(), err
}

// DialTimeout is DialAddressTimeout for a caller without a name.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// DialAddressTimeout opens a stream from our own configured address, which is the
// one the peer's filter knows. The timeout bounds writing too, since memberlist
// sets no deadline for user messages.
func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	to, err := t.peerAddress(a)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(timeout)
	d := net.Dialer{
		Deadline:  deadline,
		KeepAlive: -1, // streams live for one exchange
		LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(t.self.Addr(), 0)),
	}
	conn, err := d.DialContext(t.ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(deadline); err != nil {
		_ = conn.Close()
		return nil, err
	}
	t.stats.streamsOut.Add(1)
	return conn, nil
}

// Shutdown closes both sockets and every inbound stream and ends dials. It
// returns when the read loops have ended. Idempotent.
func (t *transport) Shutdown() error {
	t.stop()
	err := errors.Join(ignoreClosed(t.udp.Close()), ignoreClosed(t.tcp.Close()))
	t.closeStreams() // wakes those who read their first byte
	t.wg.Wait()
	t.closeStreams()
	return err
}

func (t *transport) closeStreams() {
	t.mu.Lock()
	open := t.open
	t.open = map[*inboundStream]struct{}{}
	t.mu.Unlock()
	for s := range open {
		_ = s.Conn.Close()
	}
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (t *transport) peerAddress(a memberlist.Address) (netip.AddrPort, error) {
	to, err := netip.ParseAddrPort(a.Addr)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q: %w", a.Addr, err)
	}
	if t.peers[to.Addr()] == nil || to.Port() != t.self.Port() {
		return netip.AddrPort{}, fmt.Errorf("%s: %w", to, errNotPeer)
	}
	return to, nil
}

// readPackets looks at the source before it copies a byte, so that a flood from
// elsewhere costs one system call per packet and no memory.
func (t *transport) readPackets() {
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := t.udp.ReadFromUDPAddrPort(buf)
		at := time.Now() // close to the read: memberlist measures round trips by it
		if err != nil {
			if !t.pauseAfter(err) {
				return
			}
			continue
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		p := t.peers[from.Addr()]
		if p == nil {
			t.stats.strangers.Add(1)
			_, label, _ := memberlist.RemoveLabelHeaderFromPacket(buf[:n])
			t.stranger(from, label)
			continue
		}
		if n == 0 {
			continue // memberlist expects at least a type
		}
		t.stats.packetsIn.Add(1)
		t.stats.bytesIn.Add(uint64(n))
		if isProbe(buf[:n]) {
			t.probe(p, from, buf[:n], at)
			continue
		}
		t.heard(p)
		t.sniff(p, buf[:n], at)
		if t.lease(buf[:n]) {
			continue
		}
		// memberlist keeps the slice, and parts of it, for as long as it likes.
		packet := &memberlist.Packet{Buf: append([]byte(nil), buf[:n]...), From: net.UDPAddrFromAddrPort(from), Timestamp: at}
		select {
		case t.packets <- packet:
		case <-t.ctx.Done():
			return
		}
	}
}

func (t *transport) acceptStreams() {
	for {
		conn, err := t.tcp.AcceptTCP()
		if err != nil {
			if !t.pauseAfter(err) {
				return
			}
			continue
		}
		from := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		p := t.peers[from.Addr()]
		if p == nil {
			_ = conn.Close()
			t.stats.strangers.Add(1)
			t.stranger(from, "")
			continue
		}
		s, ok := t.admitStream(conn)
		if !ok {
			_ = conn.Close()
			t.stats.refused.Add(1)
			t.overload(from, maxInboundStreams)
			continue
		}
		t.stats.streamsIn.Add(1)
		t.wg.Go(func() { t.sortStream(p, s) })
	}
}

// sortStream looks at the first byte of a stream, and gives it to memberlist unless it is a probe. memberlist
// bounds its own reading; this is bounded by firstByte, and by maxInboundStreams.
func (t *transport) sortStream(p *peer, s *inboundStream) {
	err := s.SetReadDeadline(time.Now().Add(firstByte))
	if err == nil {
		_, err = io.ReadFull(s.Conn, s.first[:])
	}
	if err == nil {
		err = s.SetReadDeadline(time.Time{})
	}
	if err != nil {
		_ = s.Close()
		return
	}
	s.unread = s.first[:]
	if s.first[0] == probeMagic[0] {
		t.probeStream(p, s)
		return
	}
	t.heard(p)
	select {
	case t.streams <- s:
	case <-t.ctx.Done():
		_ = s.Close()
	}
}

// pauseAfter waits a moment after a socket error; false means the socket is closed.
func (t *transport) pauseAfter(err error) bool {
	if t.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
		return false
	}
	t.logger.Error("cannot read from the cluster's socket", "addr", t.self, "err", err)
	select {
	case <-time.After(acceptPause):
		return true
	case <-t.ctx.Done():
		return false
	}
}

func (t *transport) admitStream(conn net.Conn) (*inboundStream, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.open) >= maxInboundStreams || t.ctx.Err() != nil {
		return nil, false
	}
	s := &inboundStream{Conn: conn, t: t}
	t.open[s] = struct{}{}
	return s, true
}

// inboundStream counts against maxInboundStreams until it is closed.
type inboundStream struct {
	net.Conn
	t      *transport
	first  [1]byte
	unread []byte // of first
}

func (s *inboundStream) Read(b []byte) (int, error) {
	if len(s.unread) > 0 && len(b) > 0 {
		n := copy(b, s.unread)
		s.unread = s.unread[n:]
		return n, nil
	}
	return s.Conn.Read(b)
}

func (s *inboundStream) Close() error {
	s.t.mu.Lock()
	delete(s.t.open, s)
	s.t.mu.Unlock()
	return s.Conn.Close()
}
