package vip

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// pair is a site with the group open on a, and servers on a and b.
func pair(t testing.TB, groups ...Group) *site {
	s := newSite(t, groups...)
	serve(t, s.a, webPort)
	serve(t, s.b, webPort)
	s.a.do(order{Op: "open"})
	return s
}

// Connections that a service opens from the address: the old one goes on, and the new owner may open its own.
func TestConnectionsFromTheAddress(t *testing.T) {
	s := pair(t)
	serve(t, &node{name: "client", ns: s.client}, 9000)
	for _, v6 := range []bool{false, true} {
		to, from := netip.MustParseAddrPort("10.9.0.5:9000"), floatingAt(v6, 0)
		if v6 {
			to = netip.MustParseAddrPort("[fd09::5]:9000")
		}
		connect := func(n *node) *talk {
			c, err := dialFrom(n.ns, to, from)
			s.must(err)
			t.Cleanup(func() { _ = c.Close() })
			return &talk{c, bufio.NewReader(c)}
		}
		s.a.do(order{Op: "open"})
		old := connect(s.a)
		s.wantWho(old, "client", "before the move")
		s.move(s.a, s.b, 20*time.Second)
		s.eventually("new connections at b", func() bool { got, _ := fresh(s.client, floatingAt(v6, webPort)); return got == "b" })
		s.wantWho(connect(s.b), "client", "from the new owner")
		s.wantWho(old, "client", "from the old owner")
		s.a.do(order{Op: "end"})
		s.b.do(order{Op: "unsteer"})
		s.b.do(order{Op: "shut"})
	}
}

// dialLater connects in the background.
func dialLater(ns netns.NsHandle, to netip.AddrPort) <-chan any {
	out := make(chan any, 1)
	go func() {
		c, err := dial(ns, to, 0)
		if err != nil {
			out <- err
			return
		}
		out <- &talk{c, bufio.NewReader(c)}
	}()
	return out
}

// SYN-ACKs of the old owner are lost until after the move. The client repeats its SYN, to the new owner; whoever
// answers, the connection must work. Several clients begin at several times before the move, so that their timers and
// those of the old owner meet it differently.
func TestSynRepeatedAcrossAMove(t *testing.T) {
	s := pair(t)
	s.a.run("nft", "add table inet lossy")
	s.a.run("nft", "add chain inet lossy out { type filter hook output priority 0; }")
	s.a.run("nft", "add rule inet lossy out tcp flags & (syn|ack) == (syn|ack) drop")
	var dials []<-chan any
	for i := range 40 {
		dials = append(dials, dialLater(s.client, floatingAt(i%2 == 1, webPort)))
		<-time.After(25 * time.Millisecond)
	}
	s.a.run("nft", "delete table inet lossy")
	s.move(s.a, s.b, 20*time.Second)
	by := make(map[string]int)
	for i, d := range dials {
		switch r := (<-d).(type) {
		case error:
			t.Errorf("connection %d: %v", i, r)
		case *talk:
			got, err := r.who()
			by[got]++
			if err != nil {
				t.Errorf("connection %d, made: %v", i, err)
			}
			_ = r.Close()
		}
	}
	t.Logf("answered by %v", by)
}

// The last packet of a handshake is lost, and the server speaks first: the old owner must repeat its SYN-ACK before long.
func TestLastAckLostAcrossAMove(t *testing.T) {
	s := newSite(t)
	var l net.Listener
	inNamespace(t, s.a.ns, func() (err error) {
		l, err = net.Listen("tcp4", "0.0.0.0:3306")
		return err
	})
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = fmt.Fprintln(c, "hello")
		}
	}()
	s.a.do(order{Op: "open"})
	runIn(t, s.client, "nft", "add table inet lossy")
	runIn(t, s.client, "nft", "add chain inet lossy out { type filter hook output priority 0; }")
	runIn(t, s.client, "nft", "add rule inet lossy out tcp dport 3306 tcp flags & (syn|ack) == ack drop")
	c, err := dial(s.client, floatingAt(false, 3306), 0)
	s.must(err)
	defer c.Close()
	s.move(s.a, s.b, 20*time.Second)
	runIn(t, s.client, "nft", "delete table inet lossy")
	began := time.Now()
	s.must(c.SetReadDeadline(time.Now().Add(patience)))
	line, err := bufio.NewReader(c).ReadString('\n')
	if line != "hello\n" {
		t.Errorf("the greeting is %q, error %v", line, err)
	}
	t.Logf("the greeting came after %v", time.Since(began))
}

// With cookies a server has nothing but the last packet of the handshake to know a connection by.
func TestSynCookiesAcrossAMove(t *testing.T) {
	s := pair(t)
	for _, n := range s.nodes() {
		sysctl(t, n.ns, "ipv4/tcp_syncookies", "2")
	}
	loads := []*load{s.begin(s.client, floatingAt(false, webPort)), s.begin(s.far, floatingAt(true, webPort))}
	for range 3 {
		<-time.After(100 * time.Millisecond)
		s.move(s.a, s.b, 20*time.Second)
		settle()
		s.move(s.b, s.a, 20*time.Second)
		settle()
	}
	for i, l := range loads {
		if err := l.end(); err != nil {
			t.Errorf("load %d: %v", i, err)
		}
		t.Logf("load %d: %v, slowest %v", i, l.by, l.slowest)
	}
}

// With fast open the SYN carries data, and a cookie that the new owner may not know.
func TestFastOpenAcrossAMove(t *testing.T) {
	s := newSite(t)
	fastopen := func(fd uintptr) error { return unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 64) }
	for _, n := range s.nodes() {
		sysctl(t, n.ns, "ipv4/tcp_fastopen", "3")
		serve(t, n, webPort, fastopen)
	}
	sysctl(t, s.client, "ipv4/tcp_fastopen", "1")
	s.a.do(order{Op: "open"})
	ask := func() (string, bool) {
		t.Helper()
		c, err := dialFastOpen(s.client, floatingAt(false, webPort))
		s.must(err)
		defer c.Close()
		got, err := (&talk{c, bufio.NewReader(c)}).who()
		s.must(err)
		return got, synData(t, c)
	}
	ask() // gets the cookie
	if got, used := ask(); got != "a" || !used {
		t.Errorf("before: answered by %q, data in the SYN taken: %v", got, used)
	}
	k := s.talk(s.client, floatingAt(false, webPort))
	s.move(s.a, s.b, 20*time.Second)
	// Until the client has heard the announcement it asks a, which answers.
	s.eventually("questions at b", func() bool { got, _ := ask(); return got == "b" })
	for i := range 20 {
		got, used := ask()
		if got != "b" {
			t.Errorf("question %d after the move: answered by %q", i, got)
		}
		if i < 3 {
			t.Logf("question %d after the move: answered by %q, data in the SYN taken: %v", i, got, used)
		}
	}
	s.wantWho(k, "a", "after the move")
}

func dialFastOpen(ns netns.NsHandle, to netip.AddrPort) (c net.Conn, err error) {
	return dialWith(ns, to, 0, func(fd uintptr) error {
		return unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1)
	})
}

// synData tells whether the server took data that was in the SYN (TCPI_OPT_SYN_DATA).
func synData(t *testing.T, c net.Conn) bool {
	t.Helper()
	rc, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var info *unix.TCPInfo
	if err := rc.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); err != nil {
		t.Fatal(err)
	}
	return info != nil && info.Options&32 != 0
}

// A client's port is used again towards another port of the address, and later towards the same one.
func TestPortUsedAgain(t *testing.T) {
	s := pair(t)
	serve(t, s.a, 81)
	serve(t, s.b, 81)
	const local = 40000
	old, err := dial(s.client, floatingAt(false, webPort), local)
	s.must(err)
	defer old.Close()
	k := &talk{old, bufio.NewReader(old)}
	s.wantWho(k, "a", "before the move")
	s.move(s.a, s.b, 20*time.Second)
	s.eventually("new connections at b", func() bool { got, _ := fresh(s.client, floatingAt(false, webPort)); return got == "b" })
	other, err := dial(s.client, floatingAt(false, 81), local)
	s.must(err)
	defer other.Close()
	s.wantWho(&talk{other, bufio.NewReader(other)}, "b", "to the other port")
	s.wantWho(k, "a", "the old one")
	// The server closes first, so that its side has TIME_WAIT, and the client comes again from the same port.
	s.must(old.(*net.TCPConn).SetLinger(0))
	s.must(old.Close())
	again, err := dial(s.client, floatingAt(false, webPort), local)
	s.must(err)
	defer again.Close()
	s.wantWho(&talk{again, bufio.NewReader(again)}, "b", "the same port again")
}

// The way to a far client becomes narrower after the move: the router's complaint about a packet of the old owner
// comes to the new one, and has to reach the old one.
func TestPathMTUOfAnOldConnection(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		t.Run(fmt.Sprintf("ipv6=%v", v6), func(t *testing.T) {
			s := pair(t)
			k := s.talk(s.far, floatingAt(v6, webPort))
			s.must(k.transferFast(200_000))
			s.move(s.a, s.b, 20*time.Second)
			runIn(t, s.router, "ip", "link", "set", "far0", "mtu", "1300")
			began := time.Now()
			s.must(k.transferFast(2_000_000))
			t.Logf("2 MB through the narrower link in %v", time.Since(began))
			young := s.talk(s.far, floatingAt(v6, webPort))
			s.must(young.transferFast(200_000))
			runIn(t, s.router, "ip", "link", "set", "far0", "mtu", "1290")
			s.must(young.transferFast(200_000))
			s.must(k.transferFast(200_000))
		})
	}
}

// transferFast fetches n bytes as fast as they come.
func (k *talk) transferFast(n int) error {
	if err := k.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(k, "fast %d\n", n); err != nil {
		return err
	}
	_, err := io.CopyN(io.Discard, k.r, int64(n))
	return err
}

// A router cuts a client's packets into fragments (the client allows it).
func TestFragments(t *testing.T) {
	s := pair(t)
	dontCare := func(fd uintptr) error {
		return unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT)
	}
	connect := func() *talk {
		c, err := dialWith(s.far, floatingAt(false, webPort), 0, dontCare)
		s.must(err)
		t.Cleanup(func() { _ = c.Close() })
		return &talk{c, bufio.NewReader(c)}
	}
	old := connect()
	runIn(t, s.router, "ip", "link", "set", "eth0", "mtu", "800")
	s.must(transfer(old, false, 10*chunk))
	s.move(s.a, s.b, 20*time.Second)
	s.eventually("new connections at b", func() bool { got, _ := fresh(s.far, floatingAt(false, webPort)); return got == "b" })
	fragments := s.countFragments(func() { s.must(transfer(old, false, 10*chunk)) })
	if fragments == 0 {
		t.Error("no fragment seen: the test tests nothing")
	}
	young := connect()
	s.must(transfer(young, false, 10*chunk))
	s.wantWho(old, "a", "after the move")
	s.wantWho(young, "b", "after the move")
	t.Logf("%d fragments reached the old owner", fragments)
}

// countFragments counts the fragments that come in at a.
func (s *site) countFragments(during func()) int {
	s.t.Helper()
	c := s.tapIn(s.a.ns)
	during()
	s.must(c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)))
	buf := make([]byte, 2048)
	count := 0
	for {
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			return count
		}
		if n > etherHeader+ipv4Header && buf[12] == 8 && buf[13] == 0 && (buf[20]&0x3f != 0 || buf[21] != 0) && buf[5] == 1 {
			count++
		}
	}
}
