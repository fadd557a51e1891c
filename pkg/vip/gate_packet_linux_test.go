package vip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

var (
	vip4 = netip.MustParseAddr("10.9.0.50")
	vip6 = netip.MustParseAddr("fd09::50")
)

// answered asks from the other machine, and waits so long.
func (s *segment) answered(a netip.Addr, wait time.Duration) bool {
	s.t.Helper()
	yes := false
	inNamespace(s.t, s.ns, func() error {
		ctx, cancel := context.WithTimeout(s.t.Context(), wait)
		defer cancel()
		_, err := ProbeHost(ctx, s.far, a)
		if yes = err == nil; yes || errors.Is(err, ErrNoAnswer) || errors.Is(err, context.DeadlineExceeded) {
			return nil
		}
		return err
	})
	return yes
}

// wantAnswers asks a few times for both addresses of web.
func (s *segment) wantAnswers(when string, want bool) {
	s.t.Helper()
	wait := 50 * time.Millisecond
	if want {
		wait = patience // on a busy machine
	}
	for range 3 {
		for _, a := range []netip.Addr{vip4, vip6} {
			if s.answered(a, wait) != want {
				s.t.Errorf("%s: %v answers: %v, want %v", when, a, !want, want)
			}
		}
	}
}

// The address is on the interface, the process does nothing: the kernel answers until the deadline and no longer.
func TestGateSilencesAtTheDeadline(t *testing.T) {
	s := newSegment(t)
	m, err := New(Options{Groups: []Group{s.web()}, RunDir: t.TempDir(), Gate: s.gate(GateOptions{})})
	s.must(err)
	deadline := in(700 * time.Millisecond)
	s.must(m.Open("web", deadline))
	var last [2]time.Duration
	for bootTime() < deadline+400*time.Millisecond {
		for i, a := range []netip.Addr{vip4, vip6} {
			asked := bootTime()
			if s.answered(a, 50*time.Millisecond) {
				last[i] = asked
			}
		}
	}
	for i, at := range last {
		// A round of the loop takes 50 ms at least once an address is silent, and more on a busy machine.
		if at == 0 || at >= deadline || at < deadline-400*time.Millisecond {
			t.Errorf("IPv%d: last answer %v before the deadline, want between 0 and 400 ms", 4+2*i, deadline-at)
		}
	}
	if !s.has("10.9.0.50/32") || !s.has("fd09::50/128") {
		t.Error("the addresses are gone: the test proves nothing about the gate")
	}
	s.must(m.Close())
}

// Somebody gives the machine the address behind our back: it may have it, but not speak for it.
func TestGateShutHidesAnAddress(t *testing.T) {
	s := newSegment(t)
	g := s.gated(GateOptions{}, s.web())
	l, err := netlink.LinkByName(s.near)
	s.must(err)
	s.must(netlink.AddrAdd(l, message(l.Attrs().Index, vip4, 3600)))
	s.must(netlink.AddrAdd(l, message(l.Attrs().Index, vip6, 3600)))
	s.wantAnswers("shut", false)
	s.must(g.Open("web", in(time.Minute)))
	s.wantAnswers("open", true)
	s.must(g.Shut("web"))
	s.wantAnswers("shut again", false)

	// What the kernel says without being asked, when a link comes back.
	s.sysctl("ipv4/conf/"+s.near+"/arp_notify", "1")
	tap := s.tap()
	s.must(netlink.LinkSetDown(l))
	s.must(netlink.LinkSetUp(l))
	s.wantClaims(tap, "arp op 1 10.9.0.1 multicast", "10.9.0.50")
}

// sysctl sets a knob of the network, and puts it back.
func (s *segment) sysctl(name, value string) {
	s.t.Helper()
	path := "/proc/sys/net/" + name
	old, err := os.ReadFile(path)
	s.must(err)
	s.must(os.WriteFile(path, []byte(value), 0))
	s.t.Cleanup(func() { _ = os.WriteFile(path, old, 0) })
}

// wantClaims waits for one claim, and fails when a claim on another address came before it or soon after.
func (s *segment) wantClaims(tap *packet.Conn, want, not string) {
	s.t.Helper()
	what := aboutClaims(s.nearMAC())
	never := func(frame []byte) string {
		got := what(frame)
		if strings.Contains(got, not+" ") {
			s.t.Errorf("heard %q", got)
		}
		return got
	}
	expect(s.t, tap, never, want)
	silence(s.t, tap, func(frame []byte) string {
		if got := what(frame); strings.Contains(got, not+" ") {
			return got
		}
		return ""
	}, 200*time.Millisecond)
}

// The machine answers for the address without having it (proxy ARP, and its IPv6 twin, whose answer comes from
// another address than the one it is about).
func TestGateShutHidesAProxy(t *testing.T) {
	s := newSegment(t)
	l, err := netlink.LinkByName(s.near)
	s.must(err)
	s.behind()
	s.must(netlink.RouteAdd(&netlink.Route{Gw: net.IPv4(172, 30, 0, 2), // one answers for what is behind another interface
		Dst: &net.IPNet{IP: vip4.AsSlice(), Mask: net.CIDRMask(32, 32)}}))
	s.sysctl("ipv6/conf/all/forwarding", "1")
	s.sysctl("ipv6/conf/"+s.near+"/proxy_ndp", "1")
	s.sysctl("ipv4/neigh/"+s.near+"/proxy_delay", "0")
	s.sysctl("ipv6/neigh/"+s.near+"/proxy_delay", "0")
	for _, a := range []netip.Addr{vip4, vip6} {
		s.must(netlink.NeighAdd(&netlink.Neigh{LinkIndex: l.Attrs().Index, IP: a.AsSlice(), Flags: netlink.NTF_PROXY}))
	}
	s.wantAnswers("without a gate", true)
	g := s.gated(GateOptions{NoEgress: true}, s.web()) // the hooks for packets do it alone
	s.wantAnswers("shut", false)
	s.must(g.Open("web", in(time.Minute)))
	s.wantAnswers("open", true)
}

// Programs that build their own frames are stopped where the kernel has egress hooks.
func TestGateStopsRawFrames(t *testing.T) {
	s := newSegment(t)
	reply, err := arpFrame(arp.OperationReply, s.nearMAC(), vip4, s.farMAC(), netip.MustParseAddr("10.9.0.2"), s.farMAC())
	s.must(err)
	request, err := arpFrame(arp.OperationRequest, s.nearMAC(), vip4, zeroMAC, vip4, ethernet.Broadcast)
	s.must(err)
	na, err := advertisement(vip6, s.nearMAC(), allNodesMAC, false)
	s.must(err)
	l, err := net.InterfaceByName(s.near)
	s.must(err)
	// protocol is what the program says that the frame is; 0 lets the kernel look.
	send := func(protocol uint16, frames ...[]byte) {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		s.must(err)
		defer unix.Close(fd)
		for _, f := range frames {
			err := unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: l.Index, Protocol: protocol<<8 | protocol>>8, Halen: 6})
			if !errors.Is(err, unix.ENOBUFS) { // what a program is told of a frame that was dropped
				s.must(err)
			}
		}
	}
	heard := []string{"arp op 2 10.9.0.50 unicast", "arp op 1 10.9.0.50 multicast", "na flags 0x20 fd09::50 multicast"}
	tap := s.tap()
	send(0, reply, request, na)
	expect(t, tap, aboutClaims(s.nearMAC()), heard...) // nothing is gated yet
	g := s.gated(GateOptions{}, s.web())
	if !g.layout.egress {
		skip(t, "no egress hook in this kernel (Linux 5.16)")
	}
	send(0, reply, request, na)
	silence(t, tap, aboutClaims(s.nearMAC()), 200*time.Millisecond)
	send(unix.ETH_P_IP, reply, request) // a program that says something else of its frames
	silence(t, tap, aboutClaims(s.nearMAC()), 200*time.Millisecond)
	s.must(g.Open("web", in(time.Minute)))
	send(0, reply, request, na)
	expect(t, tap, aboutClaims(s.nearMAC()), heard...)
	// A probe, which claims nothing, is for everybody.
	s.must(g.Shut("web"))
	s.must(s.gateProbe())
}

// gateProbe asks for the addresses as a candidate does, and finds nobody.
func (s *segment) gateProbe() error {
	m, err := New(Options{Groups: []Group{s.web()}, RunDir: s.t.TempDir()})
	if err != nil {
		return err
	}
	defer m.Close()
	s.squat("10.9.0.50/32")
	s.squat("fd09::50/128")
	claims, err := m.Probe(s.t.Context(), "web")
	if err == nil && len(claims) != 2 {
		err = fmt.Errorf("%d answers to a probe, want 2: %v", len(claims), claims)
	}
	return err
}

// Containers: packets to the address go to somebody else by destination NAT, before the machine asks whether the
// address is its own; and the answers leave in the name of the address.
func TestGateAndDestinationNAT(t *testing.T) {
	s := newSegment(t)
	l := server(t, "10.9.0.1:0")
	nft(t, "add", "table", "ip", "docker")
	t.Cleanup(func() { nft(t, "delete", "table", "ip", "docker") })
	nft(t, "add", "chain", "ip", "docker", "pre", "{ type nat hook prerouting priority dstnat; }")
	nft(t, "add", "rule", "ip", "docker", "pre", "ip daddr 10.9.0.50 tcp dport 80 dnat to", l.Addr().String())
	s.farKnows(vip4)
	if !reaches(t, s.ns, "10.9.0.50:80", patience) {
		t.Fatal("no answer without a gate: the test proves nothing")
	}
	g := s.gated(GateOptions{}, s.web())
	if reaches(t, s.ns, "10.9.0.50:80", brief) {
		t.Error("a connection slips past the shut gate")
	}
	s.must(g.Open("web", in(time.Minute)))
	if !reaches(t, s.ns, "10.9.0.50:80", patience) {
		t.Error("no connection through the open gate")
	}
}

// A standby may be a client of the address, and a router of clients, with and without NAT of its own.
func TestGateLetsClientsPass(t *testing.T) {
	s := newSegment(t)
	s.squat("10.9.0.50/32") // the owner is the other machine
	s.squat("fd09::50/128")
	g := s.gated(GateOptions{}, s.web())
	defer g.Close(false)
	to := fmt.Sprintf("10.9.0.50:%d", port(serverIn(t, s.ns, "10.9.0.50:0")))
	to6 := fmt.Sprintf("[fd09::50]:%d", port(serverIn(t, s.ns, "[fd09::50]:0")))
	for _, a := range []string{to, to6} {
		if !reaches(t, netns.None(), a, patience) {
			t.Errorf("the standby itself does not reach %s", a)
		}
	}
	inner := s.behind()
	if !reaches(t, inner, to, patience) {
		t.Error("a client that is routed through the standby does not reach the owner")
	}
	nft(t, "add", "table", "ip", "docker")
	t.Cleanup(func() { nft(t, "delete", "table", "ip", "docker") })
	nft(t, "add", "chain", "ip", "docker", "post", "{ type nat hook postrouting priority srcnat; }")
	nft(t, "add", "rule", "ip", "docker", "post", "ip saddr 172.30.0.0/24 masquerade")
	if !reaches(t, inner, to, patience) {
		t.Error("a client behind NAT on the standby does not reach the owner")
	}
	if dropped := counted(t); dropped != "" {
		t.Errorf("dropped on the way:\n%s", dropped)
	}
}
