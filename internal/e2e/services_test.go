package e2e_test

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

// A web server that dies or hangs takes the address with it to the other machine, and does not take it back
// when it returns. Where it fails on both machines, the address stays until one of them recovers.
func TestWebServer(t *testing.T) {
	s := newSite(t, nil)

	t.Run("killed", func(t *testing.T) {
		s.moves(t, "web2", promiseService, func(context.Context) error { return s.web["web1"].Kill() })
	})
	t.Run("back", func(t *testing.T) {
		s.stays(t, "web2", func(ctx context.Context) error {
			return errors.Join(s.web["web1"].Start(ctx), s.WaitEligible(ctx, "web", "web1"))
		})
	})
	t.Run("hangs", func(t *testing.T) {
		// It accepts, and never answers.
		s.moves(t, "web1", promiseHang, func(context.Context) error { return s.web["web2"].Signal(syscall.SIGSTOP) })
	})
	t.Run("goes on", func(t *testing.T) {
		s.stays(t, "web1", func(ctx context.Context) error {
			return errors.Join(s.web["web2"].Signal(syscall.SIGCONT), s.WaitEligible(ctx, "web", "web2"))
		})
	})
	t.Run("killed on both", func(t *testing.T) {
		must(t, s.web["web2"].Kill())
		s.waitCheck(t, "web1", "web2", "web", control.CheckFailing)
		must(t, s.web["web1"].Kill())
		for _, node := range []string{"web1", "web2", "db1"} {
			s.waitStatus(t, node, func(st control.Status) string {
				g := groupOf(st, "web")
				if g.Owner != "web1" || !strings.Contains(g.Reason, "stays here: web2: check web fails") {
					return "owner " + g.Owner + ", reason: " + g.Reason
				}
				return ""
			})
			s.verb(t, node, "status").wants(t, 1, "degraded", "check web fails on web1", "check web fails on web2")
		}
		pass(t, calm)
		must(t, s.WaitOwner(within(t), "web", "web1"))
	})
	t.Run("back on the standby", func(t *testing.T) {
		// No promise: the client had no answer before.
		ctx := within(t)
		must(t, s.web["web2"].Start(ctx))
		must(t, s.WaitOwner(ctx, "web", "web2"))
		must(t, s.web["web1"].Start(ctx))
		must(t, s.WaitEligible(ctx, "web", "web1"))
		s.verb(t, "db1", "status").wants(t, 0, "all well")
	})
}

// Checks that no group lists are shown on every node, and move nothing.
func TestDatabase(t *testing.T) {
	var db *lab.MariaDB
	var cache *lab.Service
	s := newSite(t, func(s *site, c *lab.Config) {
		var err error
		db, err = s.Node("db1").MariaDB(within(t), lab.MariaDBOptions{})
		if errors.Is(err, exec.ErrNotFound) {
			labtest.Skip(t, err.Error())
		}
		must(t, err)
		must(t, db.Start(within(t)))
		cache = s.Node("web1").Memcached()
		must(t, cache.Start(within(t)))
		t.Logf("database: %s, cache: %s (real: %v)", db.Label, cache.Label, cache.Real)
		shown := false
		c.Checks = append(c.Checks,
			lab.CheckConfig{Name: "mysql", Type: "mysql", DSNFile: db.DSNFile, Interval: interval.String(), Nodes: []string{"db1"}},
			lab.CheckConfig{Name: "memcached", Type: "memcached", Address: "127.0.0.1:11211", Interval: interval.String(), Required: &shown, Nodes: []string{"web1"}})
		c.Groups[0].Checks = append(c.Groups[0].Checks, "memcached")
	})
	nodes := []string{"web1", "web2", "db1"}
	for _, node := range nodes {
		s.waitCheck(t, node, "db1", "mysql", control.CheckPassing)
		s.waitCheck(t, node, "web1", "memcached", control.CheckPassing)
	}

	t.Run("MariaDB stopped", func(t *testing.T) {
		s.stays(t, "web1", func(ctx context.Context) error {
			if err := db.Stop(ctx); err != nil {
				return err
			}
			for _, node := range nodes {
				s.waitCheck(t, node, "db1", "mysql", control.CheckFailing)
				s.verb(t, node, "status").wants(t, 1, "degraded", "check mysql fails on db1", "connection refused")
			}
			return nil
		})
		s.verb(t, "db1", "check", "mysql").wants(t, 1, "mysql", "connection refused")
	})
	t.Run("MariaDB back", func(t *testing.T) {
		must(t, db.Start(within(t)))
		for _, node := range nodes {
			s.waitCheck(t, node, "db1", "mysql", control.CheckPassing)
			s.verb(t, node, "status").wants(t, 0, "all well")
		}
	})
	t.Run("memcached killed", func(t *testing.T) {
		s.stays(t, "web1", func(context.Context) error {
			if err := cache.Kill(); err != nil {
				return err
			}
			s.waitCheck(t, "db1", "web1", "memcached", control.CheckFailing)
			return nil
		})
		s.verb(t, "db1", "status").wants(t, 1, "check memcached fails on web1")
	})
}
