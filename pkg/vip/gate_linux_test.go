package vip

import (
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const gateTTL = time.Second

// gate is a gate in the namespace of the test. The Manager that gets it closes it.
func (s *segment) gate(o GateOptions) *NFTGate {
	s.t.Helper()
	if o.TTL == 0 {
		o.TTL = gateTTL
	}
	g, err := NewGate(o)
	s.must(err)
	s.t.Cleanup(func() { _ = cleanTables() })
	return g
}

// gated is a gate of its own for groups, without a Manager.
func (s *segment) gated(o GateOptions, groups ...Group) *NFTGate {
	s.t.Helper()
	g := s.gate(o)
	s.must(g.SetGroups(groups, nil))
	s.t.Cleanup(func() { _ = g.Close(false) })
	return g
}

// cleanTables removes our tables, whatever a test left.
func cleanTables() error {
	s, err := newNFTSocket()
	if err != nil {
		return err
	}
	defer s.close()
	return removeTables(s, TableName)
}

// nft runs the command line tool, where there is one.
func nft(t testing.TB, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("nft")
	if err != nil {
		skip(t, "needs the nft command (package nftables)")
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("nft %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// liveNow are the groups that are live in the kernel, each as often as it has elements.
func (g *NFTGate) liveNow(t testing.TB) []string {
	t.Helper()
	s, err := newNFTSocket()
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	have, err := tablesOf(s, TableName)
	if err != nil {
		t.Fatal(err)
	}
	live, err := liveGroups(s, TableName, have)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range live {
		out = append(out, fmt.Sprintf("%v %s %d", l.family, l.group, len(l.elements)))
	}
	slices.Sort(out)
	return out
}

func wantLive(t testing.TB, g *NFTGate, when string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, g.liveNow(t)); diff != "" {
		t.Errorf("live elements %s (-want +got):\n%s", when, diff)
	}
}

func one(group string, deadline time.Duration) map[string]time.Duration {
	return map[string]time.Duration{group: deadline}
}

// calmly repeats what a busy machine may have been too slow for.
func (s *segment) calmly(f func() error) {
	s.t.Helper()
	var err error
	for began := time.Now(); time.Since(began) < patience; {
		if err = f(); !errors.Is(err, ErrDeadline) && !errors.Is(err, ErrStalled) {
			break
		}
	}
	s.must(err)
}

// briefly opens a group for some 30 ms.
func (s *segment) briefly(g *NFTGate, group string) {
	s.t.Helper()
	s.calmly(func() error { return g.Open(group, in(g.shorter+30*time.Millisecond)) })
}

func TestGateOpenRenewShut(t *testing.T) {
	for _, o := range []GateOptions{{}, {NoOwner: true}, {NoEgress: true}, {NoOwner: true, NoEgress: true}} {
		s := newSegment(t)
		four := Group{Name: "four", Interface: s.near, Addresses: prefixes("10.9.0.60/24")}
		g := s.gated(o, s.web(), four)
		t.Run(g.String(), func(t *testing.T) {
			all := []string{"arp web 1", "inet web 2", "netdev web 2"}
			if !g.layout.egress {
				all = all[:2]
			}
			wantLive(t, g, "at first")
			s.must(g.Open("web", in(time.Minute)))
			wantLive(t, g, "after Open", all...)
			s.must(g.Open("web", in(time.Minute)))
			wantLive(t, g, "after a second Open", all...)
			s.must(g.Renew(one("web", in(time.Minute)))["web"])
			wantLive(t, g, "after Renew", all...)
			s.must(g.Open("four", in(time.Minute)))
			s.must(g.Shut("web"))
			rest := []string{"arp four 1", "inet four 1", "netdev four 1"}
			wantLive(t, g, "after Shut", rest[:len(all)]...)
			s.must(g.Shut("web"))
			if err := g.Renew(one("web", in(time.Minute)))["web"]; !errors.Is(err, ErrNotOpen) {
				t.Errorf("Renew of a shut group: %v, want %v", err, ErrNotOpen)
			}
			if err := g.Open("nobody", in(time.Minute)); !errors.Is(err, ErrUnknownGroup) {
				t.Errorf("Open of an unknown group: %v, want %v", err, ErrUnknownGroup)
			}
			if err := g.Open("web", in(g.shorter)); !errors.Is(err, ErrDeadline) {
				t.Errorf("Open with nothing left: %v, want %v", err, ErrDeadline)
			}
			wantLive(t, g, "after refusals", rest[:len(all)]...)
		})
		s.must(g.Close(false))
		s.must(cleanTables())
	}
}

// The kernel refuses to renew what has run out, whatever this side believes, and the other groups of the same
// call are renewed.
func TestGateRefusesAStaleRenewal(t *testing.T) {
	s := newSegment(t)
	db := Group{Name: "db", Interface: s.near, Addresses: prefixes("10.9.0.60/24")}
	g := s.gated(GateOptions{}, s.web(), db)
	s.must(g.Open("db", in(time.Minute)))
	s.briefly(g, "web")
	s.eventually("the end of web", func() bool { return !slices.Contains(g.liveNow(t), "inet web 2") })
	g.mu.Lock()
	believed := len(g.live)
	g.mu.Unlock()
	if believed != 2 {
		t.Fatalf("the gate believes in %d live groups, want 2: the test proves nothing", believed)
	}
	failed := g.Renew(map[string]time.Duration{"web": in(time.Minute), "db": in(2 * time.Minute)})
	if !errors.Is(failed["web"], ErrGateExpired) || len(failed) != 1 {
		t.Errorf("Renew: %v, want %v for web only", failed, ErrGateExpired)
	}
	wantLive(t, g, "after the refusal", "arp db 1", "inet db 1", "netdev db 1")
	left, err := liveElements(g.socket, TableName, familyINet, "live-db")
	s.must(err)
	if len(left) != 1 || left[0].expires < time.Minute {
		t.Errorf("db lives for %v, want about two minutes", left)
	}
	s.must(g.Open("web", in(time.Minute))) // with a confirmed lease it opens again
}

// A process that stalls between reading the clock and the transaction opens nothing and lengthens nothing.
func TestGateToken(t *testing.T) {
	s := newSegment(t)
	g := s.gated(GateOptions{}, s.web())
	stalls := 0
	stallFor := func(d time.Duration, times int) {
		stalls = 0
		g.stall = func() {
			if stalls++; stalls <= times {
				<-time.After(d)
			}
		}
	}
	const long = tokenLength + 30*time.Millisecond

	stallFor(long, gateTries)
	if err := g.Open("web", in(time.Minute)); !errors.Is(err, ErrStalled) {
		t.Errorf("Open: %v, want %v", err, ErrStalled)
	}
	wantLive(t, g, "after stalls in every try")
	stallFor(long, 1)
	s.must(g.Open("web", in(time.Minute)))
	if stalls < 2 {
		t.Errorf("%d tries, want 2", stalls)
	}

	// A renewal: what was there stays, with the deadline that it had.
	s.must(g.Open("web", in(10*time.Second)))
	stallFor(long, gateTries)
	if err := g.Renew(one("web", in(time.Minute)))["web"]; !errors.Is(err, ErrStalled) {
		t.Errorf("Renew: %v, want %v", err, ErrStalled)
	}
	for _, f := range []family{familyINet, familyARP, familyNetdev} {
		left, err := liveElements(g.socket, TableName, f, "live-web")
		s.must(err)
		for _, e := range left {
			if e.expires > 10*time.Second {
				t.Errorf("%v lives for %v after the refusal, want at most 10 s", f, e.expires)
			}
		}
		if len(left) == 0 {
			t.Errorf("%v is shut after the refusal", f)
		}
	}

	// A stall longer than what was left of the old element: the renewal is refused for good.
	s.briefly(g, "web")
	stallFor(long, 1)
	if err := g.Renew(one("web", in(time.Minute)))["web"]; !errors.Is(err, ErrGateExpired) {
		t.Errorf("Renew after the end: %v, want %v", err, ErrGateExpired)
	}
	wantLive(t, g, "at the end")
}

// An element never outlives its lease, and not much of the lease is lost.
func TestGateEndsOnTime(t *testing.T) {
	s := newSegment(t)
	g := s.gated(GateOptions{}, s.web())
	worst := time.Duration(0)
	for range 20 {
		var deadline time.Duration
		s.calmly(func() error {
			deadline = in(60 * time.Millisecond)
			return g.Open("web", deadline)
		})
		var last time.Duration // when it was seen alive
		for {
			seen, late := bootTime(), lateTick(t)
			live, err := liveElements(g.socket, TableName, familyINet, "live-web")
			s.must(err)
			if len(live) == 0 {
				break
			}
			if late <= g.tick {
				last = seen
			}
		}
		if last >= deadline {
			t.Errorf("alive %v after the deadline", last-deadline)
		}
		worst = max(worst, deadline-last)
	}
	t.Logf("at worst %v before the deadline; a tick is %v", worst, g.tick)
}

// lateTick is how long ago the kernel last counted a tick. nftables counts in ticks, and a virtual machine whose
// timekeeping processor was taken away counts them later than the other processor's packets pass: the
// margin of a lease is for such, and not the gate (docs/protocol.md).
func lateTick(t *testing.T) time.Duration {
	t.Helper()
	var coarse, now unix.Timespec
	if err := errors.Join(unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &coarse), unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)); err != nil {
		t.Fatal(err)
	}
	return time.Duration(now.Nano() - coarse.Nano())
}

func TestGateManyGroupsAndNames(t *testing.T) {
	s := newSegment(t)
	names := []string{"web", "WEB", "10", "drop", "a.b_c-d", "ünï", "unI", "a b", "a_b", `"; flush ruleset`, "x\ny", "ipv4", "ipv6",
		strings.Repeat("long", 15) + "-15", strings.Repeat("long", 15) + "-16", strings.Repeat("x", 300), strings.Repeat("x", 301)}
	var groups []Group
	deadlines := make(map[string]time.Duration)
	for i := range 200 {
		name := fmt.Sprintf("group-%d", i)
		if i < len(names) {
			name = names[i]
		}
		groups = append(groups, Group{Name: name, Interface: s.near,
			Addresses: prefixes(fmt.Sprintf("10.9.1.%d/16", i), fmt.Sprintf("fd09::1:%x/64", i))})
	}
	g := s.gated(GateOptions{}, groups...)
	for _, gr := range groups {
		s.must(g.Open(gr.Name, in(time.Minute)))
		deadlines[gr.Name] = in(2 * time.Minute)
	}
	began := time.Now()
	s.calmly(func() error { return g.Renew(deadlines)["web"] })
	t.Logf("renewed %d groups in %v", len(groups), time.Since(began))
	if n := len(g.liveNow(t)); n != 3*len(groups) {
		t.Errorf("%d live sets, want %d", n, 3*len(groups))
	}
	s.must(g.Shut(`"; flush ruleset`))
	if n := len(g.liveNow(t)); n != 3*(len(groups)-1) {
		t.Errorf("%d live sets after one Shut", n)
	}
	// nft reads its own listing again: every name is one.
	list := nft(t, "list", "table", "arp", TableName)
	if strings.ContainsFunc(list, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' }) {
		t.Errorf("control characters in\n%s", list)
	}
	for _, line := range strings.Split(list, "\n") {
		f := strings.Fields(line)
		if len(f) > 1 && (f[0] == "chain" || f[0] == "set") && !regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9/._-]*$`).MatchString(f[1]) {
			t.Errorf("not a name for nft: %s", line)
		}
	}
}

func TestPlainNames(t *testing.T) {
	seen := make(map[string]string)
	for _, name := range []string{"a b", "a_b", "a\tb", "a/b", "ä", "ö", "", strings.Repeat("x", 300), strings.Repeat("x", 301), "web", "a.b-c_d"} {
		plain := plainName(name)
		if other, twice := seen[plain]; twice {
			t.Errorf("%q and %q are both %q", name, other, plain)
		}
		seen[plain] = name
		if len(plain) > 220 {
			t.Errorf("%q has %d bytes", plain, len(plain))
		}
	}
	if got := plainName("a.b-c_d"); got != "a.b-c_d" {
		t.Errorf("a plain name became %q", got)
	}
}

func TestTiming(t *testing.T) {
	for _, tt := range []struct{ ttl, tick, token, shorter, left time.Duration }{
		{time.Second, 4 * time.Millisecond, 30 * time.Millisecond, 4 * time.Millisecond, 896 * time.Millisecond},
		{time.Second, 10 * time.Millisecond, 30 * time.Millisecond, 10 * time.Millisecond, 890 * time.Millisecond},
		{100 * time.Millisecond, 4 * time.Millisecond, 20 * time.Millisecond, 19 * time.Millisecond, 71 * time.Millisecond},
		{50 * time.Millisecond, time.Millisecond, 10 * time.Millisecond, 8500 * time.Microsecond, 36 * time.Millisecond},
	} {
		got, err := timingOf(tt.ttl, tt.tick)
		want := timing{tick: tt.tick, token: tt.token, shorter: tt.shorter}
		if err != nil || got != want {
			t.Errorf("timingOf(%v, %v) = %+v, %v, want %+v", tt.ttl, tt.tick, got, err, want)
		}
		if left := got.timeout(tt.ttl - tt.ttl/10); left != tt.left {
			t.Errorf("ttl %v, tick %v: timeout %v, want %v", tt.ttl, tt.tick, left, tt.left)
		}
	}
	if _, err := timingOf(50*time.Millisecond, 10*time.Millisecond); !errors.Is(err, ErrNoGate) {
		t.Errorf("ttl 50ms with a tick of 10ms: %v, want %v", err, ErrNoGate)
	}
	if clockTick() < time.Millisecond || clockTick() > 10*time.Millisecond {
		t.Errorf("a tick of %v", clockTick())
	}
}

// The scratch tables are gone when NewGate has returned.
func TestGateSelfTestLeavesNothing(t *testing.T) {
	s := newSegment(t)
	before := nft(t, "list", "ruleset")
	g := s.gate(GateOptions{})
	if diff := cmp.Diff(before, nft(t, "list", "ruleset")); diff != "" {
		t.Errorf("ruleset (-want +got):\n%s", diff)
	}
	t.Logf("this kernel: %v", g)
	s.must(g.Close(false))
}
