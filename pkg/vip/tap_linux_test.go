package vip

import (
	"errors"
	"os"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netns"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// tapIn hears every frame that passes a namespace's eth0, in or out, that the filter (none: every one) lets through.
// What it hears waits in the socket's buffer: a test that hears much traffic for long filters.
func (s *site) tapIn(ns netns.NsHandle, filter ...bpf.Instruction) *packet.Conn {
	s.t.Helper()
	conf := new(packet.Config)
	if len(filter) > 0 {
		var err error
		conf.Filter, err = bpf.Assemble(filter)
		s.must(err)
	}
	var c *packet.Conn
	inNamespace(s.t, ns, func() (err error) {
		c, err = packet.Listen(mustInterface("eth0"), packet.Raw, unix.ETH_P_ALL, conf)
		return err
	})
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// heard gives f every frame that a tap has heard so far and goes on to hear, until none comes for 100 ms: the deadline
// is of each frame, since a busy machine may need long for all of them. It returns how many frames the socket had no
// room for.
func (s *site) heard(tap *packet.Conn, f func(frame []byte)) (lost uint32) {
	s.t.Helper()
	buf := make([]byte, 2048)
	for began := time.Now(); ; {
		s.must(tap.SetReadDeadline(time.Now().Add(100 * time.Millisecond)))
		n, _, err := tap.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		s.must(err)
		f(buf[:n])
		if time.Since(began) > patience {
			s.t.Fatalf("frames come without a pause for %v", patience)
		}
	}
	st, err := tap.Stats()
	s.must(err)
	return st.Drops
}

// heardAll is heard for tests that prove that something is not sent: a frame that is lost fails them.
func (s *site) heardAll(tap *packet.Conn, f func(frame []byte)) {
	s.t.Helper()
	if lost := s.heard(tap, f); lost > 0 {
		s.t.Fatalf("the tap had no room for %d frames", lost)
	}
}
