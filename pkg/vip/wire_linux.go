package vip

import (
	"fmt"
	"syscall"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// packetWire is a packet(7) socket. The Conn's own WriteTo would wait for room in the queue; sending happens
// under the lock that Shut needs, so it may not.
type packetWire struct {
	*packet.Conn
	raw syscall.RawConn
}

func (w *packetWire) Send(frame []byte) error {
	var sendErr error
	err := w.raw.Control(func(fd uintptr) {
		for {
			_, sendErr = unix.Write(int(fd), frame)
			if sendErr != unix.EINTR {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	switch sendErr {
	case unix.ENETDOWN, unix.ENXIO, unix.ENODEV:
		return fmt.Errorf("%w: %w", errWireDown, sendErr)
	}
	return sendErr
}

func (w *packetWire) Receive(buf []byte) (int, error) {
	n, _, err := w.ReadFrom(buf)
	return n, err
}
