package mysql

import (
	"errors"
	"strings"
	"testing"

	"github.com/hbagent/hbagent/internal/role"
)

func semiSyncSite(t *testing.T) *site {
	t.Helper()
	return newSite(t, 2, "--rpl-semi-sync-master-enabled=ON", "--rpl-semi-sync-slave-enabled=ON", "--rpl-semi-sync-master-wait-point=AFTER_SYNC",
		"--rpl-semi-sync-master-timeout=500")
}

// Whether commits wait for a replica is seen on both sides, and that they do not any
// more, too.
func TestSemiSyncIsSeen(t *testing.T) {
	s := semiSyncSite(t)
	db1, db2 := s.nodes[0], s.nodes[1]
	on := func(o role.Observation) bool { return o.SemiSync == "on" && o.Warning == "" }
	db1.sees("semi-sync on the master", on)
	db2.sees("semi-sync on the replica", on)
	db2.kill()
	db1.do("INSERT INTO shop.t (v) VALUES ('alone')")
	db1.sees("that it has fallen back", func(o role.Observation) bool {
		return o.SemiSync == "fallen back" && strings.HasPrefix(o.Warning, "semi-synchronous replication has fallen back")
	})
	if v := db1.verdict(role.Situation{Owner: "db1"}); !v.Eligible || !strings.HasPrefix(v.Reason, "semi-synchronous replication has fallen back") {
		t.Errorf("%+v", v)
	}
	db2.start()
	db1.sees("semi-sync again", on)
	// Moved, it is the other way round.
	db2.caughtUp(db1)
	c := role.Claim{Epoch: 1, Held: s.held.Held}
	must(t, db1.role.HandOver(t.Context(), c, db2.role.CatchUp))
	must(t, db1.role.Deactivate(t.Context(), "handed over"))
	c.Epoch = 2
	s.activate(1, c)
	db1.role.Follow(role.Leader{Node: "db2", Epoch: 2})
	db1.caughtUp(db2)
	db2.do("INSERT INTO shop.t (v) VALUES ('first')") // the first commit finds out
	db2.sees("semi-sync on the new master", on)
	db1.sees("semi-sync on the new replica", on)
}

// With semi-sync, what was acknowledged is on the replica when the master dies: a
// commit that no replica has was acknowledged to nobody. The old master does not bring
// it in by the back door.
func TestSemiSyncLosesNothingAcknowledged(t *testing.T) {
	s := semiSyncSite(t)
	db1, db2 := s.nodes[0], s.nodes[1]
	db1.sees("semi-sync on the master", func(o role.Observation) bool { return o.SemiSync == "on" })
	db1.do("SET GLOBAL rpl_semi_sync_master_timeout = 600000")
	app := client(t, db1)
	_, err := app.ExecContext(t.Context(), "INSERT INTO shop.t (v) VALUES ('acknowledged')")
	must(t, err)
	c, _ := claim(2)
	must(t, db2.role.Prepare(t.Context(), c)) // it is cut off from here on
	waiting := start(t, app, "INSERT INTO shop.t (v) VALUES ('not acknowledged')")
	soon(t, func() error {
		if got := db1.ask("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for semi-sync ACK%'"); got != "1" {
			return errors.New("the commit does not wait")
		}
		return nil
	})
	select {
	case err := <-waiting:
		t.Fatalf("acknowledged without a replica: %v", err)
	default:
	}
	db1.kill()
	if err := <-waiting; err == nil {
		t.Fatal("acknowledged by a dead server")
	}
	must(t, db2.role.Activate(t.Context(), c))
	if got := db2.ask("SELECT GROUP_CONCAT(v) FROM shop.t"); got != "acknowledged" {
		t.Errorf("the new master has %q", got)
	}
	db2.do("SET GLOBAL rpl_semi_sync_master_enabled = OFF") // or the next commit waits for a replica
	db2.do("INSERT INTO shop.t (v) VALUES ('new')")

	// It has committed what it never acknowledged: that alone keeps it out.
	db1.start()
	must(t, db1.role.Deactivate(t.Context(), "start"))
	db1.role.Follow(role.Leader{Node: "db2", Epoch: 2})
	o := db1.sees("the divergence", func(o role.Observation) bool { return o.Diverged != "" })
	if !strings.HasPrefix(o.Diverged, "1 transaction here that the master has not (0-1-") {
		t.Errorf("%q", o.Diverged)
	}
	if got := db1.ask("SELECT GROUP_CONCAT(v ORDER BY id) FROM shop.t"); got != "acknowledged,not acknowledged" {
		t.Errorf("the old master has %q", got)
	}
}
