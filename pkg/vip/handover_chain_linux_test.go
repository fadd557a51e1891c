package vip

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// settle waits until a client's neighbour table takes another change (locktime, net/core/neighbour.c).
func settle() { <-time.After(1100 * time.Millisecond) }

// held is a connection to each owner there was, for each family.
type heldTalk struct {
	*talk
	at string
}

func (s *site) hold(list []heldTalk, ns netns.NsHandle, at string) []heldTalk {
	s.t.Helper()
	for _, v6 := range []bool{false, true} {
		s.eventually("new connections at "+at, func() bool { got, _ := fresh(ns, floatingAt(v6, webPort)); return got == at })
		k := s.talk(ns, floatingAt(v6, webPort))
		s.wantWho(k, at, "at first")
		list = append(list, heldTalk{k, at})
	}
	return list
}

func (s *site) wantAll(list []heldTalk, when string) {
	s.t.Helper()
	for _, k := range list {
		s.wantWho(k.talk, k.at, when+", a connection to "+k.at+" over "+k.LocalAddr().String())
	}
}

// Chains of moves, each within the drain of the ones before it: every connection stays where it began, and a packet
// that is nobody's is answered, not sent round and round.
func TestChains(t *testing.T) {
	s := newSite(t)
	by := map[byte]*node{'a': s.a, 'b': s.b, 'c': s.c}
	for _, n := range s.nodes() {
		serve(t, n, webPort)
	}
	// Neighbours that take changes as fast as they come: a test of chains, not of announcements.
	sysctl(t, s.client, "ipv4/neigh/eth0/locktime", "0")
	sysctl(t, s.router, "ipv4/neigh/eth0/locktime", "0")
	for _, path := range []string{"abc", "aba", "abca", "abcb", "abab", "abcab", "abcba", "abcbc"} {
		t.Run(path, func(t *testing.T) {
			for _, n := range s.nodes() { // each path begins with nodes that know nothing of the one before
				n.stop(false)
				n.start()
			}
			s.t = t
			by[path[0]].do(order{Op: "open"})
			list := s.hold(nil, s.client, string(path[0]))
			list = s.hold(list, s.far, string(path[0]))
			for i := 1; i < len(path); i++ {
				s.move(by[path[i-1]], by[path[i]], 20*time.Second)
				s.wantAll(list, "right after "+path[:i+1])
				list = s.hold(list, s.client, string(path[i]))
				list = s.hold(list, s.far, string(path[i]))
			}
			s.wantAll(list, "at the end of "+path)
			for _, v6 := range []bool{false, true} {
				s.stray(v6, len(path))
			}
			// The end of it all, in the order in which the drains end.
			for _, n := range s.nodes() {
				n.do(order{Op: "end"})
				n.do(order{Op: "unsteer"})
			}
			last := path[len(path)-1:]
			for _, k := range list {
				got, err := k.who()
				if k.at == last && (err != nil || got != last) {
					t.Errorf("at the end, a connection to the owner: answered by %q, error %v", got, err)
				}
				if k.at != last && !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("at the end, a connection to %s: %q, error %v, want %v", k.at, got, err, syscall.ECONNRESET)
				}
				_ = k.Close()
			}
			by[path[len(path)-1]].do(order{Op: "shut"})
		})
	}
}

// stray sends a segment of a connection that nobody has, and counts the frames until it is answered.
func (s *site) stray(v6 bool, most int) {
	s.t.Helper()
	to := floatingAt(v6, webPort)
	var taps []*packet.Conn
	for _, n := range s.nodes() {
		taps = append(taps, s.tapIn(n.ns))
	}
	answers := s.tapIn(s.client)
	mac := neighbourOf(s.t, s.client, to.Addr())
	// The forward probe is such a segment, but from an address that nobody can answer: here it is the client's.
	from := netip.MustParseAddr("10.9.0.5")
	if v6 {
		from = netip.MustParseAddr("fd09::5")
	}
	f, err := segmentFrame(from, to.Addr(), []byte{2, 0, 0, 0, 0, 5}, mac, 0x1234567812345678)
	s.must(err)
	_, err = answers.WriteTo(f, &packet.Addr{HardwareAddr: mac})
	s.must(err)
	began := time.Now()
	isReset := func(frame []byte) bool {
		h := etherHeader + ipv4Header
		if v6 {
			h = etherHeader + ipv6Header
		}
		return len(frame) >= h+tcpHeader && frame[6+5] != 5 && frame[h+1] == forwardProbePort && frame[h+3] == forwardProbePort && frame[h+13]&4 != 0
	}
	buf := make([]byte, 2048)
	s.must(answers.SetReadDeadline(time.Now().Add(patience)))
	for {
		n, _, err := answers.ReadFrom(buf)
		if err != nil {
			s.t.Fatalf("no reset for a packet that is nobody's: %v", err)
		}
		if isReset(buf[:n]) {
			break
		}
	}
	took := time.Since(began)
	count := 0
	for _, c := range taps {
		s.must(c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)))
		for {
			n, _, err := c.ReadFrom(buf)
			if err != nil {
				break
			}
			if parseForwardProbe(buf[:n], to.Addr(), 0x1234567812345678) && buf[5] < 5 {
				count++
			}
		}
	}
	s.t.Logf("a packet that is nobody's (IPv6 %v): answered after %v and %d frames", v6, took, count)
	// Each frame is seen where it is sent and where it comes in.
	if count > 2*most {
		s.t.Errorf("a packet that is nobody's made %d frames, want %d at most", count, 2*most)
	}
}

func (s *site) tapIn(ns netns.NsHandle) *packet.Conn {
	s.t.Helper()
	var c *packet.Conn
	inNamespace(s.t, ns, func() (err error) {
		c, err = packet.Listen(mustInterface("eth0"), packet.Raw, unix.ETH_P_ALL, nil)
		return err
	})
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}
