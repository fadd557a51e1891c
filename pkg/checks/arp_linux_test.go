package checks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
)

func newARPWith(t *testing.T, iface, target string, probe ARPProber) Checker {
	t.Helper()
	s := Spec{Name: "gw", Type: "arp", Interface: iface}
	if target != "" {
		s.Target = netip.MustParseAddr(target)
	}
	c, err := New(s, Options{ARP: probe})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestARP(t *testing.T) {
	var asked string
	there := func(_ context.Context, iface string, target netip.Addr) (time.Duration, error) {
		asked = fmt.Sprint(iface, " ", target)
		return time.Millisecond, nil
	}
	check(t, probe(t, newARPWith(t, "eth7", "::ffff:10.0.0.1", there), patience), true, "10.0.0.1 answers on eth7")
	if diff := cmp.Diff("eth7 10.0.0.1", asked); diff != "" {
		t.Error(diff)
	}
	gone := func(context.Context, string, netip.Addr) (time.Duration, error) {
		return 0, errors.New("network is down")
	}
	check(t, probe(t, newARPWith(t, "eth7", "10.0.0.1", gone), patience), false, "no answer from 10.0.0.1 on eth7: network is down")
	silent := func(ctx context.Context, _ string, _ netip.Addr) (time.Duration, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	check(t, probe(t, newARPWith(t, "eth7", "10.0.0.1", silent), short), false, "no answer within 200ms")
	for _, target := range []string{"0.0.0.0", "224.0.0.1", "127.0.0.1", "::", "ff02::1", "::1"} {
		if _, err := New(Spec{Type: "arp", Target: netip.MustParseAddr(target)}, Options{ARP: there}); err == nil {
			t.Errorf("target %s was accepted", target)
		}
	}
}

func TestARPFindsGateway(t *testing.T) {
	if !inNetns(t) {
		return
	}
	there := func(context.Context, string, netip.Addr) (time.Duration, error) { return time.Millisecond, nil }
	expect := func(iface, target string, ok bool, want string) {
		t.Helper()
		check(t, probe(t, newARPWith(t, iface, target, there), patience), ok, want)
	}
	var links []netlink.Link
	for i, name := range []string{"hb0", "hb2"} {
		a, b := veth(t, name, name+"p")
		must(t, netlink.LinkSetUp(a))
		must(t, netlink.LinkSetUp(b))
		addr, err := netlink.ParseAddr(fmt.Sprintf("10.9.%d.2/24", i))
		must(t, err)
		must(t, netlink.AddrAdd(a, addr))
		links = append(links, a)
	}
	add := func(l netlink.Link, gw string, metric int) {
		t.Helper()
		must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: net.ParseIP(gw), Priority: metric}))
	}
	expect("", "", false, "no default gateway: name a target")
	expect("hb0", "", false, "no default gateway on hb0: name a target")
	expect("", "10.9.1.7", true, "10.9.1.7 answers on hb2")
	expect("", "10.77.0.1", false, "no route to 10.77.0.1: network is unreachable")

	add(links[0], "10.9.0.1", 200)
	add(links[1], "10.9.1.1", 100)
	expect("", "", true, "10.9.1.1 answers on hb2")
	expect("hb0", "", true, "10.9.0.1 answers on hb0")
	expect("hb9", "", false, "no default gateway on hb9: name a target")
	expect("", "10.77.0.1", false, "10.77.0.1 is not a neighbour: it is behind 10.9.1.1")

	// IPv6 serves where there is no IPv4.
	must(t, netlink.RouteDel(&netlink.Route{LinkIndex: links[0].Attrs().Index, Gw: net.ParseIP("10.9.0.1"), Priority: 200}))
	must(t, netlink.RouteDel(&netlink.Route{LinkIndex: links[1].Attrs().Index, Gw: net.ParseIP("10.9.1.1"), Priority: 100}))
	add(links[1], "fe80::1", 100)
	expect("", "", true, "fe80::1 answers on hb2")
}
