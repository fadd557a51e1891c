package cluster

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

func TestWrongKeyIsNamed(t *testing.T) {
	t.Parallel()
	for name, wrong := range map[string]func(*Options){
		"other key": func(o *Options) { o.Keys = [][]byte{[]byte("another key 1234")} },
		"no key":    func(o *Options) { o.Keys, o.Insecure = nil, true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nw := newNetwork(t, "web1", "web2")
			a, b := nw.start("web1"), nw.start("web2", wrong)
			var p Problem
			for _, n := range []*node{a, b} {
				nw.await(n.opts.Node+" reports a wrong key", func() (ok bool) { p, ok = n.problem(WrongKey); return ok })
				if p.Node == "" || p.Addr.Addr() == nw.address(n.opts.Node) || !strings.Contains(p.Detail, "key_file") {
					t.Errorf("%s: does not name the peer and what to do: %+v", n.opts.Node, p)
				}
			}
			if a.sees("web2") || b.sees("web1") {
				t.Error("they see each other all the same")
			}
			// Each message counts, also where no report comes of it.
			before := b.Stats().Problems[WrongKey]
			for range 10 {
				if err := a.SendLease("web2", []byte("mine")); err != nil {
					t.Fatal(err)
				}
			}
			for deadline := time.Now().Add(patience); b.Stats().Problems[WrongKey] < before+10; {
				if time.Now().After(deadline) {
					t.Fatalf("%d wrong keys counted, %d before ten more messages", b.Stats().Problems[WrongKey], before)
				}
				time.Sleep(time.Millisecond) // no event tells of it
			}
		})
	}
}

func TestWrongClusterIsNamed(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2")
	a := nw.start("web1")
	b := nw.start("web2", func(o *Options) { o.Cluster = "bakery" })
	var p Problem
	nw.await("the wrong cluster is reported", func() (ok bool) { p, ok = a.problem(WrongCluster); return ok })
	if p.Node != "web2" || !strings.Contains(p.Detail, `"bakery"`) {
		t.Errorf("does not name node and cluster: %+v", p)
	}
	if a.sees("web2") || b.sees("web1") {
		t.Error("they see each other all the same")
	}
}

func TestStrangersAreDropped(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2")
	a := nw.startOnly("web1")
	go func() { _ = a.Run(t.Context()) }()
	// With the right cluster and key, but an address that is not configured.
	stranger := nw.peers[0].Address.Next().Next().Next()
	other := nw.start("web2", func(o *Options) { o.Peers = []Peer{nw.peers[0], {"web2", stranger}} })
	if err := other.SendLease("web1", []byte("let me in")); err != nil {
		t.Fatal(err)
	}
	var p Problem
	nw.await("the stranger is reported", func() (ok bool) { p, ok = a.problem(UnknownPeer); return ok })
	if p.Addr.Addr() != stranger || !strings.Contains(p.Detail, stranger.String()) {
		t.Errorf("does not name the address: %+v", p)
	}
	// A stream is closed before anything is read.
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: stranger.AsSlice()}}).Dial("tcp", netip.AddrPortFrom(nw.address("web1"), testPort).String())
	if err == nil {
		_ = conn.SetDeadline(time.Now().Add(patience))
		if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("the stranger's stream was not closed: read %d, %v", n, err)
		}
		_ = conn.Close()
	}
	if s := a.Stats(); s.Strangers == 0 || s.PacketsIn != 0 || s.LeasesIn != 0 {
		t.Errorf("counted as %+v", s)
	}
	if a.hasLease("let me in") {
		t.Error("its lease was delivered")
	}
}

// A peer whose configuration differs speaks of members that we do not accept.
func TestForeignMembersAreRefused(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2", "db1")
	b, c := nw.start("web2"), nw.start("db1")
	nw.awaitMesh(b, c)
	a := nw.start("web1", func(o *Options) {
		o.Peers = []Peer{nw.peers[0], nw.peers[1], {"db1", nw.address("db1").Next()}}
	})
	nw.awaitMesh(a, b)
	var p Problem
	nw.await("the other address is reported", func() (ok bool) { p, ok = a.problem(NameConflict); return ok })
	if p.Node != "db1" || p.Addr.Addr() != nw.address("db1") || !strings.Contains(p.Detail, "configured here at") {
		t.Errorf("does not name node and address: %+v", p)
	}
	if a.sees("db1") {
		t.Error("admitted at an address that is not configured")
	}
}

func TestFloatingAddressIsNoMember(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2", "db1")
	floating := nw.address("db1")
	b, c := nw.start("web2"), nw.start("db1")
	nw.awaitMesh(b, c)
	a := nw.start("web1", func(o *Options) {
		o.Peers = nw.peers[:2]
		o.Forbidden = []netip.Addr{floating}
	})
	nw.awaitMesh(a, b)
	nw.await("the floating address is reported", func() bool { _, ok := a.problem(FloatingAddress); return ok })
}

// Two agents that run as one node refute each other for ever.
func TestTwoAgentsWithOneNameAreNamed(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2")
	a := nw.startOnly("web1")
	go func() { _ = a.Run(t.Context()) }()
	for i, run := range []string{"r1", "r2", "r1", "r2"} {
		if _, ok := a.problem(NameConflict); ok {
			t.Errorf("a restart, or an echo of one, is called a conflict (at %d)", i)
		}
		a.memberAlive(&memberlist.Node{Name: "web2", Meta: mustJSON(metadata{RunID: run, Protocol: 1, Instance: uint64(i + 1)})})
	}
	var p Problem
	nw.await("the conflict is reported", func() (ok bool) { p, ok = a.problem(NameConflict); return ok })
	if p.Node != "web2" || !strings.Contains(p.Detail, "r1") || !strings.Contains(p.Detail, "r2") {
		t.Errorf("does not name node and run ids: %+v", p)
	}
}

func TestAdmission(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2")
	floating := netip.MustParseAddr("10.0.0.50")
	c := nw.startOnly("web1", func(o *Options) { o.Forbidden = []netip.Addr{floating} }).Cluster
	web2 := nw.address("web2")
	good := mustJSON(metadata{RunID: "r", Protocol: protocolVersion, Instance: 1})
	for _, tc := range []struct {
		name string
		node memberlist.Node
		want admission
	}{
		{"configured", memberlist.Node{Name: "web2", Addr: web2.AsSlice(), Port: testPort, Meta: good}, admitted},
		{"in 16 bytes", memberlist.Node{Name: "web2", Addr: net.IP(web2.AsSlice()).To16(), Port: testPort, Meta: good}, admitted},
		{"other port", memberlist.Node{Name: "web2", Addr: web2.AsSlice(), Port: 1, Meta: good}, otherAddress},
		{"other address", memberlist.Node{Name: "web2", Addr: web2.Next().AsSlice(), Port: testPort, Meta: good}, otherAddress},
		{"our name", memberlist.Node{Name: "web1", Addr: web2.AsSlice(), Port: testPort, Meta: good}, otherAddress},
		{"unknown name", memberlist.Node{Name: "web9", Addr: web2.AsSlice(), Port: testPort, Meta: good}, unknownName},
		{"floating", memberlist.Node{Name: "web2", Addr: floating.AsSlice(), Port: testPort, Meta: good}, floatingAddr},
		{"no address", memberlist.Node{Name: "web2", Port: testPort, Meta: good}, otherAddress},
		{"no metadata", memberlist.Node{Name: "web2", Addr: web2.AsSlice(), Port: testPort}, otherMeta},
		{"other protocol", memberlist.Node{Name: "web2", Addr: web2.AsSlice(), Port: testPort,
			Meta: mustJSON(metadata{RunID: "r", Protocol: protocolVersion + 1, Instance: 1})}, otherMeta},
	} {
		if got := c.admit(&tc.node); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}
