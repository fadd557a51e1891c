package cluster

import (
	"context"
	"syscall"
	"testing"
	"time"
)

// BenchmarkIdle measures what three idle nodes cost: each iteration is 15 s, one
// push/pull interval. Use -benchtime=2x.
func BenchmarkIdle(b *testing.B) {
	const window = 15 * time.Second
	nw := newNetwork(b, "web1", "web2", "db1")
	nodes := []*node{nw.start("web1"), nw.start("web2"), nw.start("db1")}
	nw.awaitMesh(nodes...)
	for _, n := range nodes {
		if err := n.Publish(NodeState{Groups: make([]GroupState, 3), Checks: make([]CheckState, 4)}); err != nil {
			b.Fatal(err)
		}
	}
	<-time.After(3 * time.Second) // the news of joining are told
	count := func() (sum Stats, cpu time.Duration) {
		for _, n := range nodes {
			s := n.Stats()
			sum.PacketsOut += s.PacketsOut
			sum.BytesOut += s.BytesOut
			sum.StreamsOut += s.StreamsOut
		}
		var ru syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
			b.Fatal(err)
		}
		return sum, time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
	}
	s0, cpu0 := count()
	windows := 0
	for b.Loop() {
		<-time.After(window)
		windows++
	}
	s1, cpu1 := count()
	nodeSeconds := float64(len(nodes)) * window.Seconds() * float64(windows)
	b.ReportMetric(float64(s1.PacketsOut-s0.PacketsOut)/nodeSeconds, "packets-out/s/node")
	b.ReportMetric(float64(s1.BytesOut-s0.BytesOut)/nodeSeconds, "bytes-out/s/node")
	b.ReportMetric(float64(s1.StreamsOut-s0.StreamsOut)/nodeSeconds, "streams-out/s/node")
	b.ReportMetric(100*(cpu1-cpu0).Seconds()/nodeSeconds, "%core/node")
}

// leaseEcho sends each lease message back, or counts it.
type leaseEcho struct {
	*recorder
	got func(payload []byte)
}

func (e leaseEcho) LeaseMessage(b []byte) { e.got(b) }

// BenchmarkLeaseRoundTrip is one lease datagram there and one back, encrypted, over
// loopback.
func BenchmarkLeaseRoundTrip(b *testing.B) {
	nw := newNetwork(b, "web1", "web2")
	back := make(chan struct{}, 1)
	var far *node
	near := nw.start("web1", func(o *Options) {
		o.Handler = leaseEcho{newRecorder(nw.bell), func([]byte) { back <- struct{}{} }}
	})
	ready := make(chan struct{})
	far = nw.start("web2", func(o *Options) {
		o.Handler = leaseEcho{newRecorder(nw.bell), func(p []byte) {
			<-ready
			if err := far.SendLease("web1", p); err != nil {
				b.Error(err)
			}
		}}
	})
	close(ready)
	payload := make([]byte, 200)
	b.ReportAllocs()
	for b.Loop() {
		if err := near.SendLease("web2", payload); err != nil {
			b.Fatal(err)
		}
		select {
		case <-back:
		case <-time.After(patience):
			b.Fatal("lost")
		}
	}
}

// BenchmarkCall is one call with a small body.
func BenchmarkCall(b *testing.B) {
	nw := newNetwork(b, "web1", "web2")
	near, far := nw.start("web1"), nw.start("web2")
	far.setHandler(func(_ context.Context, _, _ string, body []byte) ([]byte, error) { return body, nil })
	for b.Loop() {
		if _, err := near.Call(b.Context(), "web2", "echo", []byte("x")); err != nil {
			b.Fatal(err)
		}
	}
}
