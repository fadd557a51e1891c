package e2e_test

import (
	"context"
	"syscall"
	"testing"
	"time"
)

// An agent that hangs or dies does nothing any more, and its machine goes on. The kernel silences the address on time;
// the observers fail the test when two machines ever answer for it.
func TestAgentHangs(t *testing.T) {
	s := newSite(t, nil)
	s.silent = true
	web1, web2 := s.Node("web1"), s.Node("web2")

	t.Run("stopped", func(t *testing.T) {
		s.moves(t, "web2", promiseOwner, func(context.Context) error { return web1.SignalAgent(syscall.SIGSTOP) })
		pass(t, 2*ttl) // long enough for the address to be on both machines
	})
	t.Run("goes on", func(t *testing.T) {
		s.stays(t, "web2", func(ctx context.Context) error {
			if err := web1.SignalAgent(syscall.SIGCONT); err != nil {
				return err
			}
			return s.WaitEligible(ctx, "web", "web1")
		})
	})
	t.Run("killed", func(t *testing.T) {
		s.moves(t, "web1", promiseOwner, func(ctx context.Context) error { return web2.EndAgent(ctx, syscall.SIGKILL) })
		pass(t, 2*ttl)
	})
	t.Run("started late", func(t *testing.T) {
		s.stays(t, "web1", func(ctx context.Context) error { return web2.StartAgent(ctx) })
		began := time.Now()
		if tally := s.client.Tally(began.Add(-ttl), began); tally.Failed > 0 {
			t.Errorf("%d of %d questions were lost", tally.Failed, tally.Asked)
		}
	})
}
