package vip

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// many is a group of n addresses, every other one IPv6.
func (s *segment) many(n int) Group {
	g := Group{Name: "many", Interface: s.near}
	for i := range n {
		if i%2 == 0 {
			a := [4]byte{10, 9}
			binary.BigEndian.PutUint16(a[2:], uint16(1000+i))
			g.Addresses = append(g.Addresses, netip.PrefixFrom(netip.AddrFrom4(a), 16))
		} else {
			a := netip.MustParseAddr("fd09::1:0:0").As16()
			binary.BigEndian.PutUint16(a[14:], uint16(i))
			g.Addresses = append(g.Addresses, netip.PrefixFrom(netip.AddrFrom16(a), 64))
		}
	}
	return g
}

func TestManyAddresses(t *testing.T) {
	s := newSegment(t)
	const n = 100
	m := s.run(Options{Groups: []Group{s.many(n)}})
	tap := s.tap()
	began := time.Now()
	s.must(m.Open("many", in(time.Minute)))
	opened := time.Now()
	if got := len(m.Holding("many")["many"]); got != n {
		t.Fatalf("%d addresses, want %d", got, n)
	}
	var wanted []string
	for _, p := range s.many(n).Addresses {
		what := fmt.Sprintf("arp op 1 %v multicast", p.Addr())
		if p.Addr().Is6() {
			what = fmt.Sprintf("na flags 0x20 %v multicast", p.Addr())
		}
		wanted = append(wanted, what)
	}
	expect(t, tap, aboutClaims(s.nearMAC()), wanted...)
	shutting := time.Now()
	s.must(m.Shut("many", "test"))
	t.Logf("opened in %v, shut in %v", opened.Sub(began), time.Since(shutting))
	s.wantList("after Shut", own)
}

func BenchmarkOpenShut(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := newSegment(b)
			m := s.run(Options{Groups: []Group{s.many(n)}})
			var open, shut time.Duration
			for b.Loop() {
				t0 := time.Now()
				s.must(m.Open("many", in(time.Minute)))
				t1 := time.Now()
				s.must(m.Shut("many", "benchmark"))
				open, shut = open+t1.Sub(t0), shut+time.Since(t1)
			}
			b.ReportMetric(float64(open.Microseconds())/float64(b.N), "open-µs/op")
			b.ReportMetric(float64(shut.Microseconds())/float64(b.N), "shut-µs/op")
		})
	}
}

// Renew as the owner feels it, three times a ttl; the refresh behind it runs once a second.
func BenchmarkRenew(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := newSegment(b)
			m := s.run(Options{Groups: []Group{s.many(n)}})
			s.must(m.Open("many", in(time.Minute)))
			for b.Loop() {
				s.must(m.Renew("many", in(time.Minute)))
			}
		})
	}
}

// The refresh of lifetimes, once a second for each group.
func BenchmarkRefresh(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := newSegment(b)
			m, err := New(Options{Groups: []Group{s.many(n)}, RunDir: b.TempDir()})
			s.must(err)
			s.must(m.Open("many", in(time.Minute)))
			h := m.holding("many")
			for b.Loop() {
				_, err := m.fill(h)
				s.must(err)
			}
			s.must(m.Shut("many", "benchmark"))
			s.must(m.Close())
		})
	}
}

// One round of announcements, as Open begins it.
func BenchmarkAnnounce(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := newSegment(b)
			m, err := New(Options{Groups: []Group{s.many(n)}, RunDir: b.TempDir()})
			s.must(err)
			s.must(m.Open("many", in(time.Minute)))
			h := m.holding("many")
			for b.Loop() {
				if r := m.announcer.round(h); r.err != nil || r.count[sent] < n {
					b.Fatalf("%+v", r)
				}
			}
			s.must(m.Shut("many", "benchmark"))
			s.must(m.Close())
		})
	}
}
