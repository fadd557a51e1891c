// Package database_test runs the mysql role for real: three agents, two MariaDB servers of the distribution that
// replicate by GTID, clients that write through the floating address, and every fault that a database must survive.
//
// Whatever a test is about, at its end no acknowledged commit may be missing unless the test says why, none may be
// there twice, and nobody must have seen two owners of the address.
package database_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
	"github.com/hbagent/hbagent/internal/role"
)

func TestMain(m *testing.M) { os.Exit(labtest.MainBuilt(m)) }

const (
	patience = 60 * time.Second
	writers  = 6
)

// rounds is how often a fault is tried: few times among the tests, as often as HBAGENT_DATABASE_ROUNDS says in a long run.
func rounds(few int) int {
	if n, err := strconv.Atoi(os.Getenv("HBAGENT_DATABASE_ROUNDS")); err == nil && n > 0 {
		return n
	}
	return few
}

var must = labtest.Must

func within(t testing.TB) context.Context {
	t.Helper()
	return labtest.Within(t, patience)
}

// eventually waits until try returns nil.
func eventually(t testing.TB, what string, try func(context.Context) error) {
	t.Helper()
	labtest.Eventually(t, patience, what, try)
}

// A site is db1 and db2 with a server each, vote without one, and the client.
type site struct {
	*lab.World
	t  *testing.T
	db *lab.Databases

	arp      *lab.ARPWatch
	writable *lab.WritableWatch
	thaws    bool // a server that was frozen as the master thaws: for a moment it is one still, behind its gate
	began    time.Time
}

// newSite starts it, and returns when db1 is the master and db2 its replica.
func newSite(t *testing.T, semiSync bool, change ...func(*lab.GroupConfig)) *site {
	t.Helper()
	s := &site{World: labtest.New(t, lab.Options{Nodes: []string{"db1", "db2", "vote"}, Hbagent: labtest.Program()}), t: t}
	var err error
	o := lab.DatabaseOptions{Nodes: []string{"db1", "db2"}}
	if semiSync {
		o.SemiSync = time.Hour // it never falls back
	}
	s.db, err = s.Databases(within(t), o)
	if errors.Is(err, exec.ErrNotFound) {
		labtest.Skip(t, err.Error())
	}
	must(t, err)
	t.Cleanup(s.db.Close)
	must(t, s.db.Start(within(t)))
	c := s.Config()
	for _, f := range change {
		f(&s.db.Group)
	}
	c.Groups = []lab.GroupConfig{s.db.Group}
	must(t, s.WriteConfig(c))
	s.began = time.Now()
	ctx, stop := context.WithCancel(context.Background())
	s.arp, err = s.WatchARP(ctx, lab.FloatingDB.Addr(), 0)
	must(t, err)
	s.writable = s.db.WatchWritable(ctx)
	t.Cleanup(func() {
		stop()
		if two := s.arp.OwnersOverlap(s.began, time.Now()); len(two) > 0 {
			t.Errorf("two machines answered for the address: %v", two)
		}
		for _, n := range s.Nodes() {
			log, err := os.ReadFile(filepath.Join(n.Dir(), lab.AgentLog+".log"))
			if err != nil || strings.Contains(string(log), "hbagent:lab") || strings.Contains(string(log), "repl:lab") || strings.Contains(string(log), "panic") {
				t.Errorf("the agent of %s has told an account, or panicked: %v", n.Name, err)
			}
		}
		looks, both := s.writable.Both()
		if s.thaws && len(both) > 0 {
			t.Logf("both servers were writable in %d of %d looks, for %v", len(both), looks, both[len(both)-1].Sub(both[0]).Round(time.Millisecond))
		} else if len(both) > 0 {
			t.Errorf("two servers were writable in %d of %d looks, at %v", len(both), looks, both)
		}
	})
	must(t, s.Node("db1").StartAgent(within(t)))
	must(t, s.Node("vote").StartAgent(within(t)))
	s.ownedBy("db1")
	must(t, s.server("db1").Do(within(t), "CREATE DATABASE shop", "CREATE TABLE shop.t (v VARCHAR(40)) ENGINE = InnoDB"))
	must(t, s.Node("db2").StartAgent(within(t)))
	s.ready("db2")
	return s
}

func (s *site) server(node string) *lab.Database { return s.db.Servers[node] }

// state returns what vote knows of the group, and of it on a node that is alive.
func (s *site) state(ctx context.Context, node string) (g control.Group, ng control.NodeGroup, err error) {
	return s.stateBy(ctx, "vote", node)
}

// stateBy is state as another node sees it.
func (s *site) stateBy(ctx context.Context, viewer, node string) (g control.Group, ng control.NodeGroup, err error) {
	st, err := s.Node(viewer).Status(ctx)
	if err != nil {
		return g, ng, err
	}
	for _, n := range st.Nodes {
		if n.Name == node && n.Alive { // else it is what was known once
			ng = n.Groups["db"]
		}
	}
	return st.Groups[0], ng, nil
}

// ownedBy waits until a node owns the address, and its server is writable.
func (s *site) ownedBy(node string) {
	s.t.Helper()
	eventually(s.t, node+" owns db", func(ctx context.Context) error {
		g, ng, err := s.state(ctx, node)
		switch {
		case err != nil:
			return err
		case g.Owner != node:
			return fmt.Errorf("%q owns it: %s", g.Owner, g.Reason)
		case ng.Service == nil || !ng.Service.Writable:
			return fmt.Errorf("its server: %+v", ng.Service)
		}
		return nil
	})
}

// anyOwner waits until a node owns the address, and returns it.
func (s *site) anyOwner() (owner string) {
	s.t.Helper()
	eventually(s.t, "somebody owns db", func(ctx context.Context) error {
		g, _, err := s.state(ctx, "")
		if owner = g.Owner; err == nil && owner == "" {
			err = fmt.Errorf("nobody: %s", g.Reason)
		}
		return err
	})
	return owner
}

// ready waits until a node could take over, and until the owner knows it too: the owner decides on a switchover, and one that has
// just come back is heard of by one machine after the other.
func (s *site) ready(node string) {
	s.t.Helper()
	eventually(s.t, node+" is ready", func(ctx context.Context) error {
		viewer := "vote"
		for {
			g, ng, err := s.stateBy(ctx, viewer, node)
			switch {
			case err != nil:
				return err
			case !(ng.Eligible && ng.Service != nil && ng.Service.Connected):
				return fmt.Errorf("%s, says %s: %+v", ng.Reason, viewer, ng.Service)
			case viewer != "vote" || g.Owner == "" || g.Owner == node:
				return nil
			}
			viewer = g.Owner
		}
	})
}

// says waits until a node is not ready, for a reason.
func (s *site) says(node string, so func(control.NodeGroup) bool) control.NodeGroup {
	s.t.Helper()
	var ng control.NodeGroup
	eventually(s.t, node+" says so", func(ctx context.Context) (err error) {
		if _, ng, err = s.state(ctx, node); err == nil && !so(ng) {
			err = fmt.Errorf("it says %q: %+v", ng.Reason, ng.Service)
		}
		return err
	})
	return ng
}

// told waits until every machine has on its disk what a master has by now: it is told twice a second, and written once.
func (s *site) told(master string) {
	s.t.Helper()
	now := time.Now()
	for _, n := range s.Nodes() {
		eventually(s.t, n.Name+" knows what "+master+" has", func(context.Context) error {
			b, err := os.ReadFile(filepath.Join(n.StateDir(), "services.json"))
			if err != nil {
				return err
			}
			var all map[string]role.Last
			if err := json.Unmarshal(b, &all); err != nil {
				return err
			}
			if last := all["db"]; last.Node != master || last.At.Before(now) {
				return fmt.Errorf("it knows %+v", last)
			}
			return nil
		})
	}
}

// writes waits until so many more rows were acknowledged.
func (s *site) writes(l *lab.SQLLoad, more int) {
	s.t.Helper()
	start, _ := l.Acked()
	eventually(s.t, "writes", func(context.Context) error {
		if n, last := l.Acked(); n < start+more {
			return fmt.Errorf("%d rows, waiting for %d; last failure: %v", n, start+more, last)
		}
		return nil
	})
}

// revive brings a machine back after a power cut, as a boot does.
func (s *site) revive(node string) {
	s.t.Helper()
	must(s.t, s.Node(node).PowerOn(within(s.t)))
	must(s.t, s.server(node).Start(within(s.t)))
	must(s.t, s.Node(node).StartAgent(within(s.t)))
}

// verb runs a command of hbagent on a node, and returns what it said with its exit code.
func (s *site) verb(node string, args ...string) (said string, code int) {
	s.t.Helper()
	cmd := exec.Command(labtest.Program(), args...)
	cmd.Args[0] = "hbagent"
	out, errs, err := s.Node(node).Outputs(within(s.t), cmd)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		must(s.t, err)
	}
	return string(out) + string(errs), code
}

// events returns what a node's history has of a kind, the whole cluster's.
func (s *site) events(node, kind string) (list []control.Event) {
	s.t.Helper()
	out, _ := s.verb(node, "events", "--json")
	for line := range strings.Lines(out) {
		var e control.Event
		if json.Unmarshal([]byte(line), &e) == nil && e.Kind == kind {
			list = append(list, e)
		}
	}
	return list
}

// none fails if rows are missing or there twice.
func (s *site) none(tally lab.SQLTally, err error) {
	s.t.Helper()
	must(s.t, err)
	if len(tally.Lost) > 0 || len(tally.Twice) > 0 {
		s.t.Errorf("%d acknowledged commits are lost, %d rows are there twice, of %d: %v", len(tally.Lost), len(tally.Twice), tally.Acked, tally)
	}
}

// caughtUp waits until a server has all that another has.
func (s *site) caughtUp(node, master string) {
	s.t.Helper()
	eventually(s.t, node+" has it all", func(ctx context.Context) error {
		want, err := s.server(master).One(ctx, "SELECT @@gtid_binlog_pos")
		if err != nil {
			return err
		}
		got, err := s.server(node).One(ctx, "SELECT @@gtid_slave_pos")
		if err == nil && got != want {
			err = fmt.Errorf("%s has %s, %s %s", master, want, node, got)
		}
		return err
	})
}
