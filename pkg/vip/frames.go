package vip

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
	"golang.org/x/net/bpf"
)

// Given by specifications.
const (
	etherHeader   = 14  // IEEE 802.3, without a tag: the kernel takes it off
	arpSize       = 28  // RFC 826 with Ethernet and IPv4 addresses
	ipv6Header    = 40  // RFC 8200 section 3
	protoICMPv6   = 58  // RFC 4443 section 1
	ndpHops       = 255 // RFC 4861 section 7.1: proves that the sender is on this link
	typeNA        = 136 // RFC 4861 section 4.4
	naTarget      = 8   // offset of the target in NS and NA, RFC 4861 sections 4.3 and 4.4
	hardwareEther = 1   // RFC 826: ar$hrd
)

// Chosen by us.
const (
	// filterAddresses is how many addresses a socket filter compares; beyond that it lets every claim
	// through, and the map lookup in the process decides. Two instructions each must stay well below the
	// 4096 of BPF_MAXINSNS and 20 KiB of net.core.optmem_max.
	filterAddresses = 256
	frameMax        = 256 // an ARP or NA frame is below 100 bytes; longer ones are cut, then refused
)

var (
	allNodes    = netip.MustParseAddr("ff02::1")
	allNodesMAC = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
	zeroMAC     = make(net.HardwareAddr, 6)
)

// garpRequest announces a as RFC 5227 section 2.3 asks for it: a request for our own address, target hardware
// address zero. dst is broadcast or one neighbour.
func garpRequest(a netip.Addr, own, dst net.HardwareAddr) ([]byte, error) {
	return arpFrame(arp.OperationRequest, own, a, zeroMAC, a, dst)
}

// garpReply announces a as a reply, for those who look at nothing else. The target hardware address is our
// own (RFC 5944 section 4.6): only then does Linux take it for gratuitous and overwrite an entry within
// its locktime (arp_is_garp in net/ipv4/arp.c).
func garpReply(a netip.Addr, own, dst net.HardwareAddr) ([]byte, error) {
	return arpFrame(arp.OperationReply, own, a, own, a, dst)
}

// arpProbe asks who has a without telling anybody that we might: sender address 0.0.0.0 (RFC 5227 section 2.1.1).
// With a valid sender it is a plain request.
func arpProbe(a netip.Addr, own net.HardwareAddr, sender netip.Addr) ([]byte, error) {
	if !sender.IsValid() {
		sender = netip.IPv4Unspecified()
	}
	return arpFrame(arp.OperationRequest, own, sender, zeroMAC, a, ethernet.Broadcast)
}

func arpFrame(op arp.Operation, own net.HardwareAddr, sender netip.Addr, targetMAC net.HardwareAddr, target netip.Addr, dst net.HardwareAddr) ([]byte, error) {
	p, err := arp.NewPacket(op, own, sender, targetMAC, target)
	if err != nil {
		return nil, fmt.Errorf("arp %v: %w", target, err)
	}
	payload, err := p.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("arp %v: %w", target, err)
	}
	return etherFrame(dst, own, ethernet.EtherTypeARP, payload)
}

// advertisement is an unsolicited neighbour advertisement with the override flag, to all nodes (RFC 4861 section
// 7.2.6). To one neighbour it goes in a unicast frame with the same multicast destination, which RFC 6085
// allows and which saves knowing the neighbour's IPv6 address. A router has to say that it is
// one, or its neighbours drop their routes through it.
func advertisement(a netip.Addr, own, dst net.HardwareAddr, router bool) ([]byte, error) {
	return ndpFrame(&ndp.NeighborAdvertisement{
		Router: router, Override: true, TargetAddress: a,
		Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: own}},
	}, own, dst, a, allNodes)
}

// solicitation asks who has a. With an invalid sender it has the form of duplicate address detection: from ::,
// without our hardware address (RFC 4862 section 5.4.2); the answer then goes to all nodes.
func solicitation(a netip.Addr, own net.HardwareAddr, sender netip.Addr) ([]byte, error) {
	group, err := ndp.SolicitedNodeMulticast(a)
	if err != nil {
		return nil, fmt.Errorf("solicitation for %v: %w", a, err)
	}
	ns := &ndp.NeighborSolicitation{TargetAddress: a}
	if sender.IsValid() {
		ns.Options = []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: own}}
	} else {
		sender = netip.IPv6Unspecified()
	}
	g := group.As16()
	dst := net.HardwareAddr{0x33, 0x33, g[12], g[13], g[14], g[15]} // RFC 2464 section 7
	return ndpFrame(ns, own, dst, sender, group)
}

func ndpFrame(m ndp.Message, own, dst net.HardwareAddr, from, to netip.Addr) ([]byte, error) {
	body, err := ndp.MarshalMessageChecksum(m, from, to)
	if err != nil {
		return nil, fmt.Errorf("ndp %v: %w", from, err)
	}
	p := make([]byte, ipv6Header, ipv6Header+len(body))
	p[0] = 6 << 4
	binary.BigEndian.PutUint16(p[4:], uint16(len(body)))
	p[6], p[7] = protoICMPv6, ndpHops
	copy(p[8:], from.AsSlice())
	copy(p[24:], to.AsSlice())
	return etherFrame(dst, own, ethernet.EtherTypeIPv6, append(p, body...))
}

func etherFrame(dst, src net.HardwareAddr, typ ethernet.EtherType, payload []byte) ([]byte, error) {
	f := ethernet.Frame{Destination: dst, Source: src, EtherType: typ, Payload: payload}
	b, err := f.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("frame: %w", err)
	}
	return b, nil
}

// parseClaim reads who claims which address: an ARP frame of either kind with a sender address, or a neighbour
// advertisement. Anything else, and anything malformed, is no claim.
func parseClaim(frame []byte) (Claim, bool) {
	if len(frame) < etherHeader {
		return Claim{}, false
	}
	body := frame[etherHeader:]
	switch ethernet.EtherType(binary.BigEndian.Uint16(frame[12:])) {
	case ethernet.EtherTypeARP:
		var p arp.Packet
		if len(body) < arpSize || body[4] != 6 || body[5] != 4 || p.UnmarshalBinary(body) != nil {
			return Claim{}, false
		}
		if p.HardwareType != hardwareEther || p.ProtocolType != uint16(ethernet.EtherTypeIPv4) || p.SenderIP.IsUnspecified() {
			return Claim{}, false
		}
		return Claim{Addr: p.SenderIP, MAC: p.SenderHardwareAddr}, true
	case ethernet.EtherTypeIPv6:
		if len(body) < ipv6Header || body[0]>>4 != 6 || body[6] != protoICMPv6 || body[7] != ndpHops {
			return Claim{}, false
		}
		end := ipv6Header + int(binary.BigEndian.Uint16(body[4:]))
		if end > len(body) {
			return Claim{}, false
		}
		m, err := ndp.ParseMessage(body[ipv6Header:end])
		na, isNA := m.(*ndp.NeighborAdvertisement)
		if err != nil || !isNA {
			return Claim{}, false
		}
		mac := net.HardwareAddr(append([]byte(nil), frame[6:12]...))
		for _, o := range na.Options {
			if l, ok := o.(*ndp.LinkLayerAddress); ok && l.Direction == ndp.Target {
				mac = l.Addr
			}
		}
		return Claim{Addr: na.TargetAddress, MAC: mac}, true
	}
	return Claim{}, false
}

// claimFilter lets through what may be a claim on one of addrs (all of one family), so that the rest of the
// traffic costs a few instructions in the kernel. It compares four bytes: the IPv4 address, or the end of
// the IPv6 one; parseClaim and a map decide.
func claimFilter(addrs []netip.Addr, v6 bool) ([]bpf.RawInstruction, error) {
	const drop, keep = 0, frameMax
	var prog []bpf.Instruction
	last := uint32(etherHeader + 14) // ARP sender address: 8 bytes of header, 6 of hardware address
	if v6 {
		last = etherHeader + ipv6Header + naTarget + 12
		prog = append(prog,
			bpf.LoadAbsolute{Off: etherHeader + 6, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoICMPv6, SkipTrue: 1},
			bpf.RetConstant{Val: drop},
			bpf.LoadAbsolute{Off: etherHeader + ipv6Header, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeNA, SkipTrue: 1},
			bpf.RetConstant{Val: drop},
		)
	}
	if len(addrs) <= filterAddresses {
		prog = append(prog, bpf.LoadAbsolute{Off: last, Size: 4})
		for _, a := range addrs {
			b := a.AsSlice()
			prog = append(prog,
				bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(b[len(b)-4:]), SkipTrue: 1},
				bpf.RetConstant{Val: keep})
		}
		prog = append(prog, bpf.RetConstant{Val: drop})
	} else {
		prog = append(prog, bpf.RetConstant{Val: keep})
	}
	raw, err := bpf.Assemble(prog)
	if err != nil {
		return nil, fmt.Errorf("socket filter: %w", err)
	}
	return raw, nil
}
