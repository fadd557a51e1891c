package lab

import (
	"errors"
	"time"
	"unsafe"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// captureBuffer is what the kernel keeps for a reader that is late: a thousand frames come at once when a thousand
// addresses move. Chosen by us.
const captureBuffer = 8 << 20

// stamp has the kernel write down when each frame came, and gives it room for many. Without the room (who is not root
// of the machine may not ask for more than its limit) a late reader loses frames.
func stamp(conn *packet.Conn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBuffer) != nil {
			set = errors.Join(set, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, captureBuffer))
		}
	})
	return errors.Join(err, set)
}

// stampedFrames is frames with the time at which the kernel received each, however late we read it.
func stampedFrames(conn *packet.Conn, got func(frame []byte, at time.Time)) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return // closed already
	}
	buf, oob := make([]byte, 1514), make([]byte, 64)
	for {
		var n, k int
		var failed error
		err := raw.Read(func(fd uintptr) bool {
			n, k, _, _, failed = unix.Recvmsg(int(fd), buf, oob, unix.MSG_DONTWAIT)
			return failed != unix.EAGAIN && failed != unix.EINTR
		})
		if err != nil || failed == unix.EBADF {
			return // closed
		}
		if failed == nil { // ENETDOWN while the client's cable is out
			got(buf[:n], stampIn(oob[:k]))
		}
	}
}

// stampIn finds the time in a message's control data; now, where there is none.
func stampIn(oob []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err == nil {
		for _, m := range messages {
			if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})) {
				return time.Unix((*unix.Timespec)(unsafe.Pointer(&m.Data[0])).Unix())
			}
		}
	}
	return time.Now()
}
