package vip

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

// A table of an earlier steering is of use only while that steering goes on, and only with its chain on the interface.
func TestLearnWhatIsThere(t *testing.T) {
	s := newSegment(t)
	g := s.gated(GateOptions{}, s.web())
	l, err := realLink(s.near)
	s.must(err)
	st := steering{group: s.web(), ifindex: l, until: in(time.Minute)}
	table := steerTable + plainName("web")
	count := func(set string) int {
		t.Helper()
		e, err := liveElements(g.socket, table, familyNetdev, set)
		s.must(err)
		return len(e)
	}
	own1 := []flow{{local: netip.MustParseAddrPort("10.9.0.50:80"), remote: netip.MustParseAddrPort("10.9.0.2:1234")}}
	learn := func(prolongs bool) {
		t.Helper()
		st.prolongs = prolongs
		s.must(g.Learn(st))
		if n := count(steered4) + count(steered6); n != 2 {
			t.Errorf("%d steered addresses, want 2", n)
		}
		if whole, err := g.hooked(table); !whole || err != nil {
			t.Errorf("chains on the interface: %v, %v", whole, err)
		}
	}
	learn(false)
	s.must(g.Own("web", own1))
	learn(true)
	if n := count(flows4); n != 1 {
		t.Errorf("%d connections known while the steering goes on, want 1", n)
	}
	learn(false)
	if n := count(flows4); n != 0 {
		t.Errorf("%d connections known of an earlier steering, want none", n)
	}
	st.until = in(30 * time.Millisecond)
	s.must(g.Learn(st))
	s.eventually("the addresses timed out", func() bool { return count(steered4)+count(steered6) == 0 })
	st.until = in(time.Minute)
	learn(true)
	nft(t, "list", "ruleset")
	s.unplug()
	s.plug()
	learn(true)
	s.must(g.Unsteer("web"))
}

func realLink(name string) (int, error) {
	k, err := newKernel()
	if err != nil {
		return 0, err
	}
	l, err := k.Link(name)
	return l.Index, errors.Join(err, k.Close())
}

// Cleanup goes on when connections cannot be told, and spares groups whose names nft cannot read.
func TestCleanupGoesOn(t *testing.T) {
	s := newSegment(t)
	odd := s.web()
	odd.Name = "web farm"
	g := s.gated(GateOptions{NoOwner: true}, odd)
	s.must(g.Open(odd.Name, in(time.Minute)))
	l, err := realLink(s.near)
	s.must(err)
	s.must(g.Learn(steering{group: odd, ifindex: l, until: in(time.Minute)}))
	k := newFake(bootTime)
	k.links = append(k.links, link{Name: loopback, Index: loopbackIndex})
	gone := netip.MustParseAddr("10.0.0.60")
	s.must(k.Put(loopbackIndex, gone, 60))
	r, err := loadRecord(t.TempDir())
	s.must(err)
	s.must(r.add(entriesOf("db", loopback, []netip.Addr{gone})))
	broken := errors.New("broken")
	k.onList = func() error { return broken }
	removed, err := cleanup(k, r, func(name string) bool { return name == odd.Name })
	if !errors.Is(err, broken) || len(removed) != 1 || removed[0].Addr != gone {
		t.Errorf("removed %v, error %v; want %v and %v", removed, err, gone, broken)
	}
	if have, err := tablesOf(g.socket, steerTable+plainName(odd.Name)); err != nil || len(have) != 1 {
		t.Errorf("steering of a spared group: tables %v, %v", have, err)
	}
	k.onList = func() error { return errNoDiag }
	if _, err := cleanup(k, r, func(string) bool { return false }); err != nil {
		t.Errorf("a kernel that cannot list: %v", err)
	}
	if have, _ := tablesWith(g.socket, TableName); len(have) > 0 {
		t.Errorf("tables left: %v", have)
	}
}
