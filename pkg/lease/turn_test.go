package lease

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Whenever the holder dies, the first of the candidates without a vote is the next one, whatever they were told when.
func TestCandidatesWithoutAVoteKeepTheirOrder(t *testing.T) {
	for phase := range 20 {
		var s *stage
		for _, line := range []string{
			"cluster ttl=1s nodes=a,b,c,o,x,y,z,last voters=a,b,c groups=web", "start a b c o x y z last", "run 2s", "eligible o web 0", "run 1s",
			"eligible x web 0", "eligible y web 7", "eligible z web 20", "eligible last web 99",
			fmt.Sprintf("run %v", 20*time.Second+time.Duration(phase)*97*time.Millisecond), "kill o", "run 1100ms",
		} {
			s = run(t, s, line)
		}
		if s.open["x web"] <= s.now {
			t.Errorf("phase %d: x does not have the group: %v", phase, s.open)
		}
	}
}

// A candidate that comes late asks the voters less often, and not more than a ttl and an interval after the first.
func TestTurn(t *testing.T) {
	m := &Machine{cfg: Config{TTL: time.Second}}
	last := time.Duration(-1)
	for rank := range MaxNodes {
		g := &group{rank: rank}
		order := m.turn(g)
		g.hinted = true
		turn := m.turn(g)
		if order <= last || order >= RenewInterval(m.cfg.TTL) {
			t.Errorf("rank %d: %v after the first, the one before it %v", rank, order, last)
		}
		if whole := turn - order; whole%RenewInterval(m.cfg.TTL) != 0 || whole > m.cfg.TTL || rank >= 18 && whole < 999*time.Millisecond {
			t.Errorf("rank %d: %v more", rank, whole)
		}
		last = order
	}
}

// What a node without a vote may own costs it one question in a lease, or none beside its renewals, however many groups these are,
// and whenever their owners renew.
func TestCandidatesWithoutAVoteShareAQuestion(t *testing.T) {
	const span = 10 // leases
	asked := func(groups int, owns bool) uint64 {
		names, script := []string{"own"}, []string{}
		for i := range groups {
			g, owner := fmt.Sprintf("g%02d", i), []string{"a", "b", "c"}[i%3]
			names = append(names, g)
			script = append(script, fmt.Sprintf("eligible %s %s 0", owner, g), "run 37ms")
		}
		s := run(t, nil, "cluster ttl=1s nodes=a,b,c,x voters=a,b,c groups="+strings.Join(names, ","))
		for _, line := range append([]string{"start a b c x", "run 2s"}, script...) {
			s = run(t, s, line)
		}
		if owns {
			s = run(t, s, "eligible x own 0")
		}
		for _, g := range names[1:] {
			s = run(t, s, "eligible x "+g+" 0")
		}
		s = run(t, s, "run 5s")
		before := s.machines["x"].counter
		run(t, s, fmt.Sprintf("run %ds", span))
		return s.machines["x"].counter - before
	}
	if one, many := asked(1, false), asked(20, false); many > 3*one {
		t.Errorf("%d datagrams for 20 groups, %d for one", many, one)
	}
	// Three a round to the voters; what a question that was refused gives back is one to each of the rest.
	if none, many := asked(0, true), asked(20, true); none < span*9 || many > none+span*6 {
		t.Errorf("an owner sends %d datagrams, and %d if it may own 20 groups more", none, many)
	}
}
