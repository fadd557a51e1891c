package vip

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// While a drains it has to ask for its clients' hardware addresses, and must not do it in the floating address's name.
// Neighbour entries are taken away on all sides while connections run.
func TestMissingNeighbourEntries(t *testing.T) {
	s := pair(t)
	loads := []*load{
		s.begin(s.client, floatingAt(false, webPort)), s.begin(s.client, floatingAt(true, webPort)), s.begin(s.far, floatingAt(false, webPort)),
	}
	<-time.After(100 * time.Millisecond)
	s.move(s.a, s.b, 20*time.Second)
	tap := s.tapIn(s.client)
	var asked int
	for i := range 20 {
		for _, n := range []*node{s.a, s.b} {
			n.run("ip", "neigh", "flush", "all")
			n.run("ip", "-6", "neigh", "flush", "all")
		}
		if i%5 == 4 {
			runIn(t, s.client, "ip", "neigh", "flush", "all")
		}
		<-time.After(50 * time.Millisecond)
	}
	s.must(tap.SetReadDeadline(time.Now().Add(50 * time.Millisecond)))
	buf := make([]byte, 2048)
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	for {
		n, _, err := tap.ReadFrom(buf)
		if err != nil {
			break
		}
		f := buf[:n]
		if string(f[6:12]) != string(mac) {
			continue
		}
		if f[12] == 8 && f[13] == 6 && f[21] == 1 {
			asked++
		}
		if c, ok := parseClaim(f); ok && (c.Addr == netip.MustParseAddr(floating4) || c.Addr == netip.MustParseAddr(floating6)) {
			t.Errorf("a speaks for %v while it drains: % x", c.Addr, f[:min(n, 42)])
		}
		if f[12] == 0x86 && n > 54 && f[20] == 58 && f[54] == ndSolicitation && string(f[22:38]) == string(netip.MustParseAddr(floating6).AsSlice()) {
			t.Error("a solicits from the floating address while it drains")
		}
	}
	if asked == 0 {
		t.Error("a asked for nobody: the test tests nothing")
	}
	for i, l := range loads {
		if err := l.end(); err != nil {
			t.Errorf("load %d: %v", i, err)
		}
	}
	t.Logf("%d ARP requests of a, none for the floating address", asked)
}

// A switch that floods, and an interface that hears everything: packets to the old owner must not be sent on by the
// new one.
func TestOverheardPackets(t *testing.T) {
	s := pair(t)
	s.in(s.sw, func(h *netlink.Handle) error { // a hub: nothing is learned
		for _, port := range []string{"pa", "pb", "pc", "pclient", "prouter"} {
			l, err := h.LinkByName(port)
			if err != nil {
				return err
			}
			if err := errors.Join(h.LinkSetLearning(l, false), h.LinkSetFlood(l, true)); err != nil {
				return err
			}
		}
		return nil
	})
	runIn(t, s.sw, "bridge", "fdb", "flush", "dev", "br0")
	s.in(s.b.ns, func(h *netlink.Handle) error {
		l, err := h.LinkByName("eth0")
		if err != nil {
			return err
		}
		return h.SetPromiscOn(l)
	})
	l := s.begin(s.client, floatingAt(false, webPort))
	tap := s.tapIn(s.a.ns)
	s.b.do(order{Op: "steer", To: s.a.do(order{Op: "hop"}).Hop})
	<-time.After(300 * time.Millisecond)
	s.must(tap.SetReadDeadline(time.Now().Add(10 * time.Millisecond)))
	buf := make([]byte, 2048)
	seen := 0
	for {
		n, _, err := tap.ReadFrom(buf)
		if err != nil {
			break
		}
		if buf[12] == 8 && buf[13] == 0 && n > 34 && string(buf[30:34]) == string(netip.MustParseAddr(floating4).AsSlice()) {
			seen++
			if buf[11] == 2 {
				t.Fatal("b sent on what it overheard")
			}
		}
	}
	if seen == 0 {
		t.Error("nothing seen: the test tests nothing")
	}
	if err := l.end(); err != nil {
		t.Error(err)
	}
}

// Two groups move in opposite directions at the same time.
func TestTwoGroupsMoveAtOnce(t *testing.T) {
	db := Group{Name: "db/odd name", Interface: "eth0", Addresses: prefixes("10.9.0.60/24", "fd09::60/64")}
	s := pair(t, webOn("eth0"), db)
	s.b.do(order{Op: "open", Group: db.Name})
	dbAt := netip.MustParseAddrPort("[fd09::60]:80")
	loads := []*load{s.begin(s.client, floatingAt(false, webPort)), s.begin(s.far, dbAt)}
	<-time.After(100 * time.Millisecond)
	hopA, hopB := s.a.do(order{Op: "hop"}).Hop, s.b.do(order{Op: "hop"}).Hop
	s.b.do(order{Op: "steer", To: hopA})
	s.a.do(order{Op: "steer", To: hopB, Group: db.Name})
	s.a.do(order{Op: "drain", To: hopB})
	s.b.do(order{Op: "drain", To: hopA, Group: db.Name})
	s.b.do(order{Op: "open"})
	s.a.do(order{Op: "open", Group: db.Name})
	<-time.After(300 * time.Millisecond)
	for i, l := range loads {
		if err := l.end(); err != nil {
			t.Errorf("load %d: %v", i, err)
		}
		t.Logf("load %d: %v", i, l.by)
	}
	s.a.do(order{Op: "end"})
	if got, err := fresh(s.far, dbAt); got != "a" {
		t.Errorf("the other group after EndDrain of one: answered by %q, error %v", got, err)
	}
}

func TestHundredAddressesMove(t *testing.T) {
	g := Group{Name: "web", Interface: "eth0"}
	for i := range 50 {
		g.Addresses = append(g.Addresses,
			netip.MustParsePrefix(fmt.Sprintf("10.9.0.%d/24", 100+i)), netip.MustParsePrefix(fmt.Sprintf("fd09::1:%x/64", i)))
	}
	s := pair(t, g)
	before := s.b.state()
	var talks []*talk
	for i, p := range g.Addresses {
		k := s.talk([]netns.NsHandle{s.client, s.far}[i%2], netip.AddrPortFrom(p.Addr(), webPort))
		s.wantWho(k, "a", "before the move")
		talks = append(talks, k)
	}
	steer, drain, open := s.move(s.a, s.b, 20*time.Second)
	t.Logf("100 addresses: steer %v, drain %v, open %v", steer, drain, open)
	for _, k := range talks {
		s.wantWho(k, "a", "after the move")
	}
	if n := s.a.do(order{Op: "count"}).N; n != 100 {
		t.Errorf("%d connections, want 100", n)
	}
	t.Logf("EndDrain of 100 connections: %v", s.a.do(order{Op: "end"}).Took)
	s.b.do(order{Op: "unsteer"})
	s.b.do(order{Op: "shut"})
	wantState(t, s.b, before, "after all")
}

// The forward probe comes through a plain switch, and not through one that looks at source addresses.
func TestForwardProbe(t *testing.T) {
	s := pair(t)
	probe := func() error {
		hop := s.a.do(order{Op: "hop"}).Hop
		s.must(s.a.to.Encode(order{Op: "await", Group: "web", Cookie: 77, For: 700 * time.Millisecond}))
		s.b.do(order{Op: "probe", To: hop, Cookie: 77, For: 500 * time.Millisecond})
		var r reply
		s.must(s.a.from.Decode(&r))
		if r.Error != "" {
			return errors.New(r.Error)
		}
		t.Logf("it came after %v", r.Took)
		return nil
	}
	if err := probe(); err != nil {
		t.Errorf("through a plain switch: %v", err)
	}
	nftSwitch := func(args ...string) { runIn(t, s.sw, "nft", args...) }
	nftSwitch("add table bridge spoof")
	nftSwitch("add chain bridge spoof f { type filter hook forward priority 0; }")
	for family, own := range map[string]string{"ip": "{ 10.9.0.2, " + floating4 + " }", "ip6": "{ fd09::2, fe80::ff:fe00:2, " + floating6 + " }"} {
		nftSwitch("add rule bridge spoof f iifname pb ether type " + family + " " + family + " saddr != " + own + " drop")
		err := probe()
		want := map[string]string{"ip": floating4, "ip6": floating6}[family]
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), ErrNoAnswer.Error()) {
			t.Errorf("through a switch that checks %s addresses: %v", family, err)
		}
		t.Log(err)
		nftSwitch("flush chain bridge spoof f")
	}
}

func TestForwardProbeFrames(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	for _, a := range []string{floating4, floating6} {
		to := netip.MustParseAddr(a)
		f, err := forwardProbe(to, mac, mac, 1<<63|5)
		if err != nil {
			t.Fatal(err)
		}
		if !parseForwardProbe(f, to, 1<<63|5) || parseForwardProbe(f, to, 5) || parseForwardProbe(f, to.Next(), 1<<63|5) {
			t.Errorf("the probe to %v is not read as it was written", to)
		}
		for n := range f {
			parseForwardProbe(f[:n], to, 5) // no panic
		}
	}
}

// Clients on the nodes themselves, to the letter of docs/handover.md.
func TestClientsOnTheNodes(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		t.Run(fmt.Sprintf("ipv6=%v", v6), func(t *testing.T) {
			s := pair(t)
			onOld, onNew, onThird := s.talk(s.a.ns, floatingAt(v6, webPort)), s.talk(s.b.ns, floatingAt(v6, webPort)), s.talk(s.c.ns, floatingAt(v6, webPort))
			s.move(s.a, s.b, 20*time.Second)
			s.wantWho(onOld, "a", "a client on the old owner")
			s.wantWho(onThird, "a", "a client on a third node")
			got, err := onNew.who()
			t.Logf("a client on the new owner: answered by %q, error %v", got, err)
			for _, ns := range []struct {
				ns   netns.NsHandle
				want string
			}{{s.a.ns, "a"}, {s.b.ns, "b"}} {
				if got, err := fresh(ns.ns, floatingAt(v6, webPort)); got != ns.want {
					t.Errorf("a new connection from a node: answered by %q, error %v, want %q", got, err, ns.want)
				}
			}
			s.a.do(order{Op: "end"})
			if got, err := fresh(s.a.ns, floatingAt(v6, webPort)); got != "b" {
				t.Errorf("a new connection from the old owner after the drain: answered by %q, error %v, want b", got, err)
			}
		})
	}
}
