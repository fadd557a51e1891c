package vip

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Chosen by us.
const (
	// nftSendBuffer takes the largest transaction: maxAddresses in three tables, some 100 bytes each.
	nftSendBuffer = 8 << 20
	// nftReceiveBuffer takes the errors of a transaction of which every message is refused.
	nftReceiveBuffer = 1 << 20
)

// nftSocket is one netlink socket for nf_tables, with plain system calls: a transaction has been carried out,
// or refused, when sendto returns, and its answers wait to be read. Tables with an owner belong to the
// socket that made them. It is not safe for concurrent use.
type nftSocket struct {
	fd   int
	port uint32
	seq  uint32
	buf  []byte
}

func newNFTSocket() (*nftSocket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	s := &nftSocket{fd: fd, buf: make([]byte, 64<<10)}
	if err := s.set(); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("netlink: %w", err)
	}
	return s, nil
}

func (s *nftSocket) set() error {
	if err := unix.Bind(s.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	name, err := unix.Getsockname(s.fd)
	if err != nil {
		return err
	}
	s.port = name.(*unix.SockaddrNetlink).Pid
	// The kernel answers at once; a bound all the same, lest a listing waits for ever.
	wait := unix.NsecToTimeval(netlinkTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		return err
	}
	// Errors without a copy of what was sent: 20 bytes each instead of all of it.
	if err := unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1); err != nil {
		return err
	}
	// Beyond the limits of the machine where that is allowed (not in a user namespace), else up to them.
	for force, plain := range map[int]int{unix.SO_SNDBUFFORCE: unix.SO_SNDBUF, unix.SO_RCVBUFFORCE: unix.SO_RCVBUF} {
		size := nftSendBuffer
		if plain == unix.SO_RCVBUF {
			size = nftReceiveBuffer
		}
		if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, force, size) != nil {
			if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, plain, size); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *nftSocket) close() error { return unix.Close(s.fd) }

// refusal is the kernel's no to a transaction. Nothing of it was carried out.
type refusal struct {
	first error         // of the first message that was refused
	about string        // what that message does
	at    map[int]error // by message
}

func (r *refusal) Error() string { return fmt.Sprintf("nf_tables refused %s: %v", r.about, r.first) }
func (r *refusal) Unwrap() error { return r.first }

// commit carries out the batch. A *refusal means that nothing has changed; after another error that is not known.
func (s *nftSocket) commit(b *batch) error {
	if b.err != nil {
		return b.err
	}
	out := make([]byte, 0, len(b.buf)+64)
	first := s.seq + 1
	out = s.marker(out, unix.NFNL_MSG_BATCH_BEGIN)
	offset := len(out)
	out = append(out, b.buf...)
	for _, start := range b.starts {
		s.seq++
		h := out[offset+start:]
		binary.NativeEndian.PutUint32(h[8:], s.seq)
		binary.NativeEndian.PutUint32(h[12:], s.port)
	}
	if n := len(b.starts); n > 0 { // one answer is enough, and comes after the end
		flags := out[offset+b.starts[n-1]+6:]
		binary.NativeEndian.PutUint16(flags, binary.NativeEndian.Uint16(flags)|unix.NLM_F_ACK)
	}
	out = s.marker(out, unix.NFNL_MSG_BATCH_END)
	if err := s.send(out); err != nil {
		return err
	}
	return s.answers(b, first)
}

// answers reads what waits: a success of the last message, or every refusal.
func (s *nftSocket) answers(b *batch, first uint32) error {
	no := &refusal{at: make(map[int]error)}
	done := false
	for {
		n, err := s.receive(unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			return err
		}
		err = eachMessage(s.buf[:n], func(h unix.NlMsghdr, data []byte) {
			if h.Type != unix.NLMSG_ERROR || len(data) < 4 || h.Seq < first {
				return // of an earlier request
			}
			i := int(h.Seq-first) - 1 // the first one is the begin of the batch
			code := int32(binary.NativeEndian.Uint32(data))
			if code == 0 {
				done = done || i == len(b.starts)-1
				return
			}
			err := unix.Errno(-code)
			if i < 0 || i >= len(b.starts) {
				i = -1
			}
			no.at[i] = err
			if no.first == nil {
				no.first, no.about = err, "the batch"
				if i >= 0 {
					no.about = b.about[i].String()
				}
			}
		})
		if err != nil {
			return err
		}
	}
	if no.first != nil {
		return no
	}
	if !done {
		return errors.New("nf_tables did not answer")
	}
	return nil
}

// dump asks for a listing and hands over the attributes of each object.
func (s *nftSocket) dump(f family, kind uint16, attrs []byte, each func(data []byte) error) error {
	return s.query(unix.NLM_F_DUMP, f, kind, attrs, each)
}

// has asks for one object, which needs no listing that others can make void. What attrs name does not exist: false.
func (s *nftSocket) has(f family, kind uint16, attrs []byte) (bool, error) {
	err := s.query(unix.NLM_F_ACK, f, kind, attrs, func([]byte) error { return nil })
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil, err
}

// query sends a question and reads to the end of the answer: the last part of a dump, or what acknowledges.
func (s *nftSocket) query(flags uint16, f family, kind uint16, attrs []byte, each func(data []byte) error) error {
	s.seq++
	seq := s.seq
	s.seq-- // append counts it
	out := s.append(nil, unix.NFNL_SUBSYS_NFTABLES<<8|kind, unix.NLM_F_REQUEST|flags,
		append([]byte{byte(f), unix.NFNETLINK_V0, 0, 0}, attrs...))
	if err := s.send(out); err != nil {
		return err
	}
	var failed error
	for done := false; !done; {
		n, err := s.receive(0)
		if err != nil {
			return err
		}
		err = eachMessage(s.buf[:n], func(h unix.NlMsghdr, data []byte) {
			if h.Seq != seq || done {
				return
			}
			if h.Flags&unix.NLM_F_DUMP_INTR != 0 { // the last message may be the only one with it (net/netlink/af_netlink.c netlink_dump_done)
				failed = unix.EINTR
			}
			switch {
			case h.Type == unix.NLMSG_DONE:
				done = true
			case h.Type == unix.NLMSG_ERROR:
				done = true
				if len(data) >= 4 && binary.NativeEndian.Uint32(data) != 0 { // 0 acknowledges
					failed = unix.Errno(-int32(binary.NativeEndian.Uint32(data)))
				}
			case len(data) >= 4 && failed == nil:
				failed = each(data[4:])
			}
		})
		if err != nil {
			return err
		}
	}
	return failed
}

func (s *nftSocket) send(out []byte) error {
	for {
		err := unix.Sendto(s.fd, out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if !errors.Is(err, unix.EINTR) {
			if err != nil {
				return fmt.Errorf("netlink: send: %w", err)
			}
			return nil
		}
	}
}

// receive reads one packet of the kernel into buf.
func (s *nftSocket) receive(flags int) (int, error) {
	for {
		n, from, err := unix.Recvfrom(s.fd, s.buf, flags)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("netlink: receive: %w", err)
		}
		if a, ok := from.(*unix.SockaddrNetlink); ok && a.Pid == 0 {
			return n, nil
		}
	}
}

// marker is the begin or the end of a batch.
func (s *nftSocket) marker(out []byte, kind uint16) []byte {
	return s.append(out, kind, unix.NLM_F_REQUEST, []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES})
}

func (s *nftSocket) append(out []byte, kind, flags uint16, data []byte) []byte {
	s.seq++
	out = binary.NativeEndian.AppendUint32(out, uint32(unix.NLMSG_HDRLEN+len(data)))
	out = binary.NativeEndian.AppendUint16(out, kind)
	out = binary.NativeEndian.AppendUint16(out, flags)
	out = binary.NativeEndian.AppendUint32(out, s.seq)
	out = binary.NativeEndian.AppendUint32(out, s.port)
	out = append(out, data...)
	for len(out)%unix.NLMSG_ALIGNTO != 0 {
		out = append(out, 0)
	}
	return out
}

// eachMessage walks through one packet.
func eachMessage(b []byte, each func(h unix.NlMsghdr, data []byte)) error {
	for len(b) >= unix.NLMSG_HDRLEN {
		h := unix.NlMsghdr{
			Len: binary.NativeEndian.Uint32(b), Type: binary.NativeEndian.Uint16(b[4:]), Flags: binary.NativeEndian.Uint16(b[6:]),
			Seq: binary.NativeEndian.Uint32(b[8:]), Pid: binary.NativeEndian.Uint32(b[12:]),
		}
		if h.Len < unix.NLMSG_HDRLEN || int(h.Len) > len(b) {
			return errors.New("netlink: a message of an impossible length")
		}
		each(h, b[unix.NLMSG_HDRLEN:h.Len])
		b = b[min(len(b), (int(h.Len)+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
	}
	return nil
}
