package vip

import (
	"encoding/binary"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Given by RFC 4861 section 4.3 and 4.4, and RFC 826.
const (
	ndSolicitation  = 135
	ndAdvertisement = 136
	ndTargetOffset  = 8
	arpSenderOffset = 14 // in a message with Ethernet addresses
)

// The expressions below are how nft writes the same rules, so that nft prints them the same way.

func exprs(e ...expr.Any) []expr.Any { return e }

func join(parts ...[]expr.Any) []expr.Any {
	var out []expr.Any
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func meta(key expr.MetaKey) expr.Any { return &expr.Meta{Key: key, Register: 1} }

func equal(data ...byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data} }

func verdict(kind expr.VerdictKind) expr.Any { return &expr.Verdict{Kind: kind} }

func lookup(set string) expr.Any { return &expr.Lookup{SourceRegister: 1, SetName: set} }

// vmap goes to the chain that the map has for what was loaded, and on to the next rule where it has none.
func vmap(name string) []expr.Any {
	return exprs(&expr.Lookup{SourceRegister: 1, DestRegister: 0, IsDestRegSet: true, SetName: name})
}

func payload(base expr.PayloadBase, offset, length uint32) []expr.Any {
	return exprs(&expr.Payload{DestRegister: 1, Base: base, Offset: offset, Len: length})
}

func isProto(proto byte) []expr.Any { return exprs(meta(expr.MetaKeyNFPROTO), equal(proto)) }

// isEther looks into the frame: what a program said of its own frame to the kernel may differ.
func isEther(proto uint16) []expr.Any {
	return join(payload(expr.PayloadBaseLLHeader, 12, 2), exprs(equal(byte(proto>>8), byte(proto))))
}

func isND(kind byte) []expr.Any {
	return join(exprs(meta(expr.MetaKeyL4PROTO), equal(unix.IPPROTO_ICMPV6)),
		payload(expr.PayloadBaseTransportHeader, 0, 1), exprs(equal(kind)))
}

// ndTarget is the address that a solicitation or advertisement is about. nft knows a name for it since 1.0.8,
// and prints "@th,64,128" before.
func ndTarget() []expr.Any { return payload(expr.PayloadBaseTransportHeader, ndTargetOffset, 16) }

func arpSender() []expr.Any { return payload(expr.PayloadBaseNetworkHeader, arpSenderOffset, 4) }

// ifname is the name as the kernel compares it, to its full length.
func ifname(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

func nativeUint32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
