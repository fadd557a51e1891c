package vip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Given by the kernel (include/uapi/linux/inet_diag.h, sock_diag.h, include/net/tcp_states.h).
const (
	sockDiagByFamily = 20
	sockDestroy      = 21

	diagRequestLen = 56
	diagMessageLen = 72
	diagIDOffset   = 4 // of inet_diag_sockid in the answer
	diagIDLen      = 48

	diagBytecode   = 1 // INET_DIAG_REQ_BYTECODE
	bytecodeJump   = 1 // INET_DIAG_BC_JMP
	bytecodeSource = 7 // INET_DIAG_BC_S_COND
	bytecodeOpLen  = 4
	hostCondLen    = 8 // without the address

	stateEstablished = 1
	stateSynRecv     = 3
	stateTimeWait    = 6
	stateClose       = 7
	stateListen      = 10
)

// Chosen by us.
const (
	// sourceAddresses is up to how many addresses the kernel picks the sockets out; beyond, all are listed and
	// picked here. The kernel checks the addresses one after the other for each socket.
	sourceAddresses = 64
	// destroyChunk is how many sockets are ended by one system call.
	destroyChunk = 200
)

// Sets of states. A socket in TIME_WAIT has said all: it is kept by who steers (a lost FIN may come again), but is
// no connection that somebody waits for.
const (
	statesAll  = 0xfff &^ (1<<stateListen | 1<<stateClose)
	statesOpen = statesAll &^ (1 << stateTimeWait)
)

// errNoDestroy: the kernel cannot end sockets of others (CONFIG_INET_DIAG_DESTROY).
var errNoDestroy = errors.New("this kernel cannot end connections (CONFIG_INET_DIAG_DESTROY)")

// errNoDiag: the kernel cannot list connections (CONFIG_INET_DIAG, CONFIG_INET_TCP_DIAG).
var errNoDiag = errors.New("this kernel cannot list connections (CONFIG_INET_DIAG, CONFIG_INET_TCP_DIAG)")

// Connections lists the TCP sockets, listening ones excepted, with one of the addresses as their own. A socket for
// both families (a server that listens on ::) has IPv4 addresses in the form of IPv6 in the kernel, and
// plain ones here.
func (k *linux) Connections(addrs []netip.Addr, states uint32, each func(flow)) error {
	if len(addrs) == 0 {
		return nil
	}
	ours := make(map[netip.Addr]bool, len(addrs))
	for _, a := range addrs {
		ours[a] = true
	}
	families := []uint8{unix.AF_INET6}
	v4, v6 := split(addrs)
	if len(v4) > 0 {
		families = append(families, unix.AF_INET)
	}
	filter := sourceFilter(addrs)
	for _, family := range families {
		req := nl.NewNetlinkRequest(sockDiagByFamily, unix.NLM_F_DUMP)
		req.AddData(rawData(diagRequest(family, states, nil)))
		if filter != nil {
			req.AddData(nl.NewRtAttr(diagBytecode, filter))
		}
		err := req.ExecuteIter(unix.NETLINK_SOCK_DIAG, 0, func(msg []byte) bool {
			if f, ok := parseFlow(msg); ok && ours[f.local.Addr()] {
				each(f)
			}
			return true
		})
		if errors.Is(err, unix.ENOENT) {
			if family == unix.AF_INET6 && len(v6) == 0 {
				continue // no IPv6 in this kernel
			}
			return errNoDiag
		}
		if err != nil {
			return fmt.Errorf("listing connections: %w", err)
		}
	}
	return nil
}

// Destroy ends sockets: the other end gets a reset (net/ipv4/tcp.c tcp_abort). One that has ended meanwhile is no error.
func (k *linux) Destroy(flows []flow) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer unix.Close(fd)
	var first error
	buf := make([]byte, 32<<10)
	for len(flows) > 0 {
		n := min(len(flows), destroyChunk)
		var out []byte
		for i, f := range flows[:n] {
			out = binary.NativeEndian.AppendUint32(out, unix.NLMSG_HDRLEN+diagRequestLen)
			out = binary.NativeEndian.AppendUint16(out, sockDestroy)
			out = binary.NativeEndian.AppendUint16(out, unix.NLM_F_REQUEST)
			out = binary.NativeEndian.AppendUint32(out, uint32(i+1))
			out = binary.NativeEndian.AppendUint32(out, 0)
			out = append(out, diagRequest(f.family, statesAll, f.id[:])...)
		}
		flows = flows[n:]
		if err := unix.Sendto(fd, out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return fmt.Errorf("ending connections: %w", err)
		}
		for { // the kernel has done all when sendto returns; only errors are answered
			n, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
			if err != nil {
				break
			}
			_ = eachMessage(buf[:n], func(h unix.NlMsghdr, data []byte) {
				if h.Type != unix.NLMSG_ERROR || len(data) < 4 {
					return
				}
				switch code := unix.Errno(-int32(binary.NativeEndian.Uint32(data))); {
				case code == 0 || code == unix.ENOENT:
				case code == unix.EOPNOTSUPP:
					first = errNoDestroy
				case first == nil:
					first = fmt.Errorf("ending connections: %w", code)
				}
			})
		}
	}
	return first
}

// rawData is a part of a request that is encoded already.
type rawData []byte

func (d rawData) Len() int          { return len(d) }
func (d rawData) Serialize() []byte { return d }

// diagRequest is struct inet_diag_req_v2; without an id for a listing.
func diagRequest(family uint8, states uint32, id []byte) []byte {
	b := []byte{family, unix.IPPROTO_TCP, 0, 0}
	b = binary.NativeEndian.AppendUint32(b, states)
	if id == nil {
		id = make([]byte, diagIDLen)
	}
	return append(b, id...)
}

// parseFlow reads struct inet_diag_msg.
func parseFlow(b []byte) (flow, bool) {
	if len(b) < diagMessageLen {
		return flow{}, false
	}
	f := flow{family: b[0]}
	copy(f.id[:], b[diagIDOffset:])
	addr := func(b []byte) netip.Addr {
		if f.family == unix.AF_INET {
			return netip.AddrFrom4([4]byte(b[:4]))
		}
		return netip.AddrFrom16([16]byte(b[:16])).Unmap()
	}
	id := b[diagIDOffset:]
	f.local = netip.AddrPortFrom(addr(id[4:]), binary.BigEndian.Uint16(id))
	f.remote = netip.AddrPortFrom(addr(id[20:]), binary.BigEndian.Uint16(id[2:]))
	return f, f.local.Addr().Is4() == f.remote.Addr().Is4()
}

// sourceFilter is a program for the kernel (inet_diag_bc_run) that lets sockets pass whose own address is one of
// addrs; nil where there are too many. As ss writes "src A or src B": a condition that holds goes on to
// a jump to the end, one that does not goes behind that jump. The last one that does not hold goes beyond the
// end, which means no.
func sourceFilter(addrs []netip.Addr) []byte {
	if len(addrs) > sourceAddresses {
		return nil
	}
	var total int
	for i, a := range addrs {
		total += bytecodeOpLen + hostCondLen + a.BitLen()/8
		if i < len(addrs)-1 {
			total += bytecodeOpLen
		}
	}
	var out []byte
	for i, a := range addrs {
		family := byte(unix.AF_INET)
		if a.Is6() {
			family = unix.AF_INET6
		}
		n := bytecodeOpLen + hostCondLen + a.BitLen()/8
		out = append(out, bytecodeSource, byte(n))
		out = binary.NativeEndian.AppendUint16(out, uint16(n+bytecodeOpLen))
		out = append(out, family, byte(a.BitLen()), 0, 0)
		out = binary.NativeEndian.AppendUint32(out, 0xffffffff) // any port
		out = append(out, a.AsSlice()...)
		if i < len(addrs)-1 {
			rest := total - len(out)
			out = append(out, bytecodeJump, bytecodeOpLen)
			out = binary.NativeEndian.AppendUint16(out, uint16(rest))
		}
	}
	return out
}
