package lab

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
	"golang.org/x/sys/unix"
)

// Given by specifications.
const (
	ipv6Header  = 40  // RFC 8200 section 3
	protoICMPv6 = 58  // RFC 4443 section 1
	ndpHops     = 255 // RFC 4861 section 7.1: proves that the sender is on this link
)

// ndAskers is how many source addresses the questions take in turn. A machine keeps the hardware address of a
// question until the next one from the same source, so an answer may take ndAskers intervals before
// it could carry a later number. They are few because all machines of the lab share one neighbour table of
// the kernel (gc_thresh3, 1024 entries). Chosen by us.
const ndAskers = 32

// An NDWatch is an [Asking] in neighbour discovery (RFC 4861).
//
// Answers are told apart: each solicitation carries its number in the source link-layer address option, to
// which the answering machine sends its advertisement. Who answers is what the target link-layer address option
// of that says. The sources are addresses no machine has.
type NDWatch struct{ *Asking }

// WatchND starts asking from World.Client who has target (IPv6). It ends with ctx. interval 0 means 5 ms.
func (w *World) WatchND(ctx context.Context, target netip.Addr, interval time.Duration) (*NDWatch, error) {
	if !target.Is6() {
		return nil, fmt.Errorf("ND watch: %s is not an IPv6 address", target)
	}
	card, client := w.Client.MAC, w.Client.Addr6.Addr()
	a, err := w.ask(ctx, target, dialect{
		protocol: unix.ETH_P_IPV6,
		question: func(number uint32) ([]byte, net.HardwareAddr, error) {
			return solicitation(number, card, target, client)
		},
		answer: func(frame []byte) (uint32, net.HardwareAddr, bool) { return advertisement(frame, target) },
	}, cmp.Or(interval, askInterval))
	if err != nil {
		return nil, fmt.Errorf("ND watch: %w", err)
	}
	return &NDWatch{a}, nil
}

// solicitation builds the frame with the question (RFC 4861 section 4.3).
func solicitation(number uint32, card net.HardwareAddr, target, client netip.Addr) (frame []byte, to net.HardwareAddr, err error) {
	group, err := ndp.SolicitedNodeMulticast(target)
	if err != nil {
		return nil, nil, err
	}
	asker := client.As16()
	asker[8], asker[15] = 0x0b, byte(number%ndAskers)
	from := netip.AddrFrom16(asker)
	body, err := ndp.MarshalMessageChecksum(&ndp.NeighborSolicitation{
		TargetAddress: target,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: numbered(number)}},
	}, from, group)
	if err != nil {
		return nil, nil, err
	}
	p := make([]byte, ipv6Header, ipv6Header+len(body))
	p[0] = 6 << 4
	binary.BigEndian.PutUint16(p[4:], uint16(len(body)))
	p[6], p[7] = protoICMPv6, ndpHops
	copy(p[8:], from.AsSlice())
	copy(p[24:], group.AsSlice())
	g := group.As16()
	to = net.HardwareAddr{0x33, 0x33, g[12], g[13], g[14], g[15]} // RFC 2464 section 7
	f := ethernet.Frame{Destination: to, Source: card, EtherType: ethernet.EtherTypeIPv6, Payload: append(p, body...)}
	frame, err = f.MarshalBinary()
	return frame, to, err
}

// advertisement takes a frame apart: the number of the question it answers, and who answers.
func advertisement(b []byte, target netip.Addr) (number uint32, from net.HardwareAddr, ok bool) {
	na, f, ok := neighborAdvertisement(b)
	if !ok || !na.Solicited || na.TargetAddress != target {
		return 0, nil, false
	}
	number, ok = numberOf(f.Destination)
	return number, speaker(na, f), ok
}

// neighborAdvertisement takes a frame apart.
func neighborAdvertisement(b []byte) (na *ndp.NeighborAdvertisement, f ethernet.Frame, ok bool) {
	if f.UnmarshalBinary(b) != nil || f.EtherType != ethernet.EtherTypeIPv6 ||
		len(f.Payload) < ipv6Header || f.Payload[6] != protoICMPv6 {
		return nil, f, false
	}
	m, err := ndp.ParseMessage(f.Payload[ipv6Header:])
	if err != nil {
		return nil, f, false // another message of ICMPv6
	}
	na, ok = m.(*ndp.NeighborAdvertisement)
	return na, f, ok
}

// speaker is the machine an advertisement names, or the sender of the frame.
func speaker(na *ndp.NeighborAdvertisement, f ethernet.Frame) net.HardwareAddr {
	for _, o := range na.Options {
		if lla, ok := o.(*ndp.LinkLayerAddress); ok && lla.Direction == ndp.Target {
			return lla.Addr
		}
	}
	return f.Source
}
