package e2e_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/lab"
)

// Every node tells of every move, with its reason.
func TestEvents(t *testing.T) {
	s := newSite(t, nil)
	told := func(t *testing.T, since time.Time, from, to, cause, reason string, nodes ...string) {
		t.Helper()
		g, err := s.Node(to).Group(within(t), "web")
		must(t, err)
		for _, node := range nodes {
			e := s.waitEvent(t, node, since, from+" -> "+to, func(e control.Event) bool {
				return e.Kind == "owner" && e.Group == "web" && e.From == from && e.To == to
			})
			if e.Detail != cause || !strings.Contains(e.Reason, reason) || e.Epoch != g.Epoch || e.Node != node {
				t.Errorf("%s tells %+v, want cause %q, reason %q, epoch %d", node, e, cause, reason, g.Epoch)
			}
			s.verb(t, node, "events").wants(t, 0, fmt.Sprintf("%s -> %s: %s", from, to, reason))
		}
	}
	t.Run("service", func(t *testing.T) {
		began := time.Now()
		s.moves(t, "web2", promiseService, func(context.Context) error { return s.web["web1"].Kill() })
		told(t, began, "web1", "web2", "health", "check web fails: ", "web1", "web2", "db1")
		must(t, s.web["web1"].Start(within(t)))
		must(t, s.WaitEligible(within(t), "web", "web1"))
	})
	t.Run("switchover", func(t *testing.T) {
		began := time.Now()
		s.verb(t, "db1", "switchover", "web", "--to", "web1").wants(t, 0)
		told(t, began, "web2", "web1", "switchover", "asked for on db1", "web1", "web2", "db1")
	})
	t.Run("stop", func(t *testing.T) {
		began := time.Now()
		s.moves(t, "web2", promisePlanned, s.Node("web1").StopAgent)
		told(t, began, "web1", "web2", "stop", "the agent on web1 was stopped", "web2", "db1")
		must(t, s.Node("web1").StartAgent(within(t)))
		must(t, s.WaitEligible(within(t), "web", "web1"))
	})
	t.Run("death", func(t *testing.T) {
		began := time.Now()
		s.moves(t, "web1", promiseOwner, func(context.Context) error { return s.Node("web2").PowerOff() })
		told(t, began, "web2", "web1", "dead-owner", "the last owner was not heard for one ttl", "web1", "db1")
		for _, node := range []string{"web1", "db1"} {
			s.waitEvent(t, node, began, "web2 down", func(e control.Event) bool {
				return e.Kind == "node" && e.Subject == "web2" && e.To == "down" && e.Reason == "does not answer probes"
			})
		}
	})
	t.Run("kept over a restart", func(t *testing.T) {
		before := s.events(t, "db1", s.began)
		must(t, s.Node("db1").StopAgent(within(t)))
		must(t, s.Node("db1").StartAgent(within(t)))
		after := s.events(t, "db1", s.began)
		if len(after) < len(before) {
			t.Fatalf("%d events after the restart, %d before", len(after), len(before))
		}
		if diff := cmp.Diff(before, after[:len(before)]); diff != "" {
			t.Errorf("events over a restart (-want +got):\n%s", diff)
		}
	})
}

// hookScript writes a line for each call into a file that the node's name is part of: hooks are the same files on
// every node, and here all nodes share one disk.
const hookScript = `#!/bin/sh
node=$(tr '\0' '\n' </proc/$PPID/cmdline | sed -n '/^--node$/{n;p;}')
echo "$HBAGENT_STATE group=$HBAGENT_GROUP epoch=$HBAGENT_EPOCH addresses=$HBAGENT_ADDRESSES reason=$HBAGENT_REASON" >>"$0.$node"
`

func TestHooks(t *testing.T) {
	var script string
	s := newSite(t, func(s *site, c *lab.Config) {
		script = filepath.Join(s.Dir, "hook")
		must(t, os.WriteFile(script, []byte(hookScript), 0o755))
		g := &c.Groups[0]
		g.OnActive, g.OnStandby, g.OnFault = []string{script}, []string{script}, []string{script}
	})
	lines := func(node string) []string {
		b, err := os.ReadFile(script + "." + node)
		if err != nil {
			return nil // not called yet
		}
		return strings.Split(strings.TrimSpace(string(b)), "\n")
	}
	// called waits for the last line of a node and takes it apart.
	called := func(t *testing.T, node, state, reason string) {
		t.Helper()
		owner, err := s.WaitAnyOwner(within(t), "web", "web1", "web2")
		must(t, err)
		g, err := s.Node(owner).Group(within(t), "web")
		must(t, err)
		want := fmt.Sprintf("%s group=web epoch=%d addresses=%s reason=%s", state, g.Epoch, strings.Join(g.Addresses, " "), reason)
		if state != "active" { // its epoch is the one it had
			_, want, _ = strings.Cut(want, "addresses=")
		}
		eventually(t, func(context.Context) error {
			all := lines(node)
			if len(all) > 0 && strings.HasPrefix(all[len(all)-1], state+" ") && strings.Contains(all[len(all)-1], want) {
				return nil
			}
			return fmt.Errorf("hooks of %s: %q, want at last %s ... %s", node, all, state, want)
		})
	}
	called(t, "web1", "active", "")
	t.Run("fault", func(t *testing.T) {
		s.moves(t, "web2", promiseService, func(context.Context) error { return s.web["web1"].Kill() })
		called(t, "web2", "active", "check web fails: ")
		called(t, "web1", "fault", "check web fails: ")
	})
	t.Run("standby", func(t *testing.T) {
		must(t, s.web["web1"].Start(within(t)))
		must(t, s.WaitEligible(within(t), "web", "web1"))
		called(t, "web1", "standby", "")
	})
	t.Run("handed over", func(t *testing.T) {
		s.verb(t, "web1", "switchover", "web", "--to", "web1").wants(t, 0)
		called(t, "web1", "active", "asked for on web1")
		called(t, "web2", "standby", "")
	})
	t.Run("not at a restart", func(t *testing.T) {
		before := [2]int{len(lines("web1")), len(lines("web2"))}
		must(t, s.Node("web1").KillAgent())
		must(t, s.Node("web1").StartAgent(within(t)))
		pass(t, calm)
		if after := [2]int{len(lines("web1")), len(lines("web2"))}; after != before {
			t.Errorf("hooks ran at a restart that moved nothing: %v calls, then %v; web1:\n%s", before, after, strings.Join(lines("web1"), "\n"))
		}
	})
	t.Run("at a stop", func(t *testing.T) {
		must(t, s.Node("web1").StopAgent(within(t)))
		called(t, "web2", "active", "the agent on web1 was stopped")
		called(t, "web1", "standby", "the agent is stopping")
	})
}

// When the budget of moves is used up the address stays, and the status says so.
func TestMaxMoves(t *testing.T) {
	s := newSite(t, func(_ *site, c *lab.Config) { c.Groups[0].MaxMoves = "1/10m" })
	s.moves(t, "web2", promiseService, func(context.Context) error { return s.web["web1"].Kill() })
	must(t, s.web["web1"].Start(within(t)))
	must(t, s.WaitEligible(within(t), "web", "web1"))

	must(t, s.web["web2"].Kill())
	for _, node := range []string{"web1", "web2", "db1"} {
		s.waitStatus(t, node, func(st control.Status) string {
			g := groupOf(st, "web")
			if g.Owner != "web2" || !strings.Contains(g.Reason, "stays here: moved 1 times in 10m0s already (max_moves)") || g.Moves != 1 {
				return fmt.Sprintf("owner %s, %d moves, reason %s", g.Owner, g.Moves, g.Reason)
			}
			return ""
		})
		s.verb(t, node, "status", "web").wants(t, 1, "max_moves")
	}
	pass(t, calm)
	must(t, s.WaitOwner(within(t), "web", "web2"))

	t.Run("a person may", func(t *testing.T) {
		s.verb(t, "web2", "switchover", "web").wants(t, 0, "web moved from web2 to web1")
		must(t, s.web["web2"].Start(within(t)))
		must(t, s.WaitEligible(within(t), "web", "web2"))
	})
	t.Run("a dead owner is replaced", func(t *testing.T) {
		s.moves(t, "web2", promiseOwner, func(context.Context) error { return s.Node("web1").PowerOff() })
	})
}
