package agent

import (
	"context"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hbagent/hbagent/pkg/cluster"
)

func TestPeerState(t *testing.T) {
	l := newLoop(testLogger(t), parse(t, testConfig), "web1")
	l.started = time.Now().Add(-time.Minute)
	tell := func(groups ...cluster.GroupState) map[string]Fitness {
		l.dirty = false
		l.peerState(cluster.NodeState{Node: "web2", Groups: groups})
		if !l.dirty {
			t.Error("the policy is not told")
		}
		return l.peers["web2"].fit
	}
	// What it says first was so before: no failback because of it.
	fit := tell(cluster.GroupState{Name: "web", Eligible: true}, cluster.GroupState{Name: "db", Reason: "check db fails"})
	diff(t, "first", fit, map[string]Fitness{"web": {Eligible: true, Since: l.started}, "db": {Reason: "check db fails", Since: l.started}})

	fit = tell(cluster.GroupState{Name: "web", Eligible: true, Reason: "x"}, cluster.GroupState{Name: "db", Eligible: true})
	diff(t, "unchanged", fit["web"], Fitness{Eligible: true, Reason: "x", Since: l.started})
	if since := fit["db"].Since; !since.After(l.started) {
		t.Errorf("db is fit since %v, and was not at %v", since, l.started)
	}
	fit = tell(cluster.GroupState{Name: "db", Eligible: true})
	if _, ok := fit["web"]; ok {
		t.Error("a group that is told no more still counts as fit")
	}

	l.dirty = false
	l.peerState(cluster.NodeState{Node: "web9"})
	l.peerState(cluster.NodeState{Node: "web1"})
	l.peerAlive("web9", true, "")
	diff(t, "a node that is not configured, and this one, change something", l.dirty, false)
}

// A voter that has booted remembers no promise; its quarantine ends at any moment between two renewals, and the first that comes then
// is its first. It says all the time who owns the group.
func TestOwnerIsKnownAfterABoot(t *testing.T) {
	for phase := range 8 {
		t.Run(fmt.Sprint(phase), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, _, _, db1 := settled(t, testConfig)
				w.wait(time.Duration(phase) * testTTL / 24)
				db1.kill(context.Canceled)
				if err := os.Remove(db1.store.path); err != nil {
					t.Fatal(err)
				}
				db1 = w.boot("db1")
				w.wait(testTTL / 10)
				for range 60 {
					w.wait(testTTL / 30)
					db1.look(func() {
						db1.observe(db1.now().Boot, "web", db1.groups["web"])
						if owner := db1.groups["web"].owner; owner != "web1" {
							t.Fatalf("the owner is %q; quarantine for %v", owner, db1.machine.Quarantine(db1.now().Boot))
						}
					})
				}
			})
		})
	}
}
