package e2e_test

import (
	"context"
	"testing"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/lab"
)

// A planned move may be asked for on any node; the answer says how it ended, and so does the exit code.
func TestSwitchover(t *testing.T) {
	s := newSite(t, nil)
	move := func(on string, args ...string) func(context.Context) error {
		return func(context.Context) error {
			s.verb(t, on, append([]string{"switchover", "web"}, args...)...).wants(t, 0, "web moved from", "nobody owned it for")
			return nil
		}
	}
	t.Run("on the owner", func(t *testing.T) { s.moves(t, "web2", promisePlanned, move("web1", "--to", "web2")) })
	t.Run("on the standby", func(t *testing.T) { s.moves(t, "web1", promisePlanned, move("web1", "--to", "web1")) })
	t.Run("on a third node", func(t *testing.T) { s.moves(t, "web2", promisePlanned, move("db1", "--to", "web2")) })
	t.Run("without a target", func(t *testing.T) { s.moves(t, "web1", promisePlanned, move("web2")) })
	t.Run("without a target, on a third node", func(t *testing.T) { s.moves(t, "web2", promisePlanned, move("db1")) })

	t.Run("words", func(t *testing.T) {
		s.verb(t, "web2", "switchover", "web", "--to", "web1").wants(t, 0, "ok  preflight: web1 is ready", "ok  handover: web1 is active", "web moved from web2 to web1; nobody owned it for")
		s.verb(t, "web2", "switchover", "web", "--to", "web2", "--json").wants(t, 0, `"outcome": "moved"`, `"from": "web1"`, `"to": "web2"`, `"no_owner_ms": `)
		must(t, s.WaitOwner(within(t), "web", "web2"))
	})
	t.Run("refused", func(t *testing.T) {
		tests := []struct {
			name    string
			args    []string
			code    int
			phrases []string
		}{
			{"to the owner", []string{"web", "--to", "web2"}, 1, []string{"refused, nothing has changed: web2 owns web already"}},
			{"unknown group", []string{"wbe"}, 1, []string{`no group "wbe"; there are: [web]`}},
			{"unknown node", []string{"web", "--to", "web3"}, 1, []string{`no node "web3"; web may be owned by [web1 web2]`}},
			{"a node of no use", []string{"web", "--to", "db1"}, 1, []string{"db1 may not own web; its nodes are [web1 web2]"}},
			{"unknown flag", []string{"web", "--too", "web1"}, 2, []string{"unknown flag --too: did you mean --to?", "usage: hbagent switchover GROUP"}},
			{"no group", nil, 2, []string{"usage: hbagent switchover GROUP"}},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				for _, node := range []string{"web1", "web2", "db1"} {
					s.verb(t, node, append([]string{"switchover"}, tt.args...)...).wants(t, tt.code, tt.phrases...)
				}
			})
		}
		must(t, s.WaitOwner(within(t), "web", "web2"))
	})
}

// A target that cannot serve is refused, by a fresh look and not by the last one; --force moves all the same.
func TestSwitchoverToTheUnfit(t *testing.T) {
	s := newSite(t, func(_ *site, c *lab.Config) {
		c.Checks[0].Interval = "30s" // the regular look does not come in this test
	})
	t.Run("its server was killed just now", func(t *testing.T) {
		must(t, s.web["web2"].Kill())
		s.stays(t, "web1", func(context.Context) error {
			for _, node := range []string{"web1", "web2", "db1"} {
				s.verb(t, node, "switchover", "web", "--to", "web2").wants(t, 1,
					"no  preflight: web2 cannot take web: check web fails", "refused, nothing has changed", "connection refused")
			}
			return nil
		})
	})
	t.Run("forced", func(t *testing.T) {
		s.verb(t, "db1", "switchover", "web", "--to", "web2", "--force").wants(t, 0, "web moved from web1 to web2")
		must(t, s.WaitOwner(within(t), "web", "web2"))
		must(t, s.web["web2"].Start(within(t)))
		must(t, s.WaitOwner(within(t), "web", "web2"))
	})
	t.Run("to a machine that is down", func(t *testing.T) {
		must(t, s.Node("web1").PowerOff())
		s.waitPeer(t, "web2", "web1", false)
		s.waitPeer(t, "db1", "web1", false)
		for _, node := range []string{"web2", "db1"} {
			s.verb(t, node, "switchover", "web", "--to", "web1").wants(t, 1, "refused, nothing has changed: web1 is down")
			s.verb(t, node, "switchover", "web").wants(t, 1, "refused, nothing has changed: no node can take it: web1 is down")
		}
		s.verb(t, "db1", "switchover", "web", "--to", "web1", "--force").wants(t, 1, "web1 is down")
		must(t, s.WaitOwner(within(t), "web", "web2"))
	})
	t.Run("to a machine that has just died", func(t *testing.T) {
		ctx := within(t)
		must(t, s.boot(ctx, "web1"))
		must(t, s.WaitEligible(ctx, "web", "web1"))
		s.waitPeer(t, "web2", "web1", true)
		s.waitStatus(t, "web2", func(st control.Status) string {
			if groupOf(st, "web").NextOwner != "web1" {
				return "web1 is not the next owner"
			}
			return ""
		})
		must(t, s.Node("web1").PowerOff())
		r := s.verb(t, "web2", "switchover", "web", "--to", "web1") // before anybody has noticed
		r.wants(t, 1, "refused, nothing has changed", "web1")
		must(t, s.WaitOwner(within(t), "web", "web2"))
	})
}
