package lab

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"golang.org/x/sys/unix"
)

// An ARPWatch is an [Asking] in ARP.
//
// Answers are told apart exactly: each question carries its number in the sender's hardware address, which
// RFC 826 makes the answer's target. The sender's IP is an address no machine has.
type ARPWatch struct{ *Asking }

// WatchARP starts asking from World.Client who has target (IPv4). It ends with ctx. interval 0 means 5 ms.
func (w *World) WatchARP(ctx context.Context, target netip.Addr, interval time.Duration) (*ARPWatch, error) {
	if !target.Is4() {
		return nil, fmt.Errorf("ARP watch: %s is not an IPv4 address", target)
	}
	card, client := w.Client.MAC, w.Client.Addr4.Addr()
	a, err := w.ask(ctx, target, dialect{
		protocol: unix.ETH_P_ARP,
		question: func(number uint32) ([]byte, net.HardwareAddr, error) {
			frame, err := question(number, card, target, client)
			return frame, ethernet.Broadcast, err
		},
		answer: func(frame []byte) (uint32, net.HardwareAddr, bool) { return answer(frame, target) },
	}, cmp.Or(interval, askInterval))
	if err != nil {
		return nil, fmt.Errorf("ARP watch: %w", err)
	}
	return &ARPWatch{a}, nil
}

// numbered is the hardware address that carries a question's number.
func numbered(number uint32) net.HardwareAddr {
	mac := make(net.HardwareAddr, 6)
	copy(mac, askMark[:])
	binary.BigEndian.PutUint32(mac[2:], number)
	return mac
}

// numberOf undoes numbered.
func numberOf(mac net.HardwareAddr) (number uint32, ok bool) {
	if len(mac) != 6 || [2]byte(mac[:2]) != askMark {
		return 0, false
	}
	return binary.BigEndian.Uint32(mac[2:]), true
}

// question builds the frame: the sender's hardware address in the ARP packet carries the number, while the
// frame itself comes from the client's card, so that the switch learns nothing odd.
func question(number uint32, card net.HardwareAddr, target, client netip.Addr) ([]byte, error) {
	asker := client.As4()
	asker[3] = askerHost
	p, err := arp.NewPacket(arp.OperationRequest, numbered(number), netip.AddrFrom4(asker), make(net.HardwareAddr, 6), target)
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

// answer takes a frame apart: the number of the question it answers, and who answers.
func answer(b []byte, target netip.Addr) (number uint32, from net.HardwareAddr, ok bool) {
	p, ok := arpPacket(b)
	if !ok || p.Operation != arp.OperationReply || p.SenderIP != target {
		return 0, nil, false
	}
	number, ok = numberOf(p.TargetHardwareAddr)
	return number, p.SenderHardwareAddr, ok
}

// arpPacket takes a frame apart.
func arpPacket(b []byte) (p arp.Packet, ok bool) {
	var f ethernet.Frame
	if f.UnmarshalBinary(b) != nil || f.EtherType != ethernet.EtherTypeARP || p.UnmarshalBinary(f.Payload) != nil {
		return p, false
	}
	return p, true
}
