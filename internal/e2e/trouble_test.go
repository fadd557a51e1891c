package e2e_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/lab"
)

// One node of three is set up wrongly. The other two are a majority and work, and say what is wrong with the third.
func TestOneNodeSetUpWrongly(t *testing.T) {
	var good lab.Config
	var otherKey string
	s := newSite(t, func(s *site, c *lab.Config) {
		good = *c
		otherKey = filepath.Join(s.Dir, "other.key")
		must(t, os.WriteFile(otherKey, []byte(config.GenerateKey()+"\n"), 0o600))
	})
	tests := []struct {
		name    string
		node    string
		edit    func(c *lab.Config)
		reason  string   // of the problem event
		phrases []string // in what it tells
	}{
		{
			"key", "db1", func(c *lab.Config) { c.Cluster.KeyFile = otherKey }, "wrong-key",
			[]string{"db1 (10.77.0.13)", "with a key that is not"},
		}, {
			"cluster", "db1", func(c *lab.Config) { c.Cluster.Name = "shop" }, "wrong-cluster",
			[]string{"db1 (10.77.0.13)", `belongs to cluster "shop"`},
		}, {
			"ttl", "db1", func(c *lab.Config) { c.Lease.TTL = "2s" }, "", nil,
		}, {
			"key of a candidate", "web2", func(c *lab.Config) { c.Cluster.KeyFile = otherKey }, "wrong-key",
			[]string{"web2 (10.77.0.12)", "with a key that is not"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := s.Node(tt.node)
			must(t, n.StopAgent(within(t)))
			c := good
			tt.edit(&c)
			must(t, n.WriteConfig(c))
			began := time.Now()
			s.stays(t, "web1", func(ctx context.Context) error { return n.StartAgent(ctx) })
			if tt.reason != "" {
				for _, node := range []string{"web1", "web2", "db1"} {
					if node == tt.node {
						continue
					}
					s.waitEvent(t, node, began, tt.reason, func(e control.Event) bool {
						return e.Kind == "problem" && e.Reason == tt.reason
					})
					s.verb(t, node, "events", "--since", "1m").wants(t, 0, append(tt.phrases, "problem", tt.reason)...)
					waitLog(t, s.Node(node), "level=WARN", tt.reason, tt.node)
				}
			}
			if tt.node == "db1" { // the other two still move it
				s.moves(t, "web2", promisePlanned, func(context.Context) error {
					s.verb(t, "web1", "switchover", "web").wants(t, 0)
					return nil
				})
				s.moves(t, "web1", promisePlanned, func(context.Context) error {
					s.verb(t, "web1", "switchover", "web").wants(t, 0)
					return nil
				})
			}
			must(t, n.StopAgent(within(t)))
			must(t, n.WriteConfig(good))
			must(t, n.StartAgent(within(t)))
			s.waitPeer(t, "web1", tt.node, true)
			// Its vote is needed next, and waits: what it promised before it was set up wrongly may not
			// have run out.
			pass(t, calm)
			must(t, s.WaitEligible(within(t), "web", "web1", "web2"))
			s.waitStatus(t, "web1", func(st control.Status) string {
				if st.Severity() != control.SeverityOK {
					return st.Problems()[0].String()
				}
				return ""
			})
		})
	}
}
