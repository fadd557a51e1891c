package lab_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

// Proves that the observer of IPv6 can fail: two machines with the same address are seen, and one is not.
func TestNDWatchSeesTwoOwners(t *testing.T) {
	w := labtest.New(t, lab.Options{Nodes: []string{"a", "b"}})
	if !w.IPv6 {
		labtest.Skip(t, "IPv6 in the kernel")
	}
	ctx := labtest.Within(t, patience)
	begin := time.Now()
	nd, err := w.WatchND(ctx, lab.Floating6.Addr(), 0)
	if err != nil {
		t.Fatal(err)
	}
	step := func(change error, want ...string) {
		t.Helper()
		if change != nil {
			t.Fatal(change)
		}
		if err := nd.WaitAnswers(ctx, time.Now(), want...); err != nil {
			t.Error(err)
		}
	}
	step(nil)
	step(w.Node("a").AddAddress(lab.Floating6), "a")
	alone := time.Now()
	if two := nd.OwnersOverlap(begin, alone); len(two) > 0 {
		t.Errorf("two owners seen where only a had the address: %v", two)
	}
	step(w.Node("b").AddAddress(lab.Floating6), "a", "b")
	if two := nd.OwnersOverlap(alone, time.Now()); len(two) == 0 {
		t.Error("OwnersOverlap does not see two owners")
	}
	step(w.Node("a").DelAddress(lab.Floating6), "b")
	step(w.Node("b").PowerOff())
	if _, err := w.WatchND(ctx, lab.Floating4.Addr(), 0); err == nil {
		t.Error("WatchND accepts an IPv4 address")
	}
}

func TestAnnouncements(t *testing.T) {
	w := labtest.New(t, lab.Options{Nodes: []string{"a"}})
	ctx := labtest.Within(t, patience)
	a := w.Node("a")
	f4, f6 := lab.Floating4.Addr(), lab.Floating6.Addr()
	begin := time.Now()
	seen, err := w.WatchAnnouncements(ctx, f4, f6)
	if err != nil {
		t.Fatal(err)
	}
	questions, err := w.WatchARP(ctx, f4, 0) // its answers are no announcements
	if err != nil {
		t.Fatal(err)
	}
	want := func(addr netip.Addr, claim lab.Claim) {
		t.Helper()
		for ; ctx.Err() == nil; <-time.After(time.Millisecond) { // a watch sends no event
			for _, c := range seen.Announcements(begin, time.Now()) {
				if c.Node == "a" && c.Addr == addr && c.Claim == claim {
					return
				}
			}
		}
		t.Errorf("no %s of a for %s among %v", claim, addr, seen.Announcements(begin, time.Now()))
	}
	if err := a.AddAddress(lab.Floating4); err != nil {
		t.Fatal(err)
	}
	if err := questions.WaitAnswers(ctx, begin, "a"); err != nil {
		t.Error(err)
	}
	say(t, a, arpClaim(t, arp.OperationRequest, a.MAC, f4))
	want(f4, lab.GratuitousRequest)
	say(t, a, arpClaim(t, arp.OperationReply, a.MAC, f4))
	want(f4, lab.GratuitousReply)
	if w.IPv6 {
		say(t, a, naClaim(t, a.MAC, f6))
		want(f6, lab.UnsolicitedNA)
	}
	for _, c := range seen.Announcements(begin, time.Now()) {
		if c.Claim == lab.ARPReply {
			t.Errorf("an answer to a question counts as an announcement: %+v", c)
		}
	}
	// The client's own kernel asks, and remembers.
	if at, err := w.Client.CachedAt(f4); err != nil || at == "b" {
		t.Errorf("CachedAt = %q, %v", at, err)
	}
	asked := newLinkTo(t, w.Client, f4)
	want(f4, lab.ARPReply)
	for at := ""; at != "a"; <-time.After(time.Millisecond) {
		if at, err = w.Client.CachedAt(f4); err != nil || ctx.Err() != nil {
			t.Fatalf("CachedAt = %q, %v (%v), want a", at, err, ctx.Err())
		}
	}
	asked.Close()
}

// say sends a frame to everybody from a machine's card.
func say(t *testing.T, n *lab.Node, f ethernet.Frame) {
	t.Helper()
	f.Source = n.MAC
	b, err := f.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	err = n.Do(func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		conn, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_ARP, nil)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.WriteTo(b, &packet.Addr{HardwareAddr: f.Destination})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// arpClaim is a gratuitous ARP packet (RFC 5227 section 2.3, RFC 5944 section 4.6).
func arpClaim(t *testing.T, op arp.Operation, mac net.HardwareAddr, addr netip.Addr) ethernet.Frame {
	t.Helper()
	p, err := arp.NewPacket(op, mac, addr, mac, addr)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := p.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return ethernet.Frame{Destination: ethernet.Broadcast, EtherType: ethernet.EtherTypeARP, Payload: payload}
}

// naClaim is an unsolicited neighbour advertisement (RFC 4861 section 7.2.6).
func naClaim(t *testing.T, mac net.HardwareAddr, addr netip.Addr) ethernet.Frame {
	t.Helper()
	all := netip.IPv6LinkLocalAllNodes()
	body, err := ndp.MarshalMessageChecksum(&ndp.NeighborAdvertisement{Override: true, TargetAddress: addr,
		Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: mac}}}, addr, all)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 40, 40+len(body))
	p[0], p[6], p[7] = 6<<4, 58, 255
	binary.BigEndian.PutUint16(p[4:], uint16(len(body)))
	copy(p[8:], addr.AsSlice())
	copy(p[24:], all.AsSlice())
	return ethernet.Frame{Destination: net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, EtherType: ethernet.EtherTypeIPv6, Payload: append(p, body...)}
}
