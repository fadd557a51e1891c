package doctor_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

func program() string { return labtest.Program() }

// otherKey gives web2 a gossip key of its own.
func (s *site) otherKey(t *testing.T) func() error {
	key := filepath.Join(s.Node("web2").Dir(), "other.key")
	must(t, os.WriteFile(key, []byte("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"), 0o600))
	return s.configure(t, "web2", func(c *lab.Config) { c.Cluster.KeyFile = key })
}

// What the agents remember for a day. Each leaves a finding behind, which the later ones may find, too.
var inTheHistory = []plant{
	{name: "somebody unknown sends packets", on: "web2", want: []string{"agent-reports"}, says: "unknown-peer",
		plant: func(t *testing.T, s *site, _ *run) func() error {
			var c net.Conn
			must(t, s.Client.Do(func() (err error) {
				c, err = net.Dial("udp", "10.77.0.12:7946")
				return err
			}))
			must(t, retry(within(t), func() error {
				_, _ = c.Write([]byte("who is there?"))
				return s.remembers("web2", "unknown-peer")
			}))
			return c.Close
		}},
	{name: "anti-spoofing", on: "web1", want: []string{"forwarding"}, says: "anti-spoofing",
		plant: func(t *testing.T, s *site, _ *run) func() error {
			end, err := s.Impose(within(t), lab.NoSpoofing(s.Node("web2")))
			must(t, err)
			if out, err := s.Node("web1").Hbagent(within(t), "switchover", "web", "--to", "web2"); err == nil {
				t.Fatalf("the move was not refused: %s", out)
			} else {
				t.Log(err)
			}
			return func() error { return end(context.Background()) }
		}},
	{name: "agent hangs", on: "db1", want: []string{"agent"}, says: "does not answer",
		plant: func(t *testing.T, s *site, _ *run) func() error {
			must(t, s.Node("db1").SignalAgent(syscall.SIGSTOP))
			return func() error {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				return errors.Join(s.Node("db1").SignalAgent(syscall.SIGCONT), s.meshed(ctx))
			}
		}},
	{name: "agent stood still", on: "web1", want: []string{"stalls"}, may: []string{"forwarding"}, says: "the agent stood still",
		plant: func(t *testing.T, s *site, _ *run) func() error {
			// A timer that was due is noticed when it is late by ttl/4, and timers are ttl/3 apart: one time in four none
			// was due early enough. At a moment of chance, or each try would meet the same one.
			must(t, retry(within(t), func() error {
				<-time.After(rand.N(ttl / 3))
				if err := s.Node("web1").HangAgent(within(t), ttl/2); err != nil {
					return err
				}
				ctx, cancel := context.WithTimeout(within(t), time.Second)
				defer cancel()
				return retry(ctx, func() error { return s.remembers("web1", "stood still") })
			}))
			return nil
		}},
}

// remembers is nil if the agent of a node has recorded it.
func (s *site) remembers(node, what string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	out, err := s.Node(node).Hbagent(ctx, "events", "--json")
	if err != nil {
		return err
	}
	if !strings.Contains(out, what) {
		return fmt.Errorf("%s remembers nothing of %q", node, what)
	}
	return nil
}
