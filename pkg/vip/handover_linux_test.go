package vip

import (
	"testing"
	"time"

	"github.com/vishvananda/netns"
)

// A move and the move back break nothing: for clients on the segment and behind a router, for IPv4 and IPv6.
func TestHandoverBreaksNothing(t *testing.T) {
	for _, kind := range []string{"veth", "macvlan"} {
		t.Run(kind, func(t *testing.T) { handoverBreaksNothing(t, newSiteOver(t, kind)) })
	}
}

func handoverBreaksNothing(t *testing.T, s *site) {
	t.Helper()
	serve(t, s.a, webPort)
	serve(t, s.b, webPort)
	s.a.do(order{Op: "open"})
	var loads []*load
	for _, ns := range []netns.NsHandle{s.client, s.far} {
		for _, v6 := range []bool{false, true} {
			loads = append(loads, s.begin(ns, floatingAt(v6, webPort)))
		}
	}
	<-time.After(300 * time.Millisecond)
	s1, d1, o1 := s.move(s.a, s.b, 20*time.Second)
	t.Logf("there: steer %v, drain %v, open %v; %d connections left on a", s1, d1, o1, s.a.do(order{Op: "count"}).N)
	<-time.After(1500 * time.Millisecond) // neighbours take no second change within a second
	s2, d2, o2 := s.move(s.b, s.a, 20*time.Second)
	t.Logf("back: steer %v, drain %v, open %v; %d connections left on b", s2, d2, o2, s.b.do(order{Op: "count"}).N)
	<-time.After(1500 * time.Millisecond)
	for i, l := range loads {
		if err := l.end(); err != nil {
			t.Errorf("load %d: %v", i, err)
		}
		if l.by["a"] == 0 || l.by["b"] == 0 {
			t.Errorf("load %d: new connections went to %v, want both", i, l.by)
		}
		t.Logf("load %d: %d transfers and questions, new connections %v, slowest %v", i, l.asked, l.by, l.slowest)
	}
}
