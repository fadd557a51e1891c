package cluster

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// Lines as memberlist v0.7.0 writes them.
func TestLogLines(t *testing.T) {
	t.Parallel()
	web2 := netip.MustParseAddrPort("10.0.0.12:7946")
	for _, tc := range []struct {
		line  string
		level slog.Level
		want  *Problem
	}{
		{"[DEBUG] memberlist: Stream connection from=10.0.0.12:7946", slog.LevelDebug, nil},
		{"[INFO] memberlist: Suspect web2 has failed, no acks received", slog.LevelInfo, nil},
		{"[ERR] memberlist: Failed to send gossip to 10.0.0.12:7946: x", slog.LevelError, nil},
		{"[ERROR] memberlist: Failed to encrypt local state: x", slog.LevelError, nil},
		{"Err: Could not set the deadline: x", slog.LevelWarn, nil},
		{"[ERR] memberlist: Decrypt packet failed: no installed keys could decrypt the message from=10.0.0.12:7946",
			slog.LevelDebug, &Problem{Kind: WrongKey, Node: "web2", Addr: web2}},
		{"[ERR] memberlist: failed to receive: encryption is configured but remote state is not encrypted from=10.0.0.12:7946",
			slog.LevelDebug, &Problem{Kind: WrongKey, Node: "web2", Addr: web2}},
		{`[ERR] memberlist: discarding packet with unacceptable label "bakery": from=10.0.0.12:7946`,
			slog.LevelDebug, &Problem{Kind: WrongCluster, Node: "web2", Addr: web2}},
		{"[WARN] memberlist: Was able to connect to web2 over TCP but UDP probes failed, network may be misconfigured",
			slog.LevelDebug, &Problem{Kind: UDPBlocked, Node: "web2"}},
		{"[ERR] memberlist: Failed push/pull merge: Node 'web2' protocol version (9) is incompatible: [1, 5] from=[::ffff:10.0.0.12]:7946",
			slog.LevelDebug, &Problem{Kind: VersionMismatch, Node: "web2", Addr: web2}},
		{"[WARN] memberlist: handler queue full, dropping message (8) from=10.0.0.12:7946",
			slog.LevelDebug, &Problem{Kind: Overload, Node: "web2", Addr: web2}},
		{"[DEBUG] memberlist: failed to join 10.0.0.12:7946: no installed keys could decrypt the message", slog.LevelDebug, nil},
		{"[WARN] memberlist: ignoring alive message for 'x': name is not configured", slog.LevelDebug, nil},
	} {
		var got *Problem
		var out bytes.Buffer
		a := &logAdapter{unreadable: func(string) {},
			logger: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})),
			report: func(p Problem) { got = &p }, self: "web1",
			byAddr: func(a netip.Addr) string { return map[netip.Addr]string{web2.Addr(): "web2"}[a] },
		}
		a.stdlib().Print(tc.line)
		if diff := cmp.Diff(tc.want, got, cmpopts.IgnoreFields(Problem{}, "Detail"), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
			t.Errorf("%s\n(-want +got):\n%s", tc.line, diff)
		}
		if got != nil && !strings.Contains(got.Detail, "web2") && got.Kind != Overload {
			t.Errorf("%s\ndetail names nobody: %s", tc.line, got.Detail)
		}
		if !strings.Contains(out.String(), "level="+tc.level.String()) {
			t.Errorf("%s\nlogged as %s", tc.line, out.String())
		}
	}
}

func TestProblemsAreLimited(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	woken := 0
	q := &problems{wake: func() { woken++ }, now: func() time.Time { return now }, last: map[problemKey]time.Time{}}
	at := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), uint16(1000+i))
	}
	for range 10 {
		q.report(Problem{Kind: WrongKey, Node: "web2"})
		q.report(Problem{Kind: WrongCluster, Node: "web2"})
	}
	if got := len(q.take()); got != 2 || woken != 2 {
		t.Errorf("%d problems, woken %d times, want 2", got, woken)
	}
	now = now.Add(problemInterval)
	q.report(Problem{Kind: WrongKey, Node: "web2"})
	if got := len(q.take()); got != 1 {
		t.Errorf("%d problems a minute later, want 1", got)
	}
	for i := range 10 * maxProblemKeys {
		q.report(Problem{Kind: UnknownPeer, Addr: at(i)})
	}
	counts := q.counts()
	if counts[UnknownPeer] != 10*maxProblemKeys || counts[WrongKey] != 11 || counts[UDPBlocked] != 0 {
		t.Errorf("counted %v", counts)
	}
	if got := len(q.take()); got > maxProblemKeys || got < maxProblemKeys-2 || len(q.last) > maxProblemKeys {
		t.Errorf("%d problems queued and %d remembered, at most %d", got, len(q.last), maxProblemKeys)
	}
	now = now.Add(problemInterval)
	q.report(Problem{Kind: UnknownPeer, Addr: at(99999)})
	if got := len(q.take()); got != 1 {
		t.Error("old pairs are not forgotten")
	}
}

func TestProblemKindsHaveNames(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, k := range ProblemKinds() {
		s := k.String()
		if strings.HasPrefix(s, "problem-") || seen[s] {
			t.Errorf("kind %d is called %q", int(k), s)
		}
		seen[s] = true
	}
}
