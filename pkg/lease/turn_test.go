package lease

import (
	"fmt"
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
