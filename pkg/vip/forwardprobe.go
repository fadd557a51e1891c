package vip

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/mdlayher/ethernet"
	"golang.org/x/net/bpf"
)

// Given by specifications.
const (
	protoTCP   = 6 // RFC 9293
	ipv4Header = 20
	tcpHeader  = 20
	tcpACK     = 0x10
	defaultTTL = 64
	etherAll   = 3 // ETH_P_ALL (linux/if_ether.h)
)

// Chosen by us.
const (
	// forwardProbeGap is how often the probe is repeated until it is enough: frames get lost.
	forwardProbeGap = 50 * time.Millisecond
	// forwardProbePort is where the probe comes from and goes to: discard (RFC 863), which nobody serves.
	forwardProbePort = 9
)

// The probe comes from addresses that are nobody's (RFC 5737, RFC 3849), as the packets of a client come from an
// address that is not the sending machine's. It is a segment in the middle of a connection, which is what
// will be forwarded: a switch that follows connections (OpenStack's does) may drop those too.
var (
	foreign4 = netip.MustParseAddr("192.0.2.1")
	foreign6 = netip.MustParseAddr("2001:db8::1")
)

// SendForwardProbe sends frames as steering would send them to the node `to`: from this machine's hardware
// address, but from an IP address that is not this machine's. Networks that check source addresses (hypervisors,
// port security) drop them, and the packets of connections as well; steering is of no use then. One
// goes out for each family of the group, at once and every 50 ms until ctx ends, which is no error. The receiver
// waits in AwaitForwardProbe with the same cookie, which must not be guessable. Any goroutine.
func (m *Manager) SendForwardProbe(ctx context.Context, group string, to NextHop, cookie uint64) error {
	err := m.sendForwardProbe(ctx, group, to, cookie)
	if err != nil {
		return fmt.Errorf("vip: forward probe for group %s: %w", group, err)
	}
	return nil
}

func (m *Manager) sendForwardProbe(ctx context.Context, group string, to NextHop, cookie uint64) error {
	g, err := m.group(group)
	if err != nil {
		return err
	}
	if err := to.fits(g); err != nil {
		return err
	}
	l, err := m.kernel.Link(g.Interface)
	if err != nil {
		return fmt.Errorf("%s: %w", g.Interface, err)
	}
	if !l.ethernet() {
		return fmt.Errorf("%s has no Ethernet address", l.Name)
	}
	var frames [][]byte
	for _, a := range oneOfEach(g) {
		f, err := forwardProbe(a, l.MAC, to.MAC, cookie)
		if err != nil {
			return err
		}
		frames = append(frames, f)
	}
	w, err := m.kernel.Dial(l)
	if err != nil {
		return err
	}
	defer w.Close()
	for {
		for _, f := range frames {
			if err := w.Send(f); err != nil {
				return fmt.Errorf("%s: %w", l.Name, err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(forwardProbeGap):
		}
	}
}

// AwaitForwardProbe waits until a probe with the cookie has come for each family of the group. When ctx ends
// first, the error wraps ErrNoAnswer and names what did not come. Any goroutine.
func (m *Manager) AwaitForwardProbe(ctx context.Context, group string, cookie uint64) error {
	g, err := m.group(group)
	if err != nil {
		return err
	}
	l, err := m.kernel.Link(g.Interface)
	if err != nil {
		return fmt.Errorf("vip: forward probe for group %s: %s: %w", group, g.Interface, err)
	}
	addrs := oneOfEach(g)
	errs := make([]error, len(addrs))
	var wg sync.WaitGroup
	for i, a := range addrs {
		wg.Go(func() { errs[i] = awaitForwardProbe(ctx, m.kernel, l, a, cookie) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("vip: forward probe for group %s: %w", group, err)
	}
	return nil
}

func awaitForwardProbe(ctx context.Context, k kernel, l link, to netip.Addr, cookie uint64) error {
	filter, err := forwardProbeFilter(to.Is6())
	if err != nil {
		return err
	}
	// All protocols: such a socket sees frames before the ingress hook does, which may be steering this one on.
	w, err := k.Listen(l, etherAll, filter)
	if err != nil {
		return err
	}
	defer w.Close()
	defer context.AfterFunc(ctx, func() { _ = w.SetReadDeadline(time.Unix(1, 0)) })()
	buf := make([]byte, frameMax)
	for {
		n, err := w.Receive(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("%w: no packet to %v from a foreign address came in by %s", ErrNoAnswer, to, l.Name)
		}
		if err != nil {
			return fmt.Errorf("listening on %s: %w", l.Name, err)
		}
		// A frame that was flooded to us would not be delivered to the kernel.
		if parseForwardProbe(buf[:n], to, cookie) && strings.EqualFold(net.HardwareAddr(buf[:6]).String(), l.MAC.String()) {
			return nil
		}
	}
}

// oneOfEach is the group's first address of each family.
func oneOfEach(g Group) []netip.Addr {
	var out []netip.Addr
	v4, v6 := split(g.addrs())
	if len(v4) > 0 {
		out = append(out, v4[0])
	}
	if len(v6) > 0 {
		out = append(out, v6[0])
	}
	return out
}

// forwardProbe is the frame: a TCP segment with nothing but ACK, whose numbers are the cookie.
func forwardProbe(to netip.Addr, own, dst net.HardwareAddr, cookie uint64) ([]byte, error) {
	from := foreign4
	if to.Is6() {
		from = foreign6
	}
	return segmentFrame(from, to, own, dst, cookie)
}

func segmentFrame(from, to netip.Addr, own, dst net.HardwareAddr, cookie uint64) ([]byte, error) {
	tcp := make([]byte, tcpHeader)
	binary.BigEndian.PutUint16(tcp, forwardProbePort)
	binary.BigEndian.PutUint16(tcp[2:], forwardProbePort)
	binary.BigEndian.PutUint64(tcp[4:], cookie)
	tcp[12], tcp[13] = tcpHeader/4<<4, tcpACK
	binary.BigEndian.PutUint16(tcp[14:], 1024) // window
	pseudo := append(append(from.AsSlice(), to.AsSlice()...), 0, protoTCP, 0, tcpHeader)
	binary.BigEndian.PutUint16(tcp[16:], checksum(append(pseudo, tcp...)))
	if to.Is6() {
		p := make([]byte, ipv6Header)
		p[0] = 6 << 4
		binary.BigEndian.PutUint16(p[4:], tcpHeader)
		p[6], p[7] = protoTCP, defaultTTL
		copy(p[8:], from.AsSlice())
		copy(p[24:], to.AsSlice())
		return etherFrame(dst, own, ethernet.EtherTypeIPv6, append(p, tcp...))
	}
	p := make([]byte, ipv4Header)
	p[0] = 4<<4 | ipv4Header/4
	binary.BigEndian.PutUint16(p[2:], ipv4Header+tcpHeader)
	p[6] = 0x40 // don't fragment
	p[8], p[9] = defaultTTL, protoTCP
	copy(p[12:], from.AsSlice())
	copy(p[16:], to.AsSlice())
	binary.BigEndian.PutUint16(p[10:], checksum(p))
	return etherFrame(dst, own, ethernet.EtherTypeIPv4, append(p, tcp...))
}

// parseForwardProbe tells whether a frame is the probe to that address with that cookie.
func parseForwardProbe(frame []byte, to netip.Addr, cookie uint64) bool {
	header, dst := ipv4Header, 16
	if to.Is6() {
		header, dst = ipv6Header, 24
	}
	if len(frame) < etherHeader+header+tcpHeader {
		return false
	}
	ip := frame[etherHeader:]
	a, ok := netip.AddrFromSlice(ip[dst : dst+to.BitLen()/8])
	return ok && a == to && binary.BigEndian.Uint64(ip[header+4:]) == cookie
}

// forwardProbeFilter lets IP packets from our foreign address pass.
func forwardProbeFilter(v6 bool) ([]bpf.RawInstruction, error) {
	kind, off, from := uint32(ethernet.EtherTypeIPv4), uint32(etherHeader+12), foreign4.AsSlice()
	if v6 {
		kind, off, from = uint32(ethernet.EtherTypeIPv6), etherHeader+8, foreign6.AsSlice()[:4]
	}
	raw, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: kind, SkipFalse: 2},
		bpf.LoadAbsolute{Off: off, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(from), SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: frameMax},
	})
	if err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	return raw, nil
}

// checksum is the Internet checksum (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
