package vip

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// server answers connections with a line; addr "" is every address.
func server(t testing.TB, addr string) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("hello\n"))
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close() })
	return l.(*net.TCPListener)
}

// serverIn is server in another namespace.
func serverIn(t testing.TB, ns netns.NsHandle, addr string) (l *net.TCPListener) {
	t.Helper()
	inNamespace(t, ns, func() error {
		l = server(t, addr)
		return nil
	})
	return l
}

// brief is how long something that must not come is waited for.
const brief = 300 * time.Millisecond

// reaches tells whether a connection from a namespace (none: ours) is greeted.
func reaches(t testing.TB, ns netns.NsHandle, to string, wait time.Duration) bool {
	t.Helper()
	yes := false
	inNamespace(t, ns, func() error {
		d := net.Dialer{Timeout: wait}
		c, err := d.DialContext(t.Context(), "tcp", to)
		if err != nil {
			return nil
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(wait))
		b := make([]byte, 6)
		n, _ := c.Read(b)
		yes = string(b[:n]) == "hello\n"
		return nil
	})
	return yes
}

func port(l *net.TCPListener) int { return l.Addr().(*net.TCPAddr).Port }

// farKnows makes the other machine send packets for the address here without asking.
func (s *segment) farKnows(a netip.Addr) {
	s.t.Helper()
	l, err := s.other.LinkByName(s.far)
	s.must(err)
	s.must(s.other.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, IP: a.AsSlice(), HardwareAddr: s.nearMAC(), State: unix.NUD_PERMANENT}))
}

// counted are the rules of ours that have dropped something.
func counted(t testing.TB) string {
	t.Helper()
	var out []string
	for line := range strings.Lines(nft(t, "list", "ruleset")) {
		if strings.Contains(line, " drop") && strings.Contains(line, "counter") && !strings.Contains(line, "packets 0 ") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return strings.Join(out, "\n")
}

// behind makes a third machine, 172.30.0.2, whose router is ours.
func (s *segment) behind() netns.NsHandle {
	s.t.Helper()
	ns := newNamespace(s.t)
	s.t.Cleanup(func() { _ = ns.Close() })
	name := fmt.Sprintf("in%d", segments)
	s.must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(ns)}))
	l, err := netlink.LinkByName(name)
	s.must(err)
	s.t.Cleanup(func() { _ = netlink.LinkDel(l) })
	addr, err := netlink.ParseAddr("172.30.0.1/24")
	s.must(err)
	s.must(netlink.AddrAdd(l, addr))
	s.must(netlink.LinkSetUp(l))
	s.sysctl("ipv4/ip_forward", "1")
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	s.must(err)
	defer h.Close()
	inside, err := h.LinkByName("eth0")
	s.must(err)
	addr, err = netlink.ParseAddr("172.30.0.2/24")
	s.must(err)
	s.must(h.AddrAdd(inside, addr))
	s.must(h.LinkSetUp(inside))
	s.must(h.RouteAdd(&netlink.Route{LinkIndex: inside.Attrs().Index, Gw: net.IPv4(172, 30, 0, 1)}))
	s.eventually("both ends up", func() bool {
		here, err := netlink.LinkByName(name)
		s.must(err)
		there, err := h.LinkByName("eth0")
		s.must(err)
		return linkOf(here.Attrs()).Up && linkOf(there.Attrs()).Up
	})
	far, err := s.other.LinkByName(s.far)
	s.must(err)
	s.must(s.other.RouteAdd(&netlink.Route{LinkIndex: far.Attrs().Index, Gw: net.IPv4(10, 9, 0, 1),
		Dst: &net.IPNet{IP: net.IPv4(172, 30, 0, 0), Mask: net.CIDRMask(24, 32)}}))
	return ns
}

// packets sends one packet after the other to an address of ours, each only once, and waits for its answer. The
// function that it returns stops that, and fails the test if more than one was lost: one of tens of thousands has been,
// over IPv6, in one of some twenty runs on a busy machine, and no rule had dropped it (see counted).
func (s *segment) packets(to netip.Addr) (stop func()) {
	s.t.Helper()
	l, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 0)))
	s.must(err)
	go func() {
		b := make([]byte, 64)
		for {
			n, from, err := l.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = l.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	var c *net.UDPConn
	inNamespace(s.t, s.ns, func() (err error) {
		c, err = net.DialUDP("udp", nil, l.LocalAddr().(*net.UDPAddr))
		return err
	})
	end := make(chan struct{})
	result := make(chan error, 1)
	var n, lost uint32
	go func() {
		b := make([]byte, 64)
		for ; ; n++ {
			select {
			case <-end:
				result <- nil
				return
			default:
			}
			_, err := c.Write(nativeUint32(n))
			if err == nil {
				_ = c.SetReadDeadline(time.Now().Add(time.Second))
				_, err = c.Read(b)
			}
			if errors.Is(err, os.ErrDeadlineExceeded) && lost == 0 {
				lost++
				continue
			}
			if err != nil {
				result <- fmt.Errorf("packet %d to %v: %w", n, to, err)
				return
			}
		}
	}()
	return func() {
		s.t.Helper()
		close(end)
		if err := <-result; err != nil {
			s.t.Error(err)
		}
		s.t.Logf("%d packets to %v and back, one by one, %d lost", n, to, lost)
		_ = l.Close()
		_ = c.Close()
	}
}
