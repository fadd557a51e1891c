package vip

import (
	"errors"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// witnessed is a gate that looks where the addresses are whenever it is built again and opened.
type witnessed struct {
	*NFTGate
	s *segment

	mu   sync.Mutex
	seen []string
}

func (w *witnessed) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.s.has("10.9.0.50/32") || w.s.has("fd09::50/128") {
		what += " with addresses"
	}
	w.seen = append(w.seen, what)
}

func (w *witnessed) Restore() error {
	w.note("restore")
	return w.NFTGate.Restore()
}

func (w *witnessed) Open(group string, deadline time.Duration) error {
	w.note("open")
	return w.NFTGate.Open(group, deadline)
}

// Others flush everything. With an owner the kernel spares what is ours; without one it is noticed, and the
// order is: addresses away, gate, addresses back.
func TestGateFlushedByOthers(t *testing.T) {
	t.Run("owner", func(t *testing.T) {
		s := newSegment(t)
		gate := s.gate(GateOptions{})
		if !gate.layout.owner {
			skip(t, "no tables with an owner in this kernel (Linux 6.9)")
		}
		m := s.run(Options{Groups: []Group{s.web()}, Gate: gate})
		s.must(m.Open("web", in(time.Minute)))
		before := strings.ReplaceAll(nft(t, "-s", "list", "ruleset"), "expires", "")
		nft(t, "flush", "ruleset")
		if after := nft(t, "-s", "list", "ruleset"); !strings.Contains(after, "chain from-web") {
			t.Errorf("flushed: before\n%s\nafter\n%s", before, after)
		}
		if out, err := exec.Command("nft", "delete", "table", "inet", TableName).CombinedOutput(); err == nil {
			t.Errorf("somebody else deleted our table: %s", out)
		}
		wantLive(t, gate, "after the flush", "arp web 1", "inet web 2", "netdev web 2")
		s.must(m.Renew("web", in(time.Minute)))
		stands, err := gate.Verify()
		if !stands || err != nil {
			t.Errorf("Verify: %v, %v", stands, err)
		}
	})
	for name, harm := range map[string][]string{
		"ruleset":      {"flush", "ruleset"},
		"table":        {"delete", "table", "inet", TableName},
		"rules":        {"flush", "chain", "inet", TableName, "prerouting"},
		"addresses":    {"flush", "map", "arp", TableName, "from-ipv4"},
		"arp table":    {"delete", "table", "arp", TableName},
		"netdev table": {"delete", "table", "netdev", TableName},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSegment(t)
			gate := &witnessed{NFTGate: s.gate(GateOptions{NoOwner: true}), s: s}
			m := s.run(Options{Groups: []Group{s.web()}, Gate: gate})
			s.must(m.Open("web", in(time.Minute)))
			began := time.Now()
			nft(t, harm...)
			if name != "netdev table" {
				m.await(t, GateLost)
				m.await(t, GateRestored)
				t.Logf("restored %v after the beginning of the command", time.Since(began))
				gate.mu.Lock()
				seen := gate.seen
				gate.mu.Unlock()
				if diff := cmp.Diff([]string{"open", "restore", "open"}, seen); diff != "" {
					t.Errorf("order (-want +got):\n%s", diff)
				}
			}
			s.eventually("live elements", func() bool { return cmp.Equal(gate.liveNow(t), []string{"arp web 1", "inet web 2", "netdev web 2"}) })
			s.eventually("addresses", func() bool { return s.has("10.9.0.50/32") && s.has("fd09::50/128") })
			s.wantAnswers("afterwards", true)
			s.must(m.Renew("web", in(time.Minute)))
			s.must(m.Shut("web", "test"))
			wantLive(t, gate.NFTGate, "after Shut")
			m.stop()
		})
	}
}

// A loss that the renewal finds first, with nobody watching.
func TestGateLossFoundByRenewal(t *testing.T) {
	s := newSegment(t)
	gate := &witnessed{NFTGate: s.gate(GateOptions{NoOwner: true}), s: s}
	var events []EventKind
	m, err := New(Options{Groups: []Group{s.web()}, Gate: gate, RunDir: t.TempDir(), Events: func(e Event) { events = append(events, e.Kind) }})
	s.must(err)
	s.must(m.Open("web", in(time.Minute)))
	nft(t, "flush", "ruleset")
	s.must(m.Renew("web", in(time.Minute)))
	if diff := cmp.Diff([]EventKind{GateLost, GateRestored}, events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"open", "restore", "open"}, gate.seen); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	nft(t, "flush", "ruleset")
	s.must(m.Shut("web", "a loss that nobody noticed must not keep a group from being shut"))
	s.wantList("after Shut", own)
	s.must(m.Close())
}

// An agent is restarted: its successor takes over the gate, and no packet is lost on the way.
func TestGateSurvivesARestart(t *testing.T) {
	for _, o := range []GateOptions{{}, {NoOwner: true}} {
		t.Run("", func(t *testing.T) {
			s := newSegment(t)
			db := Group{Name: "db", Interface: s.near, Addresses: prefixes("10.9.0.60/24")}
			dir := t.TempDir()
			first := s.run(Options{Groups: []Group{s.web(), db}, RunDir: dir, Gate: s.gate(o)})
			s.must(first.Open("web", in(30*time.Second)))
			s.must(first.Open("db", in(30*time.Second)))

			stop4, stop6 := s.packets(vip4), s.packets(vip6)
			first.stop() // the process ends; web has a lease of half a minute
			next := s.web()
			next.Addresses = append(next.Addresses, netip.MustParsePrefix("10.9.0.51/24")) // and the config has changed
			second := s.run(Options{Groups: []Group{next, db}, RunDir: dir, Gate: s.gate(o), Keep: func(g string) bool { return g == "web" }})
			wantLive(t, second.gate.(*NFTGate), "after the start of the second", "arp web 1", "inet web 2", "netdev web 2")
			s.must(second.Open("web", in(time.Minute)))
			for range 20 {
				s.must(second.Renew("web", in(time.Minute)))
			}
			s.must(second.Reconfigure([]Group{next}))
			s.must(second.Reconfigure([]Group{next, db}))
			if dropped := counted(t); dropped != "" {
				t.Errorf("dropped:\n%s", dropped)
			}
			stop4()
			stop6()
			s.must(second.Shut("web", "test"))
			second.stop()
		})
	}
}

// What a dead agent left, and nobody resumes, is shut at once at the start.
func TestGateShutsWhatDoesNotResume(t *testing.T) {
	s := newSegment(t)
	first := s.gate(GateOptions{})
	s.must(first.SetGroups([]Group{s.web()}, nil))
	s.must(first.Open("web", in(time.Minute)))
	s.must(first.socket.close()) // killed
	second := s.gate(GateOptions{})
	s.must(second.SetGroups([]Group{s.web()}, func(string) bool { return false }))
	wantLive(t, second, "after the start")
	third := s.gate(GateOptions{})
	if second.layout.owner {
		if err := third.SetGroups([]Group{s.web()}, nil); !errors.Is(err, ErrGateForeign) || !errors.Is(err, unix.EPERM) {
			t.Errorf("tables of a running agent: %v, want %v", err, ErrGateForeign)
		}
	}
	s.must(third.socket.close())
	s.must(second.Close(false))
}

func TestGateCleanup(t *testing.T) {
	s := newSegment(t)
	before := nft(t, "list", "ruleset")
	dir := t.TempDir()
	db := Group{Name: "db", Interface: s.near, Addresses: prefixes("10.9.0.60/24")}
	gate := s.gate(GateOptions{})
	m, err := New(Options{Groups: []Group{s.web(), db}, RunDir: dir, Gate: gate})
	s.must(err)
	s.must(m.Open("web", in(time.Minute)))
	s.must(m.Open("db", in(time.Minute)))
	if gate.layout.owner {
		if _, err := Cleanup(dir, nil); !errors.Is(err, ErrGateForeign) {
			t.Errorf("Cleanup under a running agent: %v, want %v", err, ErrGateForeign)
		}
	}
	s.must(m.Close())
	removed, err := Cleanup(dir, func(g string) bool { return g == "db" })
	s.must(err)
	if len(removed) != 0 && removed[0].Group != "web" {
		t.Errorf("removed %v", removed)
	}
	wantLive(t, gate, "with db spared", "arp db 1", "inet db 1", "netdev db 1")
	removed, err = Cleanup(dir, nil)
	s.must(err)
	if n := len(removed); n < 3 || removed[n-1].String() != "table netdev hbagent" {
		t.Errorf("removed %v", removed)
	}
	if diff := cmp.Diff(before, nft(t, "list", "ruleset")); diff != "" {
		t.Errorf("ruleset (-want +got):\n%s", diff)
	}
	s.wantList("after Cleanup", own)
	removed, err = Cleanup(dir, nil)
	if err != nil || len(removed) != 0 {
		t.Errorf("a second Cleanup: %v, %v", removed, err)
	}

	// An agent that has shut everything removes its tables itself.
	m, err = New(Options{Groups: []Group{s.web()}, RunDir: dir, Gate: s.gate(GateOptions{})})
	s.must(err)
	s.must(m.Open("web", in(time.Minute)))
	s.must(m.Shut("web", "test"))
	s.must(m.Close())
	if diff := cmp.Diff(before, nft(t, "list", "ruleset")); diff != "" {
		t.Errorf("ruleset after Close (-want +got):\n%s", diff)
	}
}
