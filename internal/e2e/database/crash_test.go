package database_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

// With semi-synchronous replication, the crash of the master loses no commit that was acknowledged.
func TestCrashSemiSync(t *testing.T) {
	s := newSite(t, true)
	s.says("db1", func(ng control.NodeGroup) bool { return ng.Service != nil && ng.Service.SemiSync == "on" })
	var outages []time.Duration
	owner, other := "db1", "db2"
	acked := 0
	for round := range rounds(2) {
		l := s.StartSQLLoad(context.Background(), lab.FloatingDB.Addr(), writers)
		t.Cleanup(l.Stop)
		s.writes(l, 200)
		began := time.Now()
		must(t, s.Node(owner).PowerOff())
		s.ownedBy(other)
		s.writes(l, 100)
		outages = append(outages, l.Gap(began.Add(-time.Second), time.Now()))
		l.Stop()
		tally, err := l.Tally(t.Context(), s.server(other))
		s.none(tally, err)
		acked += tally.Acked
		must(t, s.server(other).Do(within(t), "DELETE FROM shop.t")) // values are used again

		// The old master: it follows again, or, with a tail that nobody was told of, it stays out and says so.
		s.revive(owner)
		ng := s.says(owner, func(ng control.NodeGroup) bool {
			return ng.Service != nil && (ng.Eligible && ng.Service.Connected || ng.Service.Diverged != "")
		})
		if ng.Service.Diverged != "" {
			t.Logf("round %d: %s stays out: %s", round, owner, ng.Reason)
			must(t, s.db.Rebuild(within(t), owner, other))
			s.ready(owner)
		}
		owner, other = other, owner
	}
	slices.Sort(outages)
	t.Logf("%d crashes of the master: nothing lost of %d acknowledged commits; no commit for: median %v, most %v",
		len(outages), acked, outages[len(outages)/2].Round(time.Millisecond), outages[len(outages)-1].Round(time.Millisecond))
}

// Without it the tail is lost, and the loss is counted and told; the old master is kept out with what only it has.
func TestCrashAsync(t *testing.T) {
	s := newSite(t, false)
	l := s.StartSQLLoad(context.Background(), lab.FloatingDB.Addr(), writers)
	t.Cleanup(l.Stop)
	s.writes(l, 200)
	// The replica hears no more; it is within max_lag all the same.
	must(t, s.CutBetween(within(t), s.Node("db1"), s.Node("db2")))
	s.writes(l, 50)
	s.told("db1")
	must(t, s.Node("db1").PowerOff())
	must(t, s.Heal(within(t)))
	s.ownedBy("db2")
	s.writes(l, 50)
	l.Stop()
	tally, err := l.Tally(t.Context(), s.server("db2"))
	must(t, err)
	if len(tally.Lost) == 0 || len(tally.Twice) > 0 {
		t.Errorf("%d commits lost, %d twice: the test has lost its point", len(tally.Lost), len(tally.Twice))
	}
	missing := func(reason string) (found []control.Event) {
		for _, e := range s.events("vote", "role") {
			if strings.Contains(e.Reason, reason) {
				found = append(found, e)
			}
		}
		return found
	}
	if e := missing("transactions are missing"); len(e) == 0 || !strings.Contains(e[0].Detail, "db1") {
		said, _ := s.verb("db2", "events", "--all")
		t.Errorf("the loss is not told: %s", said)
	} else {
		t.Logf("%d commits lost of %d; the history: %s: %s", len(tally.Lost), tally.Acked, e[0].Reason, e[0].Detail)
	}
	s.revive("db1")
	ng := s.says("db1", func(ng control.NodeGroup) bool { return ng.Service != nil && ng.Service.Diverged != "" })
	if ng.Eligible || ng.State != control.StateFault {
		t.Errorf("db1 with transactions of its own: %+v", ng)
	}
	t.Logf("db1 says: %s", ng.Reason)
	if rows, err := s.server("db1").Rows(within(t), "SELECT v FROM shop.t"); err != nil || !slices.Contains(rows, tally.Lost[0]) {
		t.Errorf("what only db1 has was thrown away: %v", err)
	}
	if said, code := s.verb("vote", "switchover", "db", "--to", "db1"); code == 0 {
		t.Errorf("it was made the master: %s", said)
	}
}

// A server that hangs is left for one that works; when it thaws, it is read-only before anybody could write.
func TestServerHangs(t *testing.T) {
	s := newSite(t, true)
	s.thaws = true
	l := s.StartSQLLoad(context.Background(), lab.FloatingDB.Addr(), writers)
	t.Cleanup(l.Stop)
	s.writes(l, 200)
	must(t, s.server("db1").Signal(syscall.SIGSTOP))
	s.ownedBy("db2")
	s.writes(l, 100)
	must(t, s.server("db1").Signal(syscall.SIGCONT))
	eventually(t, "db1 is read-only", func(ctx context.Context) error {
		ro, err := s.server("db1").One(ctx, "SELECT @@read_only")
		if err == nil && ro != "1" {
			err = fmt.Errorf("read_only = %s", ro)
		}
		return err
	})
	l.Stop()
	tally, err := l.Tally(t.Context(), s.server("db2"))
	s.none(tally, err)
}

// The whole site loses its power under writes; the stale replica boots first, the master half a minute later. The
// replica waits for it, and nothing is lost.
func TestPowerCutOfTheSite(t *testing.T) {
	s := newSite(t, false)
	master, stale := "db1", "db2"
	for range rounds(1) {
		l := s.StartSQLLoad(context.Background(), lab.FloatingDB.Addr(), writers)
		t.Cleanup(l.Stop)
		s.writes(l, 200)
		must(t, s.CutBetween(within(t), s.Node("db1"), s.Node("db2"))) // so that it is stale for certain
		s.writes(l, 50)
		s.told(master)
		for _, n := range []string{"db1", "db2", "vote"} {
			must(t, s.Node(n).PowerOff())
		}
		must(t, s.Heal(within(t)))
		must(t, s.Node("vote").PowerOn(within(t)))
		must(t, s.Node("vote").StartAgent(within(t)))
		s.revive(stale)
		s.says(stale, func(ng control.NodeGroup) bool {
			return !ng.Eligible && strings.Contains(ng.Reason, "the last master, and waits for it")
		})
		labtest.Pass(t, 10*time.Second)
		if g, _, err := s.state(within(t), stale); err != nil || g.Owner != "" {
			t.Fatalf("%q owns it, %v", g.Owner, err)
		}
		// Either of them is right once it has everything.
		s.revive(master)
		owner := s.anyOwner()
		s.writes(l, 50)
		l.Stop()
		s.none(l.Tally(t.Context(), s.server(owner)))
		t.Logf("%s has it, and all of what was acknowledged", owner)
		if owner != master {
			master, stale = stale, master
		}
		s.ready(stale)
		must(t, s.server(owner).Do(within(t), "DELETE FROM shop.t"))
	}
}

// Nobody waits longer than a person wants to.
func TestPowerCutForced(t *testing.T) {
	s := newSite(t, false)
	l := s.StartSQLLoad(context.Background(), lab.FloatingDB.Addr(), writers)
	t.Cleanup(l.Stop)
	s.writes(l, 100)
	must(t, s.CutBetween(within(t), s.Node("db1"), s.Node("db2")))
	s.writes(l, 50)
	s.told("db1")
	for _, n := range []string{"db1", "db2", "vote"} {
		must(t, s.Node(n).PowerOff())
	}
	must(t, s.Heal(within(t)))
	must(t, s.Node("vote").PowerOn(within(t)))
	must(t, s.Node("vote").StartAgent(within(t)))
	s.revive("db2")
	s.says("db2", func(ng control.NodeGroup) bool { return strings.Contains(ng.Reason, "--force") })
	if said, code := s.verb("vote", "switchover", "db", "--to", "db2", "--force"); code != 0 {
		t.Fatalf("exit code %d: %s", code, said)
	}
	s.ownedBy("db2")
	s.writes(l, 50)
	l.Stop()
}
