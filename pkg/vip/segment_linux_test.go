package vip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// patience is how long a test waits for something that should take milliseconds.
const patience = 30 * time.Second

// segment is a veth pair: our end in the namespace of the test process, the other machine's in another.
type segment struct {
	t     testing.TB
	near  string // interface name here
	far   string // there
	ns    netns.NsHandle
	other *netlink.Handle
}

var segments int

// newSegment makes both ends, 10.9.0.1/24 and fd09::1/64 here, .2 and ::2 there, and waits until they are up.
func newSegment(t testing.TB) *segment {
	t.Helper()
	needKernel(t)
	segments++
	s := &segment{t: t, near: fmt.Sprintf("near%d", segments), far: fmt.Sprintf("far%d", segments)}
	s.ns = newNamespace(t)
	t.Cleanup(func() { _ = s.ns.Close() })
	var err error
	if s.other, err = netlink.NewHandleAt(s.ns, unix.NETLINK_ROUTE); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.other.Close)
	s.plug()
	t.Cleanup(s.unplug)
	return s
}

// plug makes the pair; after unplug it makes one of the same names and other numbers.
func (s *segment) plug() {
	s.t.Helper()
	s.must(netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: s.near}, PeerName: s.far, PeerNamespace: netlink.NsFd(s.ns),
	}))
	near, err := netlink.LinkByName(s.near)
	s.must(err)
	far, err := s.other.LinkByName(s.far)
	s.must(err)
	for _, e := range []struct {
		add  func(netlink.Link, *netlink.Addr) error
		up   func(netlink.Link) error
		link netlink.Link
		last string
	}{
		{netlink.AddrAdd, netlink.LinkSetUp, near, "1"},
		{s.other.AddrAdd, s.other.LinkSetUp, far, "2"},
	} {
		for _, a := range []string{"10.9.0." + e.last + "/24", "fd09::" + e.last + "/64"} {
			p, err := netlink.ParseAddr(a)
			s.must(err)
			if strings.Contains(a, ":") {
				p.Flags = unix.IFA_F_NODAD
			}
			s.must(e.add(e.link, p))
		}
		s.must(e.up(e.link))
	}
	s.eventually("both ends up", func() bool {
		l, err := netlink.LinkByName(s.near)
		return err == nil && linkOf(l.Attrs()).Up
	})
}

func (s *segment) unplug() {
	if l, err := netlink.LinkByName(s.near); err == nil {
		s.must(netlink.LinkDel(l))
	}
}

func (s *segment) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// eventually is for conditions that nobody reports.
func (s *segment) eventually(what string, cond func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for !cond() {
		if time.Now().After(deadline) {
			s.t.Fatalf("not within %v: %s", patience, what)
		}
		runtime.Gosched()
		<-time.After(5 * time.Millisecond)
	}
}

// has tells whether exactly this address with its length is on our end.
func (s *segment) has(prefix string) bool {
	s.t.Helper()
	return slices.Contains(s.list(), prefix)
}

// list are the addresses of our end, without the kernel's own link-local one, sorted.
func (s *segment) list() []string {
	s.t.Helper()
	l, err := netlink.LinkByName(s.near)
	s.must(err)
	as, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	s.must(err)
	out := []string{}
	for _, a := range as {
		if p, ok := prefixOf(a.IPNet); ok && !p.Addr().IsLinkLocalUnicast() {
			out = append(out, p.String())
		}
	}
	slices.Sort(out)
	return out
}

// change adds or deletes an address on our end, as somebody else would with `ip addr`.
func (s *segment) change(f func(netlink.Link, *netlink.Addr) error, prefix string) {
	s.t.Helper()
	l, err := netlink.LinkByName(s.near)
	s.must(err)
	a, err := netlink.ParseAddr(prefix)
	s.must(err)
	s.must(f(l, a))
}

// squat gives the other machine an address.
func (s *segment) squat(prefix string) {
	s.t.Helper()
	l, err := s.other.LinkByName(s.far)
	s.must(err)
	a, err := netlink.ParseAddr(prefix)
	s.must(err)
	if a.IP.To4() == nil {
		a.Flags = unix.IFA_F_NODAD
	}
	s.must(s.other.AddrAdd(l, a))
}

func (s *segment) farMAC() net.HardwareAddr {
	s.t.Helper()
	l, err := s.other.LinkByName(s.far)
	s.must(err)
	return l.Attrs().HardwareAddr
}

func (s *segment) nearMAC() net.HardwareAddr {
	s.t.Helper()
	l, err := netlink.LinkByName(s.near)
	s.must(err)
	return l.Attrs().HardwareAddr
}

// tap opens a packet socket on the other machine's end.
func (s *segment) tap() *packet.Conn {
	s.t.Helper()
	var c *packet.Conn
	inNamespace(s.t, s.ns, func() error {
		ifi, err := net.InterfaceByName(s.far)
		if err != nil {
			return err
		}
		c, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, nil)
		return err
	})
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// expect reads frames on the other machine until each of wanted was seen, by the text of what.
func expect(t testing.TB, c *packet.Conn, what func(frame []byte) string, wanted ...string) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2048)
	wanted = slices.Clone(wanted)
	var seen []string
	for len(wanted) > 0 {
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			t.Fatalf("waiting for %q: %v; seen %q", wanted, err, seen)
		}
		got := what(buf[:n])
		if got == "" {
			continue
		}
		seen = append(seen, got)
		wanted = slices.DeleteFunc(wanted, func(w string) bool { return w == got })
	}
}

// silence fails when a frame that what has words for comes within d.
func silence(t testing.TB, c *packet.Conn, what func(frame []byte) string, d time.Duration) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(d)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2048)
	for {
		n, _, err := c.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := what(buf[:n]); got != "" {
			t.Fatalf("a frame that should not be: %s", got)
		}
	}
}

// aboutClaims describes frames from mac that claim an address: "op address (to)" and "na address (to)".
func aboutClaims(mac net.HardwareAddr) func(frame []byte) string {
	return func(frame []byte) string {
		c, ok := parseClaim(frame)
		if !ok || c.MAC.String() != mac.String() {
			return ""
		}
		to := "unicast"
		if frame[0]&1 == 1 {
			to = "multicast"
		}
		if c.Addr.Is6() {
			const override = 0x20
			return fmt.Sprintf("na flags %#x %v %s", frame[etherHeader+ipv6Header+4]&^override>>5|frame[etherHeader+ipv6Header+4]&override, c.Addr, to)
		}
		return fmt.Sprintf("arp op %d %v %s", frame[etherHeader+7], c.Addr, to)
	}
}

// claimARP sends a gratuitous ARP request from the other machine.
func (s *segment) claimARP(c *packet.Conn, a string, mac net.HardwareAddr) {
	s.t.Helper()
	addr := netip.MustParseAddr(a)
	f, err := arpFrame(arp.OperationRequest, mac, addr, zeroMAC, addr, ethernet.Broadcast)
	s.must(err)
	_, err = c.WriteTo(f, &packet.Addr{HardwareAddr: ethernet.Broadcast})
	s.must(err)
}

// running is a Manager whose Run is under way, and its events.
type running struct {
	*Manager
	events chan Event
	stop   func()
}

func (s *segment) run(o Options) running {
	s.t.Helper()
	events := make(chan Event, 4096)
	o.Events = func(e Event) {
		select {
		case events <- e:
		default:
			panic("4096 events nobody read")
		}
	}
	if o.RunDir == "" {
		o.RunDir = s.t.TempDir()
	}
	m, err := New(o)
	s.must(err)
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				s.t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			s.t.Error("Run did not end")
		}
		if err := m.Close(); err != nil {
			s.t.Errorf("Close: %v", err)
		}
	})
	s.t.Cleanup(stop)
	return running{Manager: m, events: events, stop: stop}
}

// await returns the first event of that kind; other kinds are passed over.
func (r running) await(t testing.TB, kind EventKind) Event {
	t.Helper()
	timeout := time.After(patience)
	var seen []Event
	for {
		select {
		case e := <-r.events:
			if e.Kind == kind {
				return e
			}
			seen = append(seen, e)
		case <-timeout:
			t.Fatalf("no event %v within %v; seen %+v", kind, patience, seen)
		}
	}
}

// in is a deadline that far from now.
func in(d time.Duration) time.Duration { return bootTime() + d }
