package vip

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// attrs is a list of netlink attributes in the making, as nf_tables reads it: numbers in network byte order,
// everything aligned to four bytes (include/uapi/linux/netlink.h).
type attrs []byte

// begin starts an attribute whose value is what is added until end gets what begin returned.
func (a *attrs) begin(typ uint16) int {
	at := len(*a)
	*a = binary.NativeEndian.AppendUint16(*a, 0) // the length, later
	*a = binary.NativeEndian.AppendUint16(*a, typ)
	return at
}

func (a *attrs) end(at int) {
	binary.NativeEndian.PutUint16((*a)[at:], uint16(len(*a)-at))
	a.align()
}

func (a *attrs) align() {
	for len(*a)%unix.NLA_ALIGNTO != 0 {
		*a = append(*a, 0)
	}
}

// nest begins an attribute that has attributes as its value.
func (a *attrs) nest(typ uint16) int { return a.begin(typ | unix.NLA_F_NESTED) }

func (a *attrs) bytes(typ uint16, v []byte) {
	at := a.begin(typ)
	*a = append(*a, v...)
	a.end(at)
}

func (a *attrs) string(typ uint16, v string) {
	at := a.begin(typ)
	*a = append(append(*a, v...), 0)
	a.end(at)
}

func (a *attrs) uint32(typ uint16, v uint32) {
	at := a.begin(typ)
	*a = binary.BigEndian.AppendUint32(*a, v)
	a.end(at)
}

// uint64 returns where the value stands.
func (a *attrs) uint64(typ uint16, v uint64) int {
	at := a.begin(typ)
	*a = binary.BigEndian.AppendUint64(*a, v)
	a.end(at)
	return at + unix.SizeofNlAttr
}
