package chaos_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/chaos"
)

// Short forms of `make loss` and `make load`: no promise is measured here, only that nothing is far off.
func TestSteady(t *testing.T) {
	s := newStage(t, chaos.Options{Nodes: 3})
	for _, tt := range []struct {
		deed  deed
		moves int // at most
	}{
		{on(chaos.Anybody, chaos.LossAll, 15*time.Second), 1},
		{owner(chaos.Busy, 5*time.Second), 1},
	} {
		t.Run(tt.deed.fault.String(), func(t *testing.T) {
			before := s.judge.Moves()
			s.scene(t, tt.deed)
			s.judge.Catch(t.Context())
			if moves := s.judge.Moves() - before; moves > tt.moves {
				t.Errorf("%d moves, at most %d", moves, tt.moves)
			} else {
				t.Logf("%d moves", moves)
			}
		})
	}
}

// Every agent is restarted in turn, as in an upgrade, under requests over new connections and over one that stays.
func TestRestartsUnderLoad(t *testing.T) {
	s := newStage(t, chaos.Options{Nodes: 3})
	var probes []*lab.HTTPProbe
	for _, target := range s.Targets() {
		for _, keep := range []bool{false, true} {
			p, err := s.ProbeHTTP(t.Context(), lab.HTTPOptions{Target: netip.AddrPortFrom(target, 80), Interval: 10 * ms,
				Timeout: 3 * time.Second, KeepAlive: keep})
			if err != nil {
				t.Fatal(err)
			}
			probes = append(probes, p)
		}
	}
	began := time.Now()
	owner, moves := s.Owner(), s.judge.Moves()
	for range 2 {
		for _, n := range s.Nodes() {
			if err := n.RestartAgent(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			pass(t, s.TTL+s.TTL/5) // whoever lost a lease would show by now
		}
	}
	s.judge.Catch(t.Context())
	s.verdict(t, 0)
	if s.Owner() != owner || s.judge.Moves() != moves {
		t.Errorf("the owner was %s and is %s, with %d moves", owner, s.Owner(), s.judge.Moves()-moves)
	}
	for _, p := range probes {
		tally := p.Tally(began, time.Now())
		t.Logf("%+v", tally)
		if tally.Failed > 0 || tally.Asked == 0 {
			t.Errorf("of %d requests %d failed, want none", tally.Asked, tally.Failed)
		}
		for _, a := range p.Answers(began, time.Now()) {
			if a.Err != nil {
				t.Errorf("sent at %s: %v", a.Sent.Format("15:04:05.000"), a.Err)
				break
			}
		}
	}
}

// Proves that the judge can find: the address on a second machine, and a claim in the middle of another one's reign.
func TestJudgeFinds(t *testing.T) {
	s := newStage(t, chaos.Options{Nodes: 2, Witness: true})
	owner := s.Owner()
	var other *lab.Node
	for _, n := range s.Nodes() {
		if n.Name != owner {
			other = n
		}
	}
	// Its agent is gone and cannot defend its gate.
	if err := other.StopAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := other.FlushRules(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.verdict(t, 0)
	s.guilty = true
	if err := other.AddAddress(lab.Floating4); err != nil {
		t.Fatal(err)
	}
	pass(t, 100*ms) // some twenty questions
	s.judge.Catch(t.Context())
	found, _ := s.judge.Violations()
	if len(found) == 0 {
		t.Fatal("two machines with the address, and the judge has found nothing")
	}
	for _, want := range []string{"answered by", owner, other.Name, "card     10.77.0.50 is at", "gate     open at"} {
		if !strings.Contains(found[0].String(), want) {
			t.Errorf("the excerpt does not tell %q:\n%v", want, found[0])
		}
	}
}
