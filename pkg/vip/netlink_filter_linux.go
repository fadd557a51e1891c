package vip

import (
	"encoding/binary"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Given by the kernel (struct nlmsghdr, include/uapi/linux/netlink.h): offsets in bytes.
const (
	nlmsgType = 4
	nlmsgPort = 12
)

// dropOwn keeps the reports of one socket's own transactions from waking who reads s: a group with a lease of a
// second is renewed three times in it. A packet of nf_tables carries the messages of one transaction (nf_tables_commit_notify), so that
// the first one stands for all.
func dropOwn(s *nl.NetlinkSocket, port uint32) error {
	return dropWhere(s, bpf.LoadAbsolute{Off: nlmsgPort, Size: 4}, binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, port)))
}

// dropType keeps reports of one type from waking who reads s. A packet of rtnetlink carries one.
func dropType(s *nl.NetlinkSocket, kind uint16) error {
	return dropWhere(s, bpf.LoadAbsolute{Off: nlmsgType, Size: 2}, uint32(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, kind))))
}

// dropWhere has the kernel drop what has value in that place, in network byte order as the filter reads it (socket(7),
// SO_ATTACH_FILTER). It is for saving work only: the reader skips what comes all the same.
func dropWhere(s *nl.NetlinkSocket, field bpf.LoadAbsolute, value uint32) error {
	raw, err := bpf.Assemble([]bpf.Instruction{
		field,
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: value, SkipFalse: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: 1<<32 - 1},
	})
	if err != nil {
		return fmt.Errorf("netlink filter: %w", err)
	}
	prog := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		prog[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	if err := unix.SetsockoptSockFprog(s.GetFd(), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}); err != nil {
		return fmt.Errorf("netlink filter: %w", err)
	}
	return nil
}
