package vip

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Given by the kernel (include/uapi/linux/netfilter/nf_tables.h) and the protocols.
const (
	fwdDevice = 1 // NFTA_FWD_SREG_DEV
	fwdAddr   = 2 // NFTA_FWD_SREG_ADDR, since 4.17
	fwdProto  = 3 // NFTA_FWD_NFPROTO, since 4.17

	reg32 = unix.NFT_REG32_00 // the first of the registers of four bytes; register 1 is the first four of them

	tcpFlagsOffset    = 13
	tcpChecksumOffset = 16
	tcpSYN            = 0x02
	tcpSYNACK         = 0x12
	tcpKindMask       = 0x17 // FIN, SYN, RST, ACK: ECN sets other bits in a SYN (RFC 3168 section 6.1.1)

	ipFragOffset = 6
	ipMoreFrags  = 0x2000
	ipFragMask   = 0x1fff
	ip6FragMask  = 0xfff8 // RFC 8200 section 4.5
	pktHost      = 0      // PACKET_HOST
)

// Keys of a connection, as the packets of the client have it: client, its port, our address, our port.
var (
	tuple4 = nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService, nftables.TypeIPAddr, nftables.TypeInetService)
	tuple6 = nftables.MustConcatSetType(nftables.TypeIP6Addr, nftables.TypeInetService, nftables.TypeIP6Addr, nftables.TypeInetService)
)

// fwd sends the packet to another machine on the device, and ends its way here: `fwd ip to ADDRESS device NAME`. The
// kernel looks the neighbour up and takes one off the TTL (net/netfilter/nft_fwd_netdev.c). google/nftables
// does not know it; the interface that is embedded is empty and never called (see marshalExpr).
type fwd struct {
	expr.Any
	device, addr uint32 // registers
	proto        byte
}

// marshalExpr encodes an expression.
func marshalExpr(f family, e expr.Any) ([]byte, error) {
	x, ours := e.(fwd)
	if !ours {
		return expr.Marshal(byte(f), e)
	}
	var a attrs
	a.string(unix.NFTA_EXPR_NAME, "fwd")
	data := a.nest(unix.NFTA_EXPR_DATA)
	a.uint32(fwdDevice, x.device)
	a.uint32(fwdAddr, x.addr)
	a.uint32(fwdProto, uint32(x.proto))
	a.end(data)
	return a, nil
}

// extras adds what only the sets of handovers have, and returns the flags that belong to it.
func (s nftSet) extras(a *attrs) (flags uint32) {
	if s.values != nil {
		flags |= unix.NFT_SET_MAP
		a.uint32(unix.NFTA_SET_DATA_TYPE, s.values.GetNFTMagic())
		a.uint32(unix.NFTA_SET_DATA_LEN, s.values.Bytes)
	}
	if s.size > 0 {
		flags |= unix.NFT_SET_EVAL
		desc := a.nest(unix.NFTA_SET_DESC)
		a.uint32(unix.NFTA_SET_DESC_SIZE, s.size)
		a.end(desc)
	}
	if s.timeout > 0 {
		a.uint64(unix.NFTA_SET_TIMEOUT, uint64(s.timeout/time.Millisecond))
	}
	return flags
}

// clearChain deletes the rules of a chain.
func (b *batch) clearChain(f family, chain string) {
	b.add(f, unix.NFT_MSG_DELRULE, 0, about{f, "old rules of", chain}, func(a *attrs) {
		a.string(unix.NFTA_RULE_TABLE, b.table)
		a.string(unix.NFTA_RULE_CHAIN, chain)
	})
}

// forward is the whole statement.
func forward(to netip.Addr, ifindex int) []expr.Any {
	proto := byte(unix.NFPROTO_IPV4)
	if to.Is6() {
		proto = unix.NFPROTO_IPV6
	}
	return exprs(
		&expr.Immediate{Register: reg32, Data: nativeUint32(uint32(ifindex))},
		&expr.Immediate{Register: reg32 + 1, Data: to.AsSlice()},
		fwd{device: reg32, addr: reg32 + 1, proto: proto},
	)
}

// part is a piece of a packet that becomes part of a key.
type part struct {
	base        expr.PayloadBase
	offset, len uint32
}

// key loads parts one behind the other, each at a multiple of four bytes, as the kernel concatenates them.
func key(parts ...part) []expr.Any {
	var out []expr.Any
	reg := uint32(reg32)
	for _, p := range parts {
		out = append(out, &expr.Payload{DestRegister: reg, Base: p.base, Offset: p.offset, Len: p.len})
		reg += (p.len + 3) / 4
	}
	return out
}

// ipLayout is where things stand in the headers of one version of IP, and in the packet that an ICMP error carries.
type ipLayout struct {
	proto          uint16 // EtherType
	src, dst, size uint32
	icmp           byte
	errors         []byte // types of ICMP errors
	innerProto     uint32 // within the packet that is carried
	innerHeader    uint32 // its length, without options
}

// RFC 791, RFC 792, RFC 8200, RFC 4443 section 2.1.
var (
	layout4 = ipLayout{proto: unix.ETH_P_IP, src: 12, dst: 16, size: 4, icmp: unix.IPPROTO_ICMP,
		errors: []byte{3, 11, 12}, innerProto: 9, innerHeader: 20}
	layout6 = ipLayout{proto: unix.ETH_P_IPV6, src: 8, dst: 24, size: 16, icmp: unix.IPPROTO_ICMPV6,
		errors: []byte{1, 2, 3, 4}, innerProto: 6, innerHeader: 40}
)

const (
	nh = expr.PayloadBaseNetworkHeader
	th = expr.PayloadBaseTransportHeader
	// icmpHeader stands before the packet that an ICMP error is about.
	icmpHeader = 8
)

func (l ipLayout) is() []expr.Any {
	return exprs(meta(expr.MetaKeyPROTOCOL), equal(byte(l.proto>>8), byte(l.proto)))
}

func (l ipLayout) isL4(proto byte) []expr.Any {
	return join(l.is(), exprs(meta(expr.MetaKeyL4PROTO), equal(proto)))
}

// loadDst and loadSrc load an address.
func (l ipLayout) loadDst() []expr.Any { return payload(nh, l.dst, l.size) }
func (l ipLayout) loadSrc() []expr.Any { return payload(nh, l.src, l.size) }

// incoming is the key of a packet that comes from a client.
func (l ipLayout) incoming() []expr.Any {
	return key(part{nh, l.src, l.size}, part{th, 0, 2}, part{nh, l.dst, l.size}, part{th, 2, 2})
}

// outgoing is the key of a packet that goes to one.
func (l ipLayout) outgoing() []expr.Any {
	return key(part{nh, l.dst, l.size}, part{th, 2, 2}, part{nh, l.src, l.size}, part{th, 0, 2})
}

// carried is the key of the packet that an ICMP error carries: one that went to the client.
func (l ipLayout) carried() []expr.Any {
	ip, tcp := uint32(icmpHeader), icmpHeader+l.innerHeader
	return key(part{th, ip + l.dst, l.size}, part{th, tcp + 2, 2}, part{th, ip + l.src, l.size}, part{th, tcp, 2})
}

// isTCPKind tells a segment by FIN, SYN, RST and ACK.
func (l ipLayout) isTCPKind(kind byte) []expr.Any {
	return join(l.isL4(unix.IPPROTO_TCP), payload(th, tcpFlagsOffset, 1), masked(tcpKindMask), exprs(equal(kind)))
}

// isErrorAboutTCP tells an ICMP error of that type about a TCP packet without IP options.
func (l ipLayout) isErrorAboutTCP(kind byte) []expr.Any {
	out := join(l.isL4(l.icmp), payload(th, 0, 1), exprs(equal(kind)),
		payload(th, icmpHeader+l.innerProto, 1), exprs(equal(unix.IPPROTO_TCP)))
	if l.size == 4 {
		out = join(out, payload(th, icmpHeader, 1), exprs(equal(0x45)))
	}
	return out
}

func masked(mask ...byte) []expr.Any {
	return exprs(&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: uint32(len(mask)), Mask: mask, Xor: make([]byte, len(mask))})
}

func notEqual(data ...byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: data}
}

// among tells whether what was loaded is in the set; without tells that it is not.
func among(set string) expr.Any { return &expr.Lookup{SourceRegister: 1, SetName: set} }

func without(set string) expr.Any {
	return &expr.Lookup{SourceRegister: 1, SetName: set, Invert: true}
}

// remember puts what was loaded into the set, or begins its timeout anew.
func remember(set string) expr.Any {
	return &expr.Dynset{SrcRegKey: reg32, SetName: set, Operation: uint32(unix.NFT_DYNSET_OP_UPDATE)}
}

func gotoChain(name string) expr.Any { return &expr.Verdict{Kind: expr.VerdictGoto, Chain: name} }

// flowKey is a connection as an element of a set: see tuple4 and tuple6.
func flowKey(f flow) []byte {
	port := func(b []byte, p uint16) []byte { return append(binary.BigEndian.AppendUint16(b, p), 0, 0) }
	b := append([]byte(nil), f.remote.Addr().AsSlice()...)
	b = port(b, f.remote.Port())
	b = append(b, f.local.Addr().AsSlice()...)
	return port(b, f.local.Port())
}
