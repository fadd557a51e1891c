package vip

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// An agent is killed at some moment of a call that takes many steps. Its successor leaves nothing, whichever it was.
func TestKilledAtAnyStep(t *testing.T) {
	g := Group{Name: "web", Interface: "eth0"}
	for i := range 50 {
		g.Addresses = append(g.Addresses,
			netip.MustParsePrefix(fmt.Sprintf("10.9.0.%d/24", 100+i)), netip.MustParsePrefix(fmt.Sprintf("fd09::1:%x/64", i)))
	}
	s := newSite(t, g)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	before := s.a.state()
	hop := s.b.do(order{Op: "hop"}).Hop
	left := make(map[string]int)
	for i := range 12 {
		op := []string{"drain", "steer", "end", "open"}[i%4]
		if op != "steer" {
			s.a.do(order{Op: "open"})
		}
		if op == "end" || op == "open" {
			s.a.do(order{Op: "drain", To: hop})
		}
		s.must(s.a.to.Encode(order{Op: op, Group: "web", To: hop, For: time.Minute}))
		<-time.After(time.Duration(random.IntN(12_000)) * time.Microsecond)
		s.a.stop(true)
		if s.a.state() != before {
			left[op]++
		}
		s.a.start()
		wantState(t, s.a, before, fmt.Sprintf("killed in %s, and started again (turn %d)", op, i))
	}
	t.Logf("something was left by the dead in %v of 3 each", left)
}

// Somebody flushes all rules while a group drains, on a kernel that cannot forbid it: the addresses must not stay on
// loopback without a gate, where the kernel would answer ARP for them.
func TestFlushWhileDraining(t *testing.T) {
	s := newSite(t)
	s.a.stop(false)
	s.a.conf.NoOwner = true
	s.a.start()
	serve(t, s.a, webPort)
	s.a.do(order{Op: "open"})
	s.a.do(order{Op: "drain", To: s.b.do(order{Op: "hop"}).Hop})
	has := func() (n int) {
		s.in(s.a.ns, func(h *netlink.Handle) error {
			lo, err := h.LinkByName("lo")
			if err != nil {
				return err
			}
			as, err := h.AddrList(lo, netlink.FAMILY_ALL)
			for _, a := range as {
				if a.IP.String() == floating4 || a.IP.String() == floating6 {
					n++
				}
			}
			return err
		})
		return n
	}
	if n := has(); n != 2 {
		t.Fatalf("%d addresses on loopback while it drains, want 2", n)
	}
	s.a.run("nft", "flush", "ruleset")
	began := time.Now()
	s.eventually("no address on loopback", func() bool { return has() == 0 })
	t.Logf("addresses gone %v after the flush", time.Since(began))
	s.a.do(order{Op: "end"})
	s.a.do(order{Op: "open"})
	s.a.do(order{Op: "shut"})
}
