package vip

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// web is a group of both families on the segment.
func (s *segment) web() Group {
	return Group{Name: "web", Interface: s.near, Addresses: prefixes("10.9.0.50/24", "fd09::50/64")}
}

var own = []string{"10.9.0.1/24", "fd09::1/64"}

func with(more ...string) []string {
	out := append(slices.Clone(own), more...)
	slices.Sort(out)
	return out
}

func (s *segment) wantList(when string, want []string) {
	s.t.Helper()
	if diff := cmp.Diff(want, s.list()); diff != "" {
		s.t.Fatalf("addresses %s (-want +got):\n%s", when, diff)
	}
}

func TestOpenAndShutAreExact(t *testing.T) {
	s := newSegment(t)
	m := s.run(Options{Groups: []Group{s.web()}})
	// A stranger with the same address in another length, and one with another address in ours.
	s.change(netlink.AddrAdd, "10.9.0.50/25")
	s.change(netlink.AddrAdd, "10.9.0.51/32")

	s.must(m.Open("web", in(time.Minute)))
	s.wantList("after Open", with("10.9.0.50/25", "10.9.0.51/32", "10.9.0.50/32", "fd09::50/128"))
	if diff := cmp.Diff("[10.9.0.50 fd09::50]", fmt.Sprint(m.Holding("web")["web"])); diff != "" {
		t.Errorf("Holding (-want +got):\n%s", diff)
	}
	s.must(m.Open("web", in(time.Minute)))
	s.wantList("after a second Open", with("10.9.0.50/25", "10.9.0.51/32", "10.9.0.50/32", "fd09::50/128"))
	s.must(m.Shut("web", "test"))
	s.wantList("after Shut", with("10.9.0.50/25", "10.9.0.51/32"))
	s.must(m.Shut("web", "test"))
	s.wantList("after a second Shut", with("10.9.0.50/25", "10.9.0.51/32"))
	if err := m.Renew("web", in(time.Minute)); !errors.Is(err, ErrNotOpen) {
		t.Errorf("Renew after Shut: %v, want %v", err, ErrNotOpen)
	}
}

func TestAddressesAreDeprecatedAndTimed(t *testing.T) {
	s := newSegment(t)
	m := s.run(Options{Groups: []Group{s.web()}})
	s.must(m.Open("web", in(900*time.Millisecond)))
	l, err := netlink.LinkByName(s.near)
	s.must(err)
	as, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	s.must(err)
	seen := 0
	for _, a := range as {
		if ones, bits := a.Mask.Size(); ones != bits {
			continue
		}
		seen++
		// 0.9 s + 1.25 s, in whole seconds; the kernel shows what is left.
		if a.PreferedLft != 0 || a.ValidLft < 2 || a.ValidLft > 3 {
			t.Errorf("%v: preferred %d valid %d, want 0 and 2 to 3", a.IP, a.PreferedLft, a.ValidLft)
		}
	}
	if seen != 2 {
		t.Errorf("%d floating addresses, want 2", seen)
	}
}

func TestAddressesVanishWithoutTheAgent(t *testing.T) {
	s := newSegment(t)
	m, err := New(Options{Groups: []Group{s.web()}, RunDir: t.TempDir()})
	s.must(err)
	began := time.Now()
	// No Run: the process might as well be dead.
	s.must(m.Open("web", in(500*time.Millisecond)))
	seen, gone := lastSeen(t, "addresses", func() bool { return !cmp.Equal(own, s.list()) })
	if limit := 500*time.Millisecond + 3500*time.Millisecond + 200*time.Millisecond; seen.Sub(began) > limit || gone.Sub(began) < 500*time.Millisecond {
		t.Errorf("there after %v, gone after %v, want between 0.5 s and %v", seen.Sub(began), gone.Sub(began), limit)
	}
	s.must(m.Close())
}

func TestSoleLifetimeEndsBeforeTheLease(t *testing.T) {
	s := newSegment(t)
	m, err := New(Options{Groups: []Group{s.web()}, RunDir: t.TempDir(), Lifetime: Sole})
	s.must(err)
	if err := m.Open("web", in(time.Second)); !errors.Is(err, ErrDeadline) {
		t.Errorf("Open with a second left: %v, want %v", err, ErrDeadline)
	}
	s.wantList("after the refusal", own)
	began := time.Now()
	s.must(m.Open("web", in(2500*time.Millisecond)))
	s.wantList("after Open", with("10.9.0.50/32", "fd09::50/128"))
	if seen, _ := lastSeen(t, "addresses", func() bool { return !cmp.Equal(own, s.list()) }); seen.Sub(began) > 2500*time.Millisecond {
		t.Errorf("still there after %v, want them gone before the deadline of 2.5 s", seen.Sub(began))
	}
	s.must(m.Close())
}

func TestRenewKeepsAlive(t *testing.T) {
	s := newSegment(t)
	m := s.run(Options{Groups: []Group{s.web()}})
	const ttl = 1500 * time.Millisecond // a busy machine may stand still for most of it
	s.must(m.Open("web", in(ttl)))
	tick := time.NewTicker(ttl / 5)
	defer tick.Stop()
	// valid_lft is 3 s, and the kernel up to 1.25 s late.
	for end := time.Now().Add(5500 * time.Millisecond); time.Now().Before(end); {
		<-tick.C
		s.must(m.Renew("web", in(ttl)))
		if !s.has("10.9.0.50/32") || !s.has("fd09::50/128") {
			t.Fatalf("addresses %v while the lease is renewed", s.list())
		}
	}
	select {
	case e := <-m.events:
		t.Errorf("event while all is well: %+v", e)
	default:
	}
}

func TestLapseWithdraws(t *testing.T) {
	s := newSegment(t)
	m := s.run(Options{Groups: []Group{s.web()}})
	s.must(m.Open("web", in(100*time.Millisecond)))
	if e := m.await(t, Lapsed); e.Group != "web" {
		t.Errorf("event %+v", e)
	}
	if err := m.Renew("web", in(time.Second)); !errors.Is(err, ErrNotOpen) {
		t.Errorf("Renew after the lapse: %v, want %v", err, ErrNotOpen)
	}
	s.eventually("addresses gone", func() bool { return cmp.Equal(own, s.list()) })
	s.must(m.Open("web", in(time.Minute)))
	s.wantList("opened again", with("10.9.0.50/32", "fd09::50/128"))
}

func TestLostAddressIsPutBack(t *testing.T) {
	s := newSegment(t)
	m := s.run(Options{Groups: []Group{s.web()}})
	s.must(m.Open("web", in(time.Minute)))
	for _, a := range []string{"10.9.0.50/32", "fd09::50/128"} {
		// The fastest of some: a busy machine makes it slower. Each loss follows at once upon the return before it, so
		// that one who looks now and then would be as slow each time.
		fastest := patience
		for range 5 {
			began := time.Now()
			s.change(netlink.AddrDel, a)
			lost := m.await(t, AddressLost)
			back := m.await(t, AddressRestored)
			fastest = min(fastest, time.Since(began))
			if host(lost.Addr).String() != a || back.Addr != lost.Addr || lost.Group != "web" || lost.Interface != s.near {
				t.Errorf("events %+v and %+v for %s", lost, back, a)
			}
			s.wantList("after the loss of "+a, with("10.9.0.50/32", "fd09::50/128"))
		}
		if fastest > 100*time.Millisecond {
			t.Errorf("%s put back after %v, want 100 ms at most", a, fastest)
		}
	}
	s.must(m.Shut("web", "test"))
	s.wantList("after Shut", own)
	select {
	case e := <-m.events:
		t.Errorf("event of our own deletion: %+v", e)
	default:
	}
}

func TestLinkFlap(t *testing.T) {
	s := newSegment(t)
	m := s.run(Options{Groups: []Group{s.web()}})
	s.must(m.Open("web", in(time.Minute)))
	l, err := netlink.LinkByName(s.near)
	s.must(err)
	// The kernel deletes the IPv6 addresses of an interface that is set down.
	s.must(netlink.LinkSetDown(l))
	if e := m.await(t, LinkDown); e.Interface != s.near {
		t.Errorf("event %+v", e)
	}
	tap := s.tap()
	s.must(netlink.LinkSetUp(l))
	m.await(t, LinkUp)
	s.eventually("both addresses", func() bool { return s.has("10.9.0.50/32") && s.has("fd09::50/128") })
	expect(t, tap, aboutClaims(s.nearMAC()), "arp op 1 10.9.0.50 multicast", "arp op 2 10.9.0.50 multicast", "na flags 0x20 fd09::50 multicast")
	// It does not only stand there, it works: the other machine gets answers.
	for _, a := range m.Holding("web")["web"] {
		s.farAsks(a)
	}
}

func TestInterfaceMadeAnew(t *testing.T) {
	s := newSegment(t)
	m := s.run(Options{Groups: []Group{s.web()}})
	s.must(m.Open("web", in(time.Minute)))
	s.unplug()
	m.await(t, LinkDown)
	s.must(m.Renew("web", in(time.Minute))) // the lease goes on without the interface
	s.plug()
	m.await(t, LinkUp)
	s.eventually("both addresses", func() bool { return s.has("10.9.0.50/32") && s.has("fd09::50/128") })
	// It announces on the new one.
	m.Reannounce("web")
	expect(t, s.tap(), aboutClaims(s.nearMAC()), "arp op 1 10.9.0.50 multicast", "na flags 0x20 fd09::50 multicast")
	s.must(m.Shut("web", "test"))
	s.wantList("after Shut", own)
}

func TestPredecessorsAddresses(t *testing.T) {
	s := newSegment(t)
	db := Group{Name: "db", Interface: s.near, Addresses: prefixes("10.9.0.60/24")}
	dir := t.TempDir()
	crashed, err := New(Options{Groups: []Group{s.web(), db}, RunDir: dir})
	s.must(err)
	s.must(crashed.Open("web", in(time.Minute)))
	s.must(crashed.Open("db", in(time.Minute)))
	s.must(crashed.Close())
	s.change(netlink.AddrAdd, "10.9.0.70/32") // not ours

	m := s.run(Options{Groups: []Group{s.web(), db}, RunDir: dir, Keep: func(g string) bool { return g == "db" }})
	s.wantList("after New", with("10.9.0.60/32", "10.9.0.70/32"))
	s.must(m.Shut("db", "resuming failed"))
	s.wantList("after Shut of the group that was to resume", with("10.9.0.70/32"))
	s.must(m.Open("web", in(time.Minute)))
	m.stop()

	removed, err := Cleanup(dir, func(g string) bool { return g == "web" })
	s.must(err)
	if len(removed) != 0 {
		t.Errorf("Cleanup took %v, which was to be spared", removed)
	}
	removed, err = Cleanup(dir, nil)
	s.must(err)
	want := "[10.9.0.50 from " + s.near + " (group web) fd09::50 from " + s.near + " (group web)]"
	if diff := cmp.Diff(want, fmt.Sprint(removed)); diff != "" {
		t.Errorf("Cleanup (-want +got):\n%s", diff)
	}
	s.wantList("after Cleanup", with("10.9.0.70/32"))
}

// A group resumes after a restart with another configuration: what it had before must not stay.
func TestResumeWithOtherAddresses(t *testing.T) {
	s := newSegment(t)
	dir := t.TempDir()
	before, err := New(Options{Groups: []Group{s.web()}, RunDir: dir})
	s.must(err)
	s.must(before.Open("web", in(time.Minute)))
	s.must(before.Close())
	next := s.web()
	next.Addresses = prefixes("10.9.0.51/24")
	m := s.run(Options{Groups: []Group{next}, RunDir: dir, Keep: func(string) bool { return true }})
	s.must(m.Open("web", in(time.Minute)))
	s.wantList("after the resumed Open", with("10.9.0.51/32"))

	m.stop()
	m = s.run(Options{RunDir: dir, Keep: func(string) bool { return true }}) // the group is no more
	s.wantList("after New without the group", own)
}

func TestCorruptRecord(t *testing.T) {
	s := newSegment(t)
	dir := t.TempDir()
	path := filepath.Join(dir, recordName)
	s.change(netlink.AddrAdd, "10.9.0.50/32")
	for _, text := range []string{"{", `{"version":9}`, `{"version":1,"addresses":[{"group":"web"}]}`} {
		s.must(os.WriteFile(path, []byte(text), 0o644))
		removed, err := Cleanup(dir, nil)
		if !errors.Is(err, ErrCorruptRecord) || len(removed) != 0 {
			t.Errorf("%s: Cleanup took %v, error %v, want %v", text, removed, err, ErrCorruptRecord)
		}
		m, err := New(Options{Groups: []Group{s.web()}, RunDir: dir})
		s.must(err)
		s.must(m.Close())
		s.wantList("after New", with("10.9.0.50/32"))
		if b, err := os.ReadFile(path + ".corrupt"); err != nil || string(b) != text {
			t.Errorf("set aside: %q, %v", b, err)
		}
	}
}

func TestReconfigureOpenGroup(t *testing.T) {
	s := newSegment(t)
	m := s.run(Options{Groups: []Group{s.web()}})
	s.must(m.Open("web", in(time.Minute)))
	next := s.web()
	next.Addresses = prefixes("10.9.0.51/24", "fd09::50/64")
	s.must(m.Reconfigure([]Group{next}))
	s.wantList("after another address", with("10.9.0.51/32", "fd09::50/128"))
	expect(t, s.tapAfter(func() { m.Reannounce("web") }), aboutClaims(s.nearMAC()), "arp op 1 10.9.0.51 multicast")
	s.must(m.Reconfigure(nil))
	s.wantList("after the group went", own)
	if err := m.Open("web", in(time.Minute)); !errors.Is(err, ErrUnknownGroup) {
		t.Errorf("Open of a group that went: %v, want %v", err, ErrUnknownGroup)
	}
}

func TestMissingInterfaceNamesTheOthers(t *testing.T) {
	s := newSegment(t)
	g := s.web()
	g.Interface = "eth7"
	_, err := New(Options{Groups: []Group{g}, RunDir: t.TempDir()})
	if !errors.Is(err, ErrNoInterface) || !strings.Contains(err.Error(), s.near) || !strings.Contains(err.Error(), "eth7") {
		t.Errorf("error %v, want one that names eth7 and %s", err, s.near)
	}
}
