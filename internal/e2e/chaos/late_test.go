package chaos_test

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/chaos"
)

// An agent that is told to end for a restart and takes longer about it than its lease lasts: what it keeps on the card
// must be silent, also when the process is gone and no other one comes for a while. With a short ttl, because
// the addresses then outlive the lease by seconds.
func TestEndsLate(t *testing.T) {
	s := newStage(t, chaos.Options{Nodes: 3, TTL: 300 * ms})
	n := s.Node(s.Owner())
	// What is told to a stopped process waits until it goes on.
	if err := errors.Join(n.SignalAgent(syscall.SIGSTOP), n.SignalAgent(syscall.SIGUSR2)); err != nil {
		t.Fatal(err)
	}
	pass(t, 400*ms)
	if err := n.EndAgent(t.Context(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	pass(t, 4*time.Second) // the kernel takes lapsed addresses away within 3.5 s
	if err := n.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recover(t.Context()); err != nil {
		t.Error(err)
	}
}

// Agents that are restarted while a machine cannot be reached: what they still have to say to it must not keep them
// longer than their lease, and whatever it does, nobody may answer beside the next owner.
func TestRestartsWhileAMachineIsGone(t *testing.T) {
	s := newStage(t, chaos.Options{Nodes: 5, TTL: 300 * ms})
	nodes := s.Nodes()
	gone := nodes[len(nodes)-1]
	if gone.Name == s.Owner() {
		gone = nodes[0]
	}
	if _, err := s.Impose(t.Context(), lab.Isolated(gone)); err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		pass(t, time.Duration(i)*170*ms) // at other moments of what the agent says to the one that is gone
		n, began := s.Node(s.Owner()), time.Now()
		if err := n.EndAgent(t.Context(), syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		t.Logf("the agent of %s ended in %v", n.Name, time.Since(began).Round(ms))
		pass(t, time.Second)
		if err := n.StartAgent(t.Context()); err != nil {
			t.Fatal(err)
		}
		for s.Owner() == "" {
			pass(t, 20*ms)
		}
	}
	if _, err := s.Recover(t.Context()); err != nil {
		t.Error(err)
	}
}
