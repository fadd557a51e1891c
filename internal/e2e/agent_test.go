package e2e_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/lab"
)

// An agent that is told to stop hands over first, and leaves nothing behind.
func TestAgentStopped(t *testing.T) {
	s := newSite(t, nil)
	web1, web2, db1 := s.Node("web1"), s.Node("web2"), s.Node("db1")

	t.Run("owner", func(t *testing.T) {
		began := time.Now()
		s.moves(t, "web2", promisePlanned, web1.StopAgent)
		must(t, s.CheckOnlyAt(floating6, "web2"))
		s.waitEvent(t, "web2", began, "handed over", func(e control.Event) bool {
			return e.Kind == "owner" && e.From == "web1" && e.To == "web2" && e.Reason == "the agent on web1 was stopped"
		})
		s.waitStatus(t, "web2", func(st control.Status) string {
			if nodeOf(st, "web1").Alive {
				return "web1 is alive after its agent has said goodbye"
			}
			return ""
		})
	})
	t.Run("started again", func(t *testing.T) {
		s.stays(t, "web2", func(ctx context.Context) error {
			if err := web1.StartAgent(ctx); err != nil {
				return err
			}
			return s.WaitEligible(ctx, "web", "web1")
		})
	})
	t.Run("standby", func(t *testing.T) {
		s.stays(t, "web2", web1.StopAgent)
		must(t, web1.StartAgent(within(t)))
		must(t, s.WaitEligible(within(t), "web", "web1"))
	})
	t.Run("voter", func(t *testing.T) {
		s.stays(t, "web2", db1.StopAgent)
		must(t, db1.StartAgent(within(t)))
	})
	t.Run("all", func(t *testing.T) {
		must(t, web1.StopAgent(within(t)))
		must(t, web2.StopAgent(within(t)))
		// When the agent has ended, its addresses are gone, whoever else there is or is not.
		must(t, s.CheckOnlyAt(floating4, ""))
		must(t, s.CheckOnlyAt(floating6, ""))
		must(t, db1.StopAgent(within(t)))
	})
}

// An agent that is restarted finds its lease again: nobody notices.
func TestAgentRestarted(t *testing.T) {
	s := newSite(t, nil)
	web1, db1 := s.Node("web1"), s.Node("db1")

	restart := func(n *lab.Node, signal syscall.Signal) func(context.Context) error {
		return func(ctx context.Context) error {
			if err := n.EndAgent(ctx, signal); err != nil {
				return err
			}
			return n.StartAgent(ctx)
		}
	}
	t.Run("told to keep", func(t *testing.T) { s.stays(t, "web1", restart(web1, syscall.SIGUSR2)) })
	t.Run("killed", func(t *testing.T) { s.stays(t, "web1", restart(web1, syscall.SIGKILL)) })
	t.Run("three times", func(t *testing.T) {
		s.stays(t, "web1", func(ctx context.Context) error {
			for range 3 {
				if err := restart(web1, syscall.SIGUSR2)(ctx); err != nil {
					return err
				}
			}
			return nil
		})
	})
	t.Run("voter killed", func(t *testing.T) {
		s.stays(t, "web1", restart(db1, syscall.SIGKILL))
	})
	t.Run("reason", func(t *testing.T) {
		g, err := web1.Group(within(t), "web")
		must(t, err)
		if want := "resumed after a restart of the agent"; g.Reason != want {
			t.Errorf("reason %q, want %q", g.Reason, want)
		}
	})
}
