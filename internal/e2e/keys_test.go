package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/lab"
)

// keyStatus asks a node for the keys of the cluster.
func (s *site) keyStatus(t *testing.T, node string) control.KeyStatus {
	t.Helper()
	r := s.verb(t, node, "key", "status", "--json")
	var st control.KeyStatus
	if err := json.Unmarshal([]byte(r.stdout), &st); err != nil {
		t.Fatalf("%s: %v in %q", r.command, err, r.all)
	}
	if want := map[bool]int{true: 0, false: 1}[st.Agree]; r.code != want {
		t.Errorf("%s: agree %v, and exit code %d", r.command, st.Agree, r.code)
	}
	return st
}

// oneKey waits until every node says that all have the same one key, and have been heard with it. It returns the key.
func (s *site) oneKey(t *testing.T) (key string) {
	t.Helper()
	eventually(t, func(context.Context) error {
		key = ""
		for _, n := range s.Nodes() {
			st := s.keyStatus(t, n.Name)
			if !st.Agree || len(st.Warnings) > 0 {
				return fmt.Errorf("%s says %+v", n.Name, st)
			}
			for _, k := range st.Nodes {
				if key == "" {
					key = k.Keys.First
				}
				if k.Keys.First != key || k.Node != n.Name && k.HeardWith != key {
					return fmt.Errorf("%s says of %s %+v, heard with %q, want %s", n.Name, k.Node, k.Keys, k.HeardWith, key)
				}
			}
		}
		return nil
	})
	return key
}

// A new key three times, under load: nothing moves, no question is lost, no packet cannot be read. Then nobody understands the old one.
func TestKeyRotate(t *testing.T) {
	s := newSite(t, nil)
	s.showLogs(t)
	seen := map[string]bool{s.oneKey(t): true}
	for _, node := range []string{"db1", "web1", "web2"} {
		s.stays(t, "web1", func(context.Context) error {
			s.verb(t, node, "key", "rotate").wants(t, 0, "ok  preflight: ", "ok  stage 1 of 3: ", "ok  stage 2 of 3: ", "ok  stage 3 of 3: ", "rotated: key ")
			return nil
		})
		key := s.oneKey(t)
		if seen[key] {
			t.Errorf("key %s is not a new one", key)
		}
		seen[key] = true
		s.verb(t, node, "status").wants(t, 0, "all well")
	}
	for _, n := range s.Nodes() {
		for _, k := range s.keyStatus(t, n.Name).Nodes {
			if k.Unreadable > 0 {
				t.Errorf("%s could not read %d packets of %s", n.Name, k.Unreadable, k.Node)
			}
		}
		st, err := os.Stat(filepath.Join(n.StateDir(), "keys.json"))
		must(t, err)
		if st.Mode().Perm() != 0o600 {
			t.Errorf("what %s has learnt has mode %v", n.Name, st.Mode())
		}
	}
	t.Run("kept over a restart", func(t *testing.T) {
		s.stays(t, "web1", func(ctx context.Context) error {
			return errors.Join(s.Node("db1").KillAgent(), s.Node("db1").StartAgent(ctx), s.Node("web1").KillAgent(), s.Node("web1").StartAgent(ctx))
		})
		s.oneKey(t)
	})
	t.Run("the old key is refused", func(t *testing.T) {
		s.stays(t, "web1", func(ctx context.Context) error {
			db1 := s.Node("db1")
			return errors.Join(db1.StopAgent(ctx), os.Remove(filepath.Join(db1.StateDir(), "keys.json")), db1.StartAgent(ctx))
		})
		for _, pair := range [][2]string{{"web1", "db1"}, {"web2", "db1"}, {"db1", "web1"}} {
			s.waitStatus(t, pair[0], func(st control.Status) string {
				if !strings.Contains(strings.Join(st.Warnings, "\n"), pair[1]+" sends with a key that is not ours") {
					return fmt.Sprintf("warnings %q", st.Warnings)
				}
				return ""
			})
		}
		s.verb(t, "web1", "key", "status").wants(t, 1, "none of ours")
	})
	t.Run("brought back by hand", func(t *testing.T) {
		// All machines of the lab have the same file.
		s.verb(t, "web1", "key", "write", "-c", s.Node("web1").ConfigFile(), "--state-dir", s.Node("web1").StateDir()).wants(t, 0, "gossip.key has key ")
		keys, err := config.ReadKeys(filepath.Join(s.Dir, "gossip.key"))
		must(t, err)
		if len(keys) != 1 {
			t.Errorf("%d keys in the file", len(keys))
		}
		s.stays(t, "web1", func(ctx context.Context) error {
			return errors.Join(s.Node("db1").StopAgent(ctx), s.Node("db1").StartAgent(ctx))
		})
		s.verb(t, "web2", "reload").wants(t, 0)
		s.oneKey(t)
		for _, k := range s.keyStatus(t, "web2").Nodes {
			if k.Keys.Learnt {
				t.Errorf("%s: its key is in the file, and told to be in the state directory", k.Node)
			}
		}
		s.verb(t, "web1", "key", "write", "-c", s.Node("web1").ConfigFile(), "--state-dir", s.Node("web1").StateDir()).wants(t, 0, "nothing to write")
	})
	s.noKeyIsTold(t)
}

// noKeyIsTold looks for what could be a key in all that agents have said.
func (s *site) noKeyIsTold(t *testing.T) {
	t.Helper()
	keyLike := regexp.MustCompile(`[A-Za-z0-9+/]{43}=`) // 32 bytes in base64
	for _, n := range s.Nodes() {
		texts := map[string]string{"log": agentLog(n)}
		for _, args := range [][]string{{"status", "--json"}, {"events", "--json"}, {"key", "status", "--json"}} {
			texts[strings.Join(args, " ")] = s.verb(t, n.Name, args...).stdout
		}
		for where, text := range texts {
			if found := keyLike.FindString(text); found != "" {
				t.Errorf("%s of %s has what looks like a key: %s", where, n.Name, found)
			}
		}
	}
}

// showLogs shows what the agents have said if the test fails.
func (s *site) showLogs(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			for _, n := range s.Nodes() {
				t.Logf("--- %s\n%s", n.Name, agentLog(n))
			}
		}
	})
}

// startRotation starts the command on a node, and waits until it says a line.
func (s *site) startRotation(t *testing.T, node, line string) *lab.Process {
	t.Helper()
	n := s.Node(node)
	log := filepath.Join(n.Dir(), "rotate.log")
	if err := os.Remove(log); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	p, err := n.Start("rotate", command("key", "rotate"))
	must(t, err)
	eventually(t, func(context.Context) error {
		if said := processLog(n, "rotate"); !strings.Contains(said, line) {
			return fmt.Errorf("the command has not said %q but %q", line, said)
		}
		return nil
	})
	return p
}

// Whatever is killed at whatever stage: nothing moves, and the same command, on another node, goes on.
func TestKeyRotateInterrupted(t *testing.T) {
	s := newSite(t, nil)
	s.showLogs(t)
	s.oneKey(t)
	again := func(t *testing.T, node string) {
		t.Helper()
		eventually(t, func(context.Context) error { // the hold of a dead one runs out
			return s.verb(t, node, "key", "rotate").failure()
		})
		s.oneKey(t)
	}
	for _, stage := range []string{"stage 1 of 3", "stage 2 of 3", "stage 3 of 3"} {
		for _, victim := range []string{"db1", "web2"} { // who carries it out, and another one
			t.Run(victim+" is killed at "+stage, func(t *testing.T) {
				s.stays(t, "web1", func(ctx context.Context) error {
					p := s.startRotation(t, "db1", stage)
					must(t, s.Node(victim).KillAgent())
					<-p.Done() // within bounds of its own
					return s.Node(victim).StartAgent(ctx)
				})
				s.stays(t, "web1", func(context.Context) error { again(t, "web1"); return nil })
			})
		}
	}
	t.Run("the command is killed", func(t *testing.T) {
		before := s.oneKey(t)
		s.stays(t, "web1", func(context.Context) error {
			return s.startRotation(t, "db1", "..  stage 3 of 3").Kill()
		})
		if after := s.oneKey(t); after == before { // the agent went on
			t.Error("the rotation was given up with its caller")
		}
	})
	t.Run("an agent hangs", func(t *testing.T) {
		s.stays(t, "web1", func(context.Context) error {
			must(t, s.Node("web2").SignalAgent(syscall.SIGSTOP))
			r := s.verb(t, "db1", "key", "rotate")
			r.wants(t, 1, "refused, nothing has changed: web2: did not answer")
			return s.Node("web2").SignalAgent(syscall.SIGCONT)
		})
		s.waitPeer(t, "web1", "web2", true)
		s.waitPeer(t, "db1", "web2", true)
		again(t, "db1")
	})
}

// A machine that is off is not left behind by accident, and is told what is the matter when it comes back.
func TestKeyRotateWithoutANode(t *testing.T) {
	s := newSite(t, nil)
	before := s.oneKey(t)
	s.stays(t, "web1", func(context.Context) error { return s.Node("web2").PowerOff() })
	s.waitPeer(t, "db1", "web2", false)
	s.verb(t, "db1", "key", "rotate").wants(t, 1, "refused, nothing has changed: web2 is down", "--without web2")
	if got := s.keyStatus(t, "db1").Nodes[0].Keys.First; got != before {
		t.Errorf("refused, and the key is %s, was %s", got, before)
	}
	s.verb(t, "db1", "key", "rotate", "--without", "web1").wants(t, 1, "web1 is up")
	s.verb(t, "db1", "key", "rotate", "--without", "web9").wants(t, 1, `no node "web9"`)
	s.stays(t, "web1", func(context.Context) error {
		s.verb(t, "db1", "key", "rotate", "--without", "web2").wants(t, 0, "rotated: key ", "web2 was left out")
		return nil
	})
	s.stays(t, "web1", func(ctx context.Context) error { return s.boot(ctx, "web2") })
	for _, pair := range [][2]string{{"web1", "web2"}, {"db1", "web2"}, {"web2", "web1"}} {
		s.waitStatus(t, pair[0], func(st control.Status) string {
			if !strings.Contains(strings.Join(st.Warnings, "\n"), pair[1]+" sends with a key that is not ours") {
				return fmt.Sprintf("warnings %q", st.Warnings)
			}
			return ""
		})
	}
	s.verb(t, "db1", "key", "write", "-c", s.Node("db1").ConfigFile(), "--state-dir", s.Node("db1").StateDir()).wants(t, 0, "has key ")
	s.stays(t, "web1", func(ctx context.Context) error {
		return errors.Join(s.Node("web2").StopAgent(ctx), s.Node("web2").StartAgent(ctx))
	})
	s.verb(t, "web1", "reload").wants(t, 0)
	if after := s.oneKey(t); after == before {
		t.Error("the key is the old one")
	}
	s.verb(t, "db1", "switchover", "web", "--to", "web2").wants(t, 0) // it takes part again
	must(t, s.WaitOwner(within(t), "web", "web2"))
}
