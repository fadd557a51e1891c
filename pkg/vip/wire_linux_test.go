package vip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// tapAfter listens on the other machine before it does something.
func (s *segment) tapAfter(f func()) *packet.Conn {
	s.t.Helper()
	c := s.tap()
	f()
	return c
}

// farAsks asks from the other machine whether our end answers for a.
func (s *segment) farAsks(a netip.Addr) {
	s.t.Helper()
	inNamespace(s.t, s.ns, func() error {
		ctx, cancel := context.WithTimeout(s.t.Context(), patience)
		defer cancel()
		_, err := ProbeHost(ctx, s.far, a)
		return err
	})
}

func TestAnnouncements(t *testing.T) {
	s := newSegment(t)
	// The other machine is in our neighbour table, as somebody we talk to is.
	l, err := netlink.LinkByName(s.near)
	s.must(err)
	s.must(netlink.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, IP: net.IPv4(10, 9, 0, 2), HardwareAddr: s.farMAC(), State: unix.NUD_PERMANENT}))
	m := s.run(Options{Groups: []Group{s.web()}})
	tap := s.tap()
	began := time.Now()
	s.must(m.Open("web", in(time.Minute)))
	all := []string{
		"arp op 1 10.9.0.50 multicast", "arp op 2 10.9.0.50 multicast", "na flags 0x20 fd09::50 multicast",
		"arp op 2 10.9.0.50 unicast", "na flags 0x20 fd09::50 unicast",
	}
	expect(t, tap, aboutClaims(s.nearMAC()), all...)
	expect(t, tap, aboutClaims(s.nearMAC()), all...)
	if gap := time.Since(began); gap < time.Second { // no later than that: TestAnnouncementSchedule
		t.Errorf("second round after %v, want 1.1 s", gap)
	}
	s.must(m.Shut("web", "test"))
	silence(t, s.tap(), aboutClaims(s.nearMAC()), 1500*time.Millisecond)
}

// The point of it all: what the other machine believes.
func TestAnnouncementMovesTheNeighbour(t *testing.T) {
	s := newSegment(t)
	far, err := s.other.LinkByName(s.far)
	s.must(err)
	web := s.web()
	for _, p := range web.Addresses {
		s.must(s.other.NeighSet(&netlink.Neigh{
			LinkIndex: far.Attrs().Index, IP: p.Addr().AsSlice(), State: unix.NUD_REACHABLE,
			HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 99}, // the dead owner
		}))
	}
	m := s.run(Options{Groups: []Group{web}})
	s.must(m.Open("web", in(time.Minute)))
	s.eventually("neighbour entries of the other machine", func() bool {
		ns, err := s.other.NeighList(far.Attrs().Index, netlink.FAMILY_ALL)
		s.must(err)
		moved := 0
		for _, n := range ns {
			a, _ := netip.AddrFromSlice(n.IP)
			for _, p := range web.Addresses {
				if a.Unmap() == p.Addr() && n.HardwareAddr.String() == s.nearMAC().String() {
					moved++
				}
			}
		}
		return moved == 2
	})
}

func TestConflict(t *testing.T) {
	s := newSegment(t)
	m := s.run(Options{Groups: []Group{s.web()}})
	tap := s.tap()
	s.must(m.Open("web", in(time.Minute)))
	expect(t, tap, aboutClaims(s.nearMAC()), "arp op 2 10.9.0.50 multicast", "na flags 0x20 fd09::50 multicast")

	// The listeners open in the background: claim until heard.
	foreign := net.HardwareAddr{2, 0, 0, 0, 0, 99}
	got := make(map[netip.Addr]Event)
	s.eventually("conflict events for both", func() bool {
		s.claimARP(tap, "10.9.0.50", foreign)
		na, err := advertisement(netip.MustParseAddr("fd09::50"), foreign, allNodesMAC, false)
		s.must(err)
		_, err = tap.WriteTo(na, &packet.Addr{HardwareAddr: allNodesMAC})
		s.must(err)
		select {
		case e := <-m.events:
			if old, twice := got[e.Addr]; twice && old.Kind == Conflict {
				return len(got) == 2
			}
			got[e.Addr] = e
		default:
		}
		return len(got) == 2
	})
	for _, p := range s.web().Addresses {
		want := Event{Kind: Conflict, Group: "web", Addr: p.Addr(), MAC: foreign, Interface: s.near, Detail: "another machine claims this address: " + foreign.String()}
		if diff := cmp.Diff(want, got[p.Addr()], cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("event (-want +got):\n%s", diff)
		}
	}
	// Our own hardware address is no conflict, nor is somebody else's business.
	s.drainFor(m, conflictEvery)
	s.claimARP(tap, "10.9.0.50", s.nearMAC())
	s.claimARP(tap, "10.9.0.99", foreign)
	s.claimARP(tap, "10.9.0.50", foreign) // the one that is to be heard
	if e := m.await(t, Conflict); e.MAC.String() != foreign.String() || e.Addr.String() != "10.9.0.50" {
		t.Errorf("event %+v", e)
	}
}

// drainFor waits until no event has come for d.
func (s *segment) drainFor(m running, d time.Duration) {
	for {
		select {
		case <-m.events:
		case <-time.After(d):
			return
		}
	}
}

func TestDefendOnlyWhenTold(t *testing.T) {
	s := newSegment(t)
	m := s.run(Options{Groups: []Group{s.web()}})
	first := s.tap()
	s.must(m.Open("web", in(time.Minute)))
	for range burstRounds { // the burst of Open is over after this
		expect(t, first, aboutClaims(s.nearMAC()), "arp op 2 10.9.0.50 multicast", "na flags 0x20 fd09::50 multicast")
	}
	tap := s.tap()
	s.claimARP(tap, "10.9.0.50", net.HardwareAddr{2, 0, 0, 0, 0, 99})
	m.await(t, Conflict)
	silence(t, tap, aboutClaims(s.nearMAC()), 1500*time.Millisecond)
	m.Defend("web")
	expect(t, tap, aboutClaims(s.nearMAC()), "arp op 1 10.9.0.50 multicast", "arp op 2 10.9.0.50 multicast")
}

func TestProbe(t *testing.T) {
	s := newSegment(t)
	m := s.run(Options{Groups: []Group{s.web()}})
	claims, err := m.Probe(t.Context(), "web")
	s.must(err)
	if len(claims) != 0 {
		t.Errorf("nobody is there, and %v answered", claims)
	}
	s.squat("10.9.0.50/24")
	s.squat("fd09::50/64")
	began := time.Now()
	claims, err = m.Probe(t.Context(), "web")
	s.must(err)
	want := []Claim{{netip.MustParseAddr("10.9.0.50"), s.farMAC()}, {netip.MustParseAddr("fd09::50"), s.farMAC()}}
	if diff := cmp.Diff(want, claims, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	t.Logf("both squatters found after %v", time.Since(began))

	// The second is unknown, and so not silent: nobody was asked about it.
	var mu sync.Mutex
	var heard []string
	silent := m.ProbeAll(t.Context(), []string{"web", "nobody's"}, func(group string, c Claim) {
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, group+" "+c.Addr.String())
	})
	slices.Sort(heard)
	if got, want := fmt.Sprint(heard, silent), "[web 10.9.0.50 web fd09::50] []"; got != want {
		t.Errorf("all at once: %s, want %s", got, want)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Probe(ctx, "web"); !errors.Is(err, context.Canceled) {
		t.Errorf("Probe without time to ask: %v, want an error: it proves nothing", err)
	}
}

func TestProbeHost(t *testing.T) {
	s := newSegment(t)
	for _, a := range []string{"10.9.0.2", "fd09::2"} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		rtt, err := ProbeHost(ctx, s.near, netip.MustParseAddr(a))
		cancel()
		if err != nil || rtt <= 0 || rtt > time.Second {
			t.Errorf("%s: %v, %v", a, rtt, err)
		}
	}
	for _, a := range []string{"10.9.0.3", "fd09::3"} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		_, err := ProbeHost(ctx, s.near, netip.MustParseAddr(a))
		cancel()
		if !errors.Is(err, ErrNoAnswer) {
			t.Errorf("%s: %v, want %v", a, err, ErrNoAnswer)
		}
	}
	if _, err := ProbeHost(t.Context(), "lo", netip.MustParseAddr("127.0.0.2")); err == nil {
		t.Error("lo has no hardware address, and no error came")
	}
}
