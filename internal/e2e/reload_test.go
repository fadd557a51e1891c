package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/lab"
)

// A changed file is taken over while everything runs; a bad one changes nothing.
func TestReload(t *testing.T) {
	var good lab.Config
	var ticks string
	s := newSite(t, func(s *site, c *lab.Config) {
		// A check that leaves a byte behind each time it runs.
		script := filepath.Join(s.Dir, "tick")
		ticks = script + ".runs"
		must(t, os.WriteFile(script, []byte("#!/bin/sh\nprintf x >>\"$0.runs\"\n"), 0o755))
		shown := false
		c.Checks = append(c.Checks, lab.CheckConfig{Name: "tick", Type: "exec", Command: []string{script}, Interval: "1h", Required: &shown, Nodes: []string{"web1"}})
		c.Groups[0].Checks = append(c.Groups[0].Checks, "tick")
		good = *c
	})
	web1 := s.Node("web1")
	runs := func() int64 {
		st, err := os.Stat(ticks)
		if errors.Is(err, fs.ErrNotExist) {
			return 0
		}
		must(t, err)
		return st.Size()
	}
	hash := func() string {
		st, err := web1.Status(within(t))
		must(t, err)
		return st.ConfigHash
	}
	// change gives every node another file, and has it read.
	change := func(t *testing.T, edit func(c *lab.Config)) {
		t.Helper()
		c := good
		c.Checks = append([]lab.CheckConfig(nil), good.Checks...)
		c.Groups = append([]lab.GroupConfig(nil), good.Groups...)
		edit(&c)
		must(t, s.WriteConfig(c))
	}

	t.Run("nothing", func(t *testing.T) {
		s.verb(t, "web1", "reload").wants(t, 0, "nothing has changed")
	})
	t.Run("interval", func(t *testing.T) {
		eventually(t, func(context.Context) error {
			if n := runs(); n != 1 {
				return fmt.Errorf("the check ran %d times", n)
			}
			return nil
		})
		change(t, func(c *lab.Config) { c.Checks[1].Interval = "100ms" })
		s.stays(t, "web1", func(context.Context) error {
			for _, node := range []string{"web1", "web2", "db1"} {
				s.verb(t, node, "reload").wants(t, 0, "changed: check tick: interval 1h0m0s -> 100ms")
			}
			eventually(t, func(context.Context) error {
				if n := runs(); n < 10 {
					return fmt.Errorf("the check ran %d times", n)
				}
				return nil
			})
			return nil
		})
		s.verb(t, "db1", "status").wants(t, 0, "all well")
	})
	t.Run("broken file", func(t *testing.T) {
		before := hash()
		text, err := os.ReadFile(web1.ConfigFile())
		must(t, err)
		must(t, os.WriteFile(web1.ConfigFile(), append(text, "\n[[group]]\nnmae = \"x\"\n"...), 0o644))
		line := 2
		for _, b := range text {
			if b == '\n' {
				line++
			}
		}
		s.stays(t, "web1", func(context.Context) error {
			s.verb(t, "web1", "reload").wants(t, 1, fmt.Sprintf("%s:%d:", web1.ConfigFile(), line+1), "nmae", `did you mean "name"?`)
			// The same by signal: it is said in the log.
			if err := web1.SignalAgent(syscall.SIGHUP); err != nil {
				return err
			}
			waitLog(t, web1, "reload: nothing has changed")
			return nil
		})
		if after := hash(); after != before {
			t.Errorf("config %s in force, %s before", after, before)
		}
		must(t, os.WriteFile(web1.ConfigFile(), text, 0o644))
	})
	t.Run("ttl", func(t *testing.T) {
		before := hash()
		change(t, func(c *lab.Config) { c.Lease.TTL = "2s" })
		s.stays(t, "web1", func(context.Context) error {
			s.verb(t, "web1", "reload").wants(t, 1, "after a restart: lease: ttl 1s -> 2s", "`systemctl restart hbagent` moves no group")
			return nil
		})
		if after := hash(); after != before {
			t.Errorf("config %s in force, %s before", after, before)
		}
	})
	t.Run("more addresses", func(t *testing.T) {
		more := "10.77.0.60/24"
		change(t, func(c *lab.Config) { c.Groups[0].Addresses = append([]string{more}, c.Groups[0].Addresses...) })
		s.stays(t, "web1", func(ctx context.Context) error {
			for _, node := range []string{"web1", "web2", "db1"} {
				s.verb(t, node, "reload").wants(t, 0, "changed: group web: addresses")
			}
			return s.WaitOnlyAt(ctx, prefixes(t, lab.GroupConfig{Addresses: []string{more}})[0].Addr(), "web1")
		})
		must(t, s.WriteConfig(good))
		s.stays(t, "web1", func(ctx context.Context) error {
			for _, node := range []string{"web1", "web2", "db1"} {
				s.verb(t, node, "reload").wants(t, 0, "changed: group web: addresses")
			}
			return s.WaitOnlyAt(ctx, prefixes(t, lab.GroupConfig{Addresses: []string{more}})[0].Addr(), "")
		})
	})
	t.Run("differing files", func(t *testing.T) {
		c := good
		c.Groups = append([]lab.GroupConfig(nil), good.Groups...)
		c.Groups[0].Hold = "7s"
		must(t, s.Node("web2").WriteConfig(c))
		s.verb(t, "web2", "reload").wants(t, 0, "changed: group web: hold 500ms -> 7s")
		s.waitStatus(t, "web1", func(st control.Status) string {
			if !st.Differs(nodeOf(st, "web2")) {
				return "web2 has the same config"
			}
			return ""
		})
		s.verb(t, "web1", "status").wants(t, 1, "config on web2 differs from web1's")
	})
	t.Run("a group less", func(t *testing.T) {
		change(t, func(c *lab.Config) { c.Groups[0].Name = "www" })
		began := time.Now()
		for _, node := range []string{"web1", "web2", "db1"} {
			s.verb(t, node, "reload").wants(t, 0, "changed: group web: removed", "changed: group www: added")
		}
		owner, err := s.WaitAnyOwner(within(t), "www", "web1", "web2")
		must(t, err)
		must(t, s.client.WaitAnswer(within(t), time.Now(), owner))
		t.Logf("another name for the group: outage %v", s.client.LongestGap(began, time.Now()).Length().Round(time.Millisecond))
	})
}
