package vip

import (
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"
)

// percentiles reports how long a call took: the middle, and the slow end.
func percentiles(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	at := func(p int) float64 { return float64(took[min(len(took)-1, len(took)*p/100)].Microseconds()) }
	b.ReportMetric(at(50), "p50-µs")
	b.ReportMetric(at(99), "p99-µs")
}

// A renewal, three times a ttl: it must not grow with the addresses, and little with the groups.
func BenchmarkGateRenew(b *testing.B) {
	for _, bb := range []struct{ groups, addresses int }{{1, 1}, {1, 1000}, {100, 2}, {500, 1}} {
		b.Run(fmt.Sprintf("groups=%d/addresses=%d", bb.groups, bb.addresses), func(b *testing.B) {
			s := newSegment(b)
			var groups []Group
			for i := range bb.groups {
				g := s.many(bb.addresses * bb.groups)
				g.Name = fmt.Sprintf("group-%d", i)
				g.Addresses = g.Addresses[i*bb.addresses:][:bb.addresses]
				groups = append(groups, g)
			}
			g := s.gated(GateOptions{}, groups...)
			for _, gr := range groups {
				s.must(g.Open(gr.Name, in(time.Minute)))
			}
			var took []time.Duration
			refused := 0
			for b.Loop() {
				deadlines := make(map[string]time.Duration)
				for _, gr := range groups {
					deadlines[gr.Name] = in(time.Minute)
				}
				began := time.Now()
				if failed := g.Renew(deadlines); failed != nil {
					refused++ // a machine that is busy with other things
				}
				took = append(took, time.Since(began))
			}
			percentiles(b, took)
			b.ReportMetric(float64(refused), "refused")
			s.must(cleanUp(g))
		})
	}
}

func cleanUp(g *NFTGate) error {
	for _, m := range g.layout.members {
		if err := g.Shut(m.group.Name); err != nil {
			return err
		}
	}
	return g.Close(false)
}

func BenchmarkGateOpenShut(b *testing.B) {
	s := newSegment(b)
	g := s.gated(GateOptions{}, s.web())
	var open, shut []time.Duration
	for b.Loop() {
		t0 := time.Now()
		s.must(g.Open("web", in(time.Minute)))
		t1 := time.Now()
		s.must(g.Shut("web"))
		open, shut = append(open, t1.Sub(t0)), append(shut, time.Since(t1))
	}
	slices.Sort(open)
	slices.Sort(shut)
	b.ReportMetric(float64(open[len(open)/2].Microseconds()), "open-p50-µs")
	b.ReportMetric(float64(shut[len(shut)/2].Microseconds()), "shut-p50-µs")
}

// A stream from the other machine to the address, with and without the gate, by turns: what the rules cost a packet.
func BenchmarkGateThroughput(b *testing.B) {
	const turn = 500 * time.Millisecond
	s := newSegment(b)
	m, err := New(Options{Groups: []Group{s.web()}, RunDir: b.TempDir()})
	s.must(err)
	s.must(m.Open("web", in(time.Hour)))
	l, err := net.Listen("tcp", "10.9.0.50:0")
	s.must(err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, c) }()
		}
	}()
	var c net.Conn
	inNamespace(b, s.ns, func() (err error) {
		c, err = net.Dial("tcp", l.Addr().String())
		return err
	})
	defer c.Close()
	buf := make([]byte, 256<<10)
	stream := func() float64 {
		sent := 0
		began := time.Now()
		for time.Since(began) < turn {
			n, err := c.Write(buf)
			s.must(err)
			sent += n
		}
		return float64(sent) / time.Since(began).Seconds()
	}
	stream()
	var ratios []float64
	var best float64
	for b.Loop() {
		before := stream()
		g := s.gate(GateOptions{})
		s.must(g.SetGroups([]Group{s.web()}, nil))
		s.must(g.Open("web", in(time.Hour)))
		with := stream()
		s.must(cleanUp(g))
		after := stream()
		ratios = append(ratios, 2*with/(before+after))
		best = max(best, with)
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "ratio-p50")
	b.ReportMetric(ratios[0], "ratio-min")
	b.ReportMetric(best*8/1e9, "Gbit/s")
	s.must(m.Shut("web", "benchmark"))
	s.must(m.Close())
}

// The look at the gate, once a second.
func BenchmarkGateVerify(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("groups=%d", n), func(b *testing.B) {
			s := newSegment(b)
			var groups []Group
			for i := range n {
				g := s.many(2 * n)
				g.Name, g.Addresses = fmt.Sprintf("group-%d", i), g.Addresses[2*i:][:2]
				groups = append(groups, g)
			}
			g := s.gated(GateOptions{}, groups...)
			for b.Loop() {
				if stands, err := g.Verify(); !stands || err != nil {
					b.Fatal(stands, err)
				}
			}
			s.must(cleanUp(g))
		})
	}
}
