package database_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

// A planned move under writes loses nothing, and doubles nothing.
func TestSwitchover(t *testing.T) {
	s := newSite(t, false)
	l := s.StartSQLLoad(context.Background(), lab.FloatingDB.Addr(), writers)
	t.Cleanup(l.Stop)
	s.writes(l, 200)
	began := time.Now()
	start, _ := l.Acked()
	var gaps []time.Duration
	owner, other := "db1", "db2"
	for range rounds(4) {
		before := time.Now()
		said, code := s.verb("vote", "switchover", "db", "--to", other)
		if code != 0 {
			t.Fatalf("switchover: %s", said)
		}
		owner, other = other, owner
		s.ownedBy(owner)
		s.writes(l, 300)
		gaps = append(gaps, l.Gap(before, time.Now()))
		s.ready(other) // the old master follows
	}
	end, _ := l.Acked()
	rate := float64(end-start) / time.Since(began).Seconds()
	l.Stop()
	s.none(l.Tally(t.Context(), s.server(owner)))
	s.caughtUp(other, owner)
	s.none(l.Tally(t.Context(), s.server(other)))
	tally, _ := l.Tally(t.Context(), s.server(owner))
	slices.Sort(gaps)
	t.Logf("%d moves under %.0f commits/s: nothing lost or doubled of %d; longest gap between two commits: median %v, most %v; %d refused, %d without an answer",
		len(gaps), rate, tally.Acked, gaps[len(gaps)/2].Round(time.Millisecond), gaps[len(gaps)-1].Round(time.Millisecond), tally.Failed, tally.Unknown)
}

// The agent's stop is a planned move, too.
func TestStop(t *testing.T) {
	s := newSite(t, false)
	l := s.StartSQLLoad(context.Background(), lab.FloatingDB.Addr(), writers)
	t.Cleanup(l.Stop)
	s.writes(l, 200)
	// The lab's servers are quick, and not safe: doctor says so.
	if said, code := s.verb("db1", "doctor", "--measure", "200ms"); code != 2 || !strings.Contains(said, "sync_binlog = 1") {
		t.Errorf("doctor: exit code %d, %s", code, said)
	}
	must(t, s.Node("db1").StopAgent(within(t)))
	s.ownedBy("db2")
	s.writes(l, 200)
	if ro, err := s.server("db1").One(within(t), "SELECT @@read_only"); err != nil || ro != "1" {
		t.Errorf("the server of an agent that was stopped has read_only = %s, %v", ro, err)
	}
	l.Stop()
	s.none(l.Tally(t.Context(), s.server("db2")))
}

// A restart of the agent, or its death, does not touch the service.
func TestAgentRestart(t *testing.T) {
	s := newSite(t, false)
	l := s.StartSQLLoad(context.Background(), lab.FloatingDB.Addr(), writers)
	t.Cleanup(l.Stop)
	s.writes(l, 200)
	epoch := func() uint64 { g, _, err := s.state(within(t), "db1"); must(t, err); return g.Epoch }
	before := epoch()
	must(t, s.Node("db1").KillAgent())
	must(t, s.Node("db1").StartAgent(within(t)))
	s.ownedBy("db1")
	s.writes(l, 200)
	if after := epoch(); after != before {
		t.Errorf("epoch %d, before %d", after, before)
	}
	l.Stop()
	s.none(l.Tally(t.Context(), s.server("db1")))
	if tally, _ := l.Tally(t.Context(), s.server("db1")); tally.Failed > 0 {
		t.Errorf("%d statements were refused", tally.Failed)
	}
}

// A replica that is broken, stopped or behind is never promoted, and everybody is told.
func TestUnfitReplica(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*lab.GroupConfig)
		hurt   func(s *site)
		word   string
	}{
		"broken": {nil, func(s *site) {
			// The same key twice: the applier stops.
			must(t, s.server("db1").Do(within(t), "CREATE TABLE shop.k (id INT PRIMARY KEY) ENGINE = InnoDB"))
			s.caughtUp("db2", "db1")
			must(t, s.server("db2").Do(within(t), "SET sql_log_bin = 0", "INSERT INTO shop.k VALUES (1)"))
			must(t, s.server("db1").Do(within(t), "INSERT INTO shop.k VALUES (1)"))
		}, "broken"},
		"stopped": {func(g *lab.GroupConfig) { g.MySQL.MaxLag = "2s" }, func(s *site) {
			// Its agent would start it again: the master's server lets nobody follow.
			must(t, s.server("db1").Do(within(t), "SET sql_log_bin = 0", "ALTER USER 'repl'@'%' ACCOUNT LOCK"))
			must(t, s.server("db2").Do(within(t), "STOP SLAVE"))
			must(t, s.server("db1").Do(within(t), "INSERT INTO shop.t VALUES ('late')"))
		}, "max_lag"},
		"behind": {func(g *lab.GroupConfig) { g.MySQL.MaxLag = "2s" }, func(s *site) {
			must(t, s.server("db2").Do(within(t), "STOP SLAVE", "CHANGE MASTER TO MASTER_DELAY = 3600", "START SLAVE"))
			must(t, s.server("db1").Do(within(t), "INSERT INTO shop.t VALUES ('late')"))
		}, "max_lag"},
	} {
		t.Run(name, func(t *testing.T) {
			var change []func(*lab.GroupConfig)
			if tt.change != nil {
				change = append(change, tt.change)
			}
			s := newSite(t, false, change...)
			tt.hurt(s)
			ng := s.says("db2", func(ng control.NodeGroup) bool { return !ng.Eligible && strings.Contains(ng.Reason, tt.word) })
			t.Logf("db2 says: %s", ng.Reason)
			if said, code := s.verb("vote", "status"); code != 1 || !strings.Contains(said, "db2") {
				t.Errorf("status: exit code %d, %s", code, said)
			}
			if said, code := s.verb("vote", "plan", "--down", "db1"); code != 1 || !strings.Contains(said, tt.word) {
				t.Errorf("plan: exit code %d, %s", code, said)
			}
			if said, code := s.verb("db1", "switchover", "db"); code == 0 {
				t.Errorf("switchover: %s", said)
			}
			must(t, s.Node("db1").PowerOff())
			labtest.Pass(t, 4*time.Second) // in which a healthy replica would take over three times
			if g, _, err := s.state(within(t), "db2"); err != nil || g.Owner != "" {
				t.Errorf("%q owns it, %v", g.Owner, err)
			}
			if ro, err := s.server("db2").One(within(t), "SELECT @@read_only"); err != nil || ro != "1" {
				t.Errorf("db2 has read_only = %s, %v", ro, err)
			}
			// The master comes back, and with it the service.
			s.revive("db1")
			s.ownedBy("db1")
		})
	}
}

// A master that has just become one may die at once: its replica, which was the master a moment ago, takes over.
func TestCrashAfterSwitchover(t *testing.T) {
	s := newSite(t, true)
	l := s.StartSQLLoad(context.Background(), lab.FloatingDB.Addr(), writers)
	t.Cleanup(l.Stop)
	s.writes(l, 200)
	owner, other := "db1", "db2"
	for range rounds(2) {
		if said, code := s.verb("vote", "switchover", "db", "--to", other); code != 0 {
			t.Fatalf("switchover: %s", said)
		}
		owner, other = other, owner
		s.ownedBy(owner)
		s.writes(l, 100)
		s.ready(other)
		must(t, s.Node(owner).PowerOff())
		s.ownedBy(other)
		s.writes(l, 100)
		s.revive(owner)
		owner, other = other, owner
		s.says(other, func(ng control.NodeGroup) bool {
			return ng.Service != nil && (ng.Eligible && ng.Service.Connected || ng.Service.Diverged != "")
		})
		if _, ng, err := s.state(within(t), other); err == nil && ng.Service.Diverged != "" {
			must(t, s.db.Rebuild(within(t), other, owner))
		}
		s.ready(other)
	}
	l.Stop()
	s.none(l.Tally(t.Context(), s.server(owner)))
}
