package vip

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// upload sends n bytes as fast as they go, and waits for the server to have them.
func (k *talk) upload(n int) error {
	if err := k.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(k, "up %d\n", n); err != nil {
		return err
	}
	if _, err := io.CopyN(k, zeros{}, int64(n)); err != nil {
		return err
	}
	line, err := k.r.ReadString('\n')
	if err == nil && strings.TrimSpace(line) != fmt.Sprint(n) {
		err = fmt.Errorf("the server has %q bytes, want %d", line, n)
	}
	return err
}

// gigabit is the pace of the benchmarks that have one, in bytes a second (SO_MAX_PACING_RATE).
const gigabit = 125_000_000

// What it costs a connection that its packets go by the new owner: an upload, whose data take the detour, and a
// download, of which only the acknowledgements do. Both run before the move ("direct") and after it, by turns, so that
// whatever else the machine does meets both.
func BenchmarkForwarded(b *testing.B) {
	const size = 64 << 20
	for _, v6 := range []bool{false, true} {
		for _, kind := range []string{"upload", "upload-gigabit", "download"} {
			up := kind != "download"
			name := kind + map[bool]string{true: "-ipv6", false: "-ipv4"}[v6]
			b.Run(name, func(b *testing.B) {
				s := pair(b)
				// Connections to an address that stays, for comparison.
				stays := netip.MustParseAddrPort("10.9.0.1:80")
				if v6 {
					stays = netip.MustParseAddrPort("[fd09::1]:80")
				}
				moved, direct := s.talk(s.client, floatingAt(v6, webPort)), s.talk(s.client, stays)
				if kind == "upload-gigabit" {
					for _, k := range []*talk{moved, direct} {
						rc, err := k.Conn.(*net.TCPConn).SyscallConn()
						s.must(err)
						s.must(rc.Control(func(fd uintptr) {
							s.must(syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, unix.SO_MAX_PACING_RATE, gigabit))
						}))
					}
				}
				s.move(s.a, s.b, time.Minute)
				s.eventually("the client has learnt", func() bool { got, _ := fresh(s.client, floatingAt(v6, webPort)); return got == "b" })
				run := func(k *talk) time.Duration {
					began := time.Now()
					if up {
						s.must(k.upload(size))
					} else {
						s.must(k.transferFast(size))
					}
					return time.Since(began)
				}
				run(moved)
				run(direct)
				var d, f time.Duration
				b.ResetTimer()
				for b.Loop() {
					d += run(direct)
					f += run(moved)
				}
				rate := func(t time.Duration) float64 { return float64(size) * float64(b.N) / t.Seconds() / 1e6 }
				b.ReportMetric(rate(d), "MB/s-direct")
				b.ReportMetric(rate(f), "MB/s-forwarded")
				b.ReportMetric(rate(f)/rate(d), "ratio")
			})
		}
	}
}

// Ten thousand connections: counting them, steering beside them, and ending them.
func TestTenThousandConnections(t *testing.T) {
	s := pair(t)
	var lim syscall.Rlimit
	s.must(syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim))
	n := min(10_000, int(lim.Max)/2-200) // both ends are in this process
	if n < 4000 {
		skip(t, "%d open files are too few (ulimit -Hn)", lim.Max)
	}
	s.must(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: lim.Max, Max: lim.Max}))
	conns := make([]net.Conn, 0, n)
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	inNamespace(t, s.client, func() error {
		for i := range n {
			c, err := net.Dial("tcp", floatingAt(i%2 == 1, webPort).String())
			if err != nil {
				return err
			}
			conns = append(conns, c)
		}
		return nil
	})
	var total time.Duration
	for range 10 {
		r := s.a.do(order{Op: "count"})
		total += r.Took
		if r.N != n {
			t.Errorf("%d counted, want %d", r.N, n)
		}
	}
	steer, drain, open := s.move(s.a, s.b, time.Minute)
	settle()
	// The way back: a is the one that has ten thousand connections of its own.
	back, drainBack, openBack := s.move(s.b, s.a, time.Minute)
	t.Logf("with %d connections: counted in %v; steer %v, drain %v, open %v; back: steer %v, drain %v, open %v",
		n, total/10, steer, drain, open, back, drainBack, openBack)
	settle()
	s.move(s.a, s.b, time.Minute)
	end := s.a.do(order{Op: "end"})
	t.Logf("EndDrain: %d reset in %v", end.N, end.Took)
	if end.N != n {
		t.Errorf("%d reset, want %d", end.N, n)
	}
	for _, c := range conns {
		s.must(c.SetReadDeadline(time.Now().Add(patience)))
		if _, err := c.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
			t.Fatalf("a connection after EndDrain: %v", err)
		}
	}
}
