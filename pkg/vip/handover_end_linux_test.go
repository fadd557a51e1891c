package vip

import (
	"errors"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netns"
)

// state is everything on a machine that a handover could leave behind. What counts time or packets is cut out.
func (n *node) state() string {
	n.t.Helper()
	var out strings.Builder
	for _, c := range [][]string{
		{"nft", "list", "ruleset"}, {"ip", "addr"}, {"ip", "-6", "addr"}, {"ip", "rule"}, {"ip", "route", "show", "table", "all"},
		{"sysctl", "-a", "-r", "^net.ipv[46].conf"},
	} {
		out.WriteString(n.run(c[0], c[1:]...))
	}
	moving := regexp.MustCompile(`packets \d+ bytes \d+|expires \S+|(valid|preferred)_lft \S+|.*stable_secret.*|.*(temp_prefered|expires|cache).*`)
	return moving.ReplaceAllString(out.String(), "")
}

func wantState(t *testing.T, n *node, before, when string) {
	t.Helper()
	if diff := cmp.Diff(before, n.state()); diff != "" {
		t.Errorf("node %s %s (-before +after):\n%s", n.name, when, diff)
	}
}

// EndDrain resets what is left, and neither node keeps anything of the move.
func TestEndDrainLeavesNothing(t *testing.T) {
	s := newSite(t)
	serve(t, s.a, webPort)
	serve(t, s.b, webPort)
	a, b := s.a.state(), s.b.state()
	s.a.do(order{Op: "open"})
	var talks []*talk
	for _, v6 := range []bool{false, true} {
		k := s.talk(s.client, floatingAt(v6, webPort))
		s.wantWho(k, "a", "before the move")
		talks = append(talks, k)
	}
	s.move(s.a, s.b, 20*time.Second)
	for _, k := range talks {
		s.wantWho(k, "a", "after the move")
	}
	if n := s.a.do(order{Op: "count"}).N; n != 2 {
		t.Errorf("%d connections counted, want 2", n)
	}
	s.a.state() // nft can print what stands there
	s.b.state()
	end := s.a.do(order{Op: "end"})
	if end.N != 2 {
		t.Errorf("EndDrain reset %d connections, want 2", end.N)
	}
	t.Logf("EndDrain took %v", end.Took)
	for _, k := range talks {
		if err := k.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := k.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read after EndDrain: %v, want %v", err, syscall.ECONNRESET)
		}
	}
	wantState(t, s.a, a, "after EndDrain")
	s.b.do(order{Op: "unsteer"})
	s.b.do(order{Op: "shut"})
	wantState(t, s.b, b, "after Unsteer and Shut")
	// A second time is nothing.
	if n := s.a.do(order{Op: "end"}).N; n != 0 {
		t.Errorf("a second EndDrain reset %d connections", n)
	}
	s.b.do(order{Op: "unsteer"})
}

// A connection on which nobody says anything hears of the end while TCP still passes, and while T still steers: T knows
// nothing of it, and could not tell.
func TestEndDrainTellsTheIdle(t *testing.T) {
	s := newSite(t)
	serve(t, s.a, webPort)
	serve(t, s.b, webPort)
	s.a.do(order{Op: "open"})
	var talks []*talk
	for _, ns := range []netns.NsHandle{s.client, s.far} {
		for _, v6 := range []bool{false, true} {
			k := s.talk(ns, floatingAt(v6, webPort))
			s.wantWho(k, "a", "before the move")
			talks = append(talks, k)
		}
	}
	s.move(s.a, s.b, 3*time.Second)
	began := time.Now()
	<-time.After(time.Second)
	if n := s.a.do(order{Op: "end"}).N; n != len(talks) {
		t.Errorf("EndDrain reset %d connections, want %d", n, len(talks))
	}
	for _, k := range talks {
		s.must(k.SetReadDeadline(time.Now().Add(time.Second)))
		if _, err := k.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read after EndDrain: %v, want %v", err, syscall.ECONNRESET)
		}
	}
	t.Logf("the last reset came %v before the end of the drain", 3*time.Second-time.Since(began))
	if out := s.b.run("nft", "list", "table", "netdev", steerTable+"web"); !strings.Contains(out, "expires") {
		t.Errorf("no steering at the time of the reset:\n%s", out)
	}
}

// A drain goes on beyond the lifetime of its addresses, and ends with its agent.
func TestDrainEndsWithItsAgent(t *testing.T) {
	s := newSite(t)
	serve(t, s.a, webPort)
	serve(t, s.b, webPort)
	s.a.do(order{Op: "open"})
	k := s.talk(s.client, floatingAt(false, webPort))
	s.move(s.a, s.b, time.Minute)
	<-time.After(drainLife + kernelLate + 500*time.Millisecond)
	s.wantWho(k, "a", "after the first lifetime of the addresses")
	s.a.stop(true)
	began := time.Now()
	seen, gone := lastSeen(t, "the addresses on loopback", s.a.drains)
	t.Logf("addresses gone %v after the agent", gone.Sub(began))
	if took, most := seen.Sub(began), drainLife+kernelLate+100*time.Millisecond; took > most {
		t.Errorf("addresses on loopback for %v, want %v at most", took, most)
	}
}

// The kernel ends both sides with nobody there to do it.
func TestHandoverEndsWithoutTheAgents(t *testing.T) {
	s := newSite(t)
	serve(t, s.a, webPort)
	serve(t, s.b, webPort)
	s.a.do(order{Op: "open"})
	k := s.talk(s.client, floatingAt(false, webPort))
	const drain = 2 * time.Second
	hop := s.a.do(order{Op: "hop"}).Hop
	began := time.Now()
	s.b.do(order{Op: "steer", To: hop, For: drain})
	s.a.do(order{Op: "drain", To: s.b.do(order{Op: "hop"}).Hop, For: drain})
	s.b.do(order{Op: "open"})
	s.eventually("new connections at b", func() bool { got, _ := fresh(s.client, floatingAt(false, webPort)); return got == "b" })
	s.must(s.a.cmd.Process.Signal(syscall.SIGSTOP))
	s.must(s.b.cmd.Process.Signal(syscall.SIGSTOP))
	defer func() {
		s.must(s.a.cmd.Process.Signal(syscall.SIGCONT))
		s.must(s.b.cmd.Process.Signal(syscall.SIGCONT))
	}()
	s.wantWho(k, "a", "with both agents stopped")
	var err error
	alive, reset := lastSeen(t, "the connection", func() bool { _, err = k.who(); return err == nil })
	if !errors.Is(err, syscall.ECONNRESET) || reset.Sub(began) < drain-100*time.Millisecond || alive.Sub(began) > drain+time.Second {
		t.Errorf("the connection was alive after %v, and ended after %v with %v; want a reset by the new owner after %v",
			alive.Sub(began), reset.Sub(began), err, drain)
	}
	if got, err := fresh(s.client, floatingAt(false, webPort)); got != "b" {
		t.Errorf("a new connection: answered by %q, error %v, want b", got, err)
	}
	if seen, _ := lastSeen(t, "the addresses on loopback", s.a.drains); seen.Sub(began) > drain+3500*time.Millisecond {
		t.Errorf("addresses on loopback for %v, want %v at most", seen.Sub(began), drain+3500*time.Millisecond)
	}
}

// The old owner's agent is killed while it drains. Its successor resets what is left, and leaves nothing.
func TestDrainAfterACrash(t *testing.T) {
	s := newSite(t)
	serve(t, s.a, webPort)
	serve(t, s.b, webPort)
	before := s.a.state()
	s.a.do(order{Op: "open"})
	k := s.talk(s.client, floatingAt(true, webPort))
	s.move(s.a, s.b, 20*time.Second)
	s.a.stop(true)
	s.wantWho(k, "a", "with the old owner's agent dead")
	s.a.start()
	if err := k.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read after the restart: %v, want %v", err, syscall.ECONNRESET)
	}
	wantState(t, s.a, before, "after a crash and a start")
}

// The new owner's agent is killed while it steers, and resumes: connections of both go on.
func TestSteeringOverACrash(t *testing.T) {
	s := newSite(t)
	serve(t, s.a, webPort)
	serve(t, s.b, webPort)
	before := s.b.state()
	s.a.do(order{Op: "open"})
	old := s.talk(s.client, floatingAt(false, webPort))
	s.move(s.a, s.b, 20*time.Second)
	s.eventually("new connections at b", func() bool { got, _ := fresh(s.client, floatingAt(false, webPort)); return got == "b" })
	young := s.talk(s.client, floatingAt(false, webPort))
	s.b.stop(true)
	s.wantWho(old, "a", "with the new owner's agent dead")
	s.b.conf.Keep = true
	s.b.start()
	s.b.do(order{Op: "open"})
	s.wantWho(old, "a", "after the resumption")
	s.wantWho(young, "b", "after the resumption")
	s.b.do(order{Op: "unsteer"})
	s.b.do(order{Op: "shut"})
	s.b.stop(true)
	s.b.conf.Keep = false
	s.b.start()
	wantState(t, s.b, before, "after a second crash")
}

// The target dies, or a move is taken back before it has begun: the group opens where it drains.
func TestOpenWhereItDrains(t *testing.T) {
	s := newSite(t)
	serve(t, s.a, webPort)
	before := s.a.state()
	s.a.do(order{Op: "open"})
	opened := s.a.state()
	loads := []*load{s.begin(s.client, floatingAt(false, webPort)), s.begin(s.far, floatingAt(true, webPort))}
	<-time.After(200 * time.Millisecond)
	s.a.do(order{Op: "drain", To: s.b.do(order{Op: "hop"}).Hop, For: 20 * time.Second})
	<-time.After(200 * time.Millisecond)
	s.a.do(order{Op: "open"})
	<-time.After(200 * time.Millisecond)
	for i, l := range loads {
		if err := l.end(); err != nil {
			t.Errorf("load %d: %v", i, err)
		}
		t.Logf("load %d: new connections %v, slowest %v", i, l.by, l.slowest)
	}
	wantState(t, s.a, opened, "opened again")
	s.a.do(order{Op: "drain", To: s.b.do(order{Op: "hop"}).Hop, For: 20 * time.Second})
	s.a.do(order{Op: "shut"})
	wantState(t, s.a, before, "shut while it drains")
}
