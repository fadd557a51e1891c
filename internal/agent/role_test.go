package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/role"
	"github.com/hbagent/hbagent/pkg/checks"
	"github.com/hbagent/hbagent/pkg/lease"
)

func TestRoleTakeover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, db1 := settled(t, roleConfig(t))
		diff(t, "web1", web1.service.said(), []string{"deactivate: the agent has started", "prepare", "activate", "follow web1"})
		diff(t, "web2", web2.service.said(), []string{"deactivate: the agent has started", "follow web1"})
		diff(t, "db1 has a role", db1.service != nil, false)

		// The owner goes. The next one has a lot to apply: it keeps the lease, and opens when it is done.
		web2.service.with(func() {
			web2.service.prepare = func(ctx context.Context, c role.Claim) error {
				diff(t, "the last owner", c.Last.Node, "web1")
				time.Sleep(20 * testTTL)
				return ctx.Err()
			}
		})
		web1.isolate(true)
		w.wait(3 * testTTL)
		w.owned("")
		web2.look(func() {
			diff(t, "state", web2.groups["web"].state, control.StateAcquiring)
			diff(t, "reason", web2.groups["web"].reason(), "taking the service over")
		})
		diff(t, "web1 let go", slices.ContainsFunc(web1.service.said(), func(s string) bool { return strings.HasPrefix(s, "deactivate") }), true)
		diff(t, "web1 is writable", web1.service.writable(), false)
		if _, err := web1.service.claim.Held(); !errors.Is(err, role.ErrLost) {
			t.Errorf("the claim of web1: %v", err)
		}
		w.wait(18 * testTTL)
		w.owned("web2")
		web2.look(func() { diff(t, "epoch", web2.groups["web"].pending, (*pendingOpen)(nil)) })

		web1.isolate(false)
		w.wait(3 * testTTL)
		w.owned("web2")
		diff(t, "web1 follows", slices.Contains(web1.service.said(), "follow web2"), true)
	})
}

// What cannot be taken over is given back, and tried again.
func TestRoleTakeoverFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, roleConfig(t))
		web1, web2 := w.boot("web1"), w.boot("web2")
		w.boot("db1")
		var works atomic.Bool
		for _, n := range []*testNode{web1, web2} {
			n.service.with(func() {
				n.service.prepare = func(context.Context, role.Claim) error {
					if !works.Load() {
						return fmt.Errorf("no progress: %w", role.ErrNotNow)
					}
					return nil
				}
			})
		}
		web1.check("web", checks.Passing, "")
		w.wait(3 * testTTL)
		w.owned("")
		web1.look(func() {
			g := web1.groups["web"]
			diff(t, "reason", g.reason(), "cannot take the service over: no progress: not now")
			diff(t, "is a fault", g.state, control.StateStandby)
		})
		diff(t, "events", web1.events(kindRole)[:1], []string{">: not taken over"})
		said := web1.service.said()
		diff(t, "the end of a try: read-only first", said[len(said)-2:], []string{"deactivate: not taken over", "deactivate: released"})
		works.Store(true)
		w.wait(openRetry + testTTL)
		w.owned("web1")
	})
}

// A pause shuts the gate; what the voters confirm goes on, but not before the role has looked at its service.
func TestRoleAfterAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, _, _ := settled(t, roleConfig(t))
		web1.service.said()
		web1.standStill(testTTL/2, 0)
		w.wait(testTTL)
		w.owned("web1")
		diff(t, "calls", web1.service.said(), []string{"prepare", "activate"})
	})
}

// A pause while the service is being taken over does not make anybody forget why the group moved.
func TestRoleTakeoverAfterAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, _ := settled(t, roleConfig(t))
		web2.service.with(func() {
			web2.service.prepare = func(ctx context.Context, _ role.Claim) error {
				select {
				case <-ctx.Done():
				case <-time.After(5 * testTTL): // fake time (testing/synctest): there is a lot to apply
				}
				return ctx.Err()
			}
		})
		web1.isolate(true)
		w.wait(3 * testTTL)
		web2.standStill(testTTL/2, 0)
		w.wait(8 * testTTL)
		w.owned("web2")
		diff(t, "owners", web2.events(kindOwner)[1:], []string{"web1>web2: the last owner was not heard for one ttl"})
		web2.look(func() {
			diff(t, "cause", web2.groups["web"].cause, CauseDeadOwner)
			diff(t, "forgotten when open", web2.groups["web"].won, lease.Open{})
		})
	})
}

// A role that took its claim for lost, and was wrong, has its service back.
func TestRoleLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, _ := settled(t, roleConfig(t))
		var epoch uint64
		web1.look(func() { epoch = web1.groups["web"].epoch })
		web1.service.said()
		web1.service.tell.LetGo(epoch - 1) // of a lease before: no news
		w.wait(testTTL / 2)
		diff(t, "calls", len(web1.service.said()), 0)
		web1.service.set(func(o *role.Observation) { o.Writable = false })
		web1.service.tell.LetGo(epoch)
		w.wait(testTTL / 2)
		w.owned("web1")
		diff(t, "calls", web1.service.said(), []string{"prepare", "activate"})
		diff(t, "is writable", web1.service.writable(), true)
		diff(t, "moves", len(web2.events(kindOwner)), 1)
	})
}

func TestRoleRestartResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, _ := settled(t, roleConfig(t))
		web1.kill(context.Canceled)
		again := w.boot("web1")
		w.wait(testTTL / 2)
		w.owned("web1")
		diff(t, "calls", again.service.said(), []string{"prepare", "activate", "follow web1"})
		diff(t, "moves", len(web2.events(kindOwner)), 1)
	})
}

func TestRoleSwitchover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, db1 := settled(t, roleConfig(t))
		web1.service.set(func(o *role.Observation) { o.Position = "7" })
		synctest.Wait()
		web1.service.said()
		web2.service.said()
		res, steps := switchover(t, db1, control.SwitchoverRequest{Group: "web"})
		diff(t, "outcome", res.Outcome, control.OutcomeMoved)
		diff(t, "steps", steps, []string{"preflight ok: web2 is ready", "service ok: web2 has everything, after 0s", "handover ok: web2 is active"})
		synctest.Wait()
		w.owned("web2")
		diff(t, "web1", web1.service.said(), []string{"hand over", "deactivate: transferred", "follow web2"})
		diff(t, "web2", web2.service.said(), []string{"catch up to 7", "prepare", "activate", "follow web2"})
	})
}

// A planned move that does not come about leaves the service as it was.
func TestRoleSwitchoverFails(t *testing.T) {
	for name, tt := range map[string]struct {
		arrange func(w *world, web1, web2 *testNode)
		reason  string
		owner   string // in the end
	}{
		"the target does not catch up": {func(_ *world, _, web2 *testNode) {
			web2.service.with(func() { web2.service.catchUp = errors.New("replication is broken") })
		}, "the service could not be handed over: web2: replication is broken", "web1"},
		"not undone": {func(_ *world, web1, _ *testNode) {
			web1.service.with(func() { web1.service.handOver = func() error { return role.ErrNotUndone } })
		}, "the service could not be handed over, and is read-only: could not be undone", "web2"},
		"the target is gone when it has it all": {func(_ *world, _, web2 *testNode) {
			web2.onAnswer = func(method string) {
				if method == methodCatchUp {
					web2.unplug()
				}
			}
		}, "", "web1"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, web1, web2, _ := settled(t, roleConfig(t))
				tt.arrange(w, web1, web2)
				res, _ := switchover(t, web1, control.SwitchoverRequest{Group: "web", To: "web2"})
				if res.Outcome == control.OutcomeMoved || tt.reason != "" && res.Reason != tt.reason {
					t.Errorf("%s: %s", res.Outcome, res.Reason)
				}
				w.wait(5 * testTTL)
				if got := w.holders("web"); !slices.Equal(got, []string{tt.owner}) {
					t.Errorf("%v have it, want %s", got, tt.owner)
				}
				diff(t, "web1 is writable", web1.service.writable(), tt.owner == "web1")
			})
		})
	}
}

func TestRoleStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, _ := settled(t, roleConfig(t))
		web1.service.said()
		a := &agent{loop: web1.loop, log: web1.log}
		a.standDown()
		synctest.Wait()
		w.owned("web2")
		diff(t, "web1", web1.service.said()[:2], []string{"hand over", "deactivate: transferred"})

		// Now nobody is left to take it: read-only first, and then let go.
		web2.service.said()
		web2.addrs.said()
		a = &agent{loop: web2.loop, log: web2.log}
		a.standDown()
		synctest.Wait()
		w.owned("")
		diff(t, "web2", web2.service.said(), []string{"deactivate: the agent stops", "deactivate: released"})
	})
}

// A stop in the middle of a move ends that, and lets go only of what is read-only.
func TestRoleStopInAMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, _ := settled(t, roleConfig(t))
		web1.service.said()
		web2.onCall = func(method string) {
			if method == methodPrepare {
				time.Sleep(2 * time.Second) // fake time (testing/synctest): its checks take a while
			}
		}
		moved := make(chan struct{})
		go func() {
			defer close(moved)
			_, _ = web1.api.Switchover(context.Background(), control.SwitchoverRequest{Group: "web", To: "web2"}, func(control.SwitchoverStep) {})
		}()
		time.Sleep(time.Second) // fake time (testing/synctest): it waits for the target
		web1.look(func() { diff(t, "a move is under way", web1.groups["web"].moving, true) })
		web1.service.with(func() { web1.service.slow = 1003 * time.Millisecond }) // no renewal falls into the moment between the two
		stopped := make(chan struct{})
		go func() { defer close(stopped); (&agent{loop: web1.loop, log: web1.log}).standDown() }()
		time.Sleep(time.Second / 2) // fake time (testing/synctest): the service ends what is being written
		w.owned("web1")
		diff(t, "the service", web1.service.said(), []string{"deactivate: the agent stops"})
		<-stopped
		<-moved
		w.wait(3 * testTTL)
		w.owned("web2")
	})
}

// A service that is down can hand nothing over, and is not waited for.
func TestRoleDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, _ := settled(t, roleConfig(t))
		web1.service.said()
		web1.service.set(func(o *role.Observation) { o.Down = "connection refused" })
		w.wait(testTTL)
		w.owned("web2")
		diff(t, "web1", web1.service.said()[0], "deactivate: transferred")
		diff(t, "owners", web2.events(kindOwner)[1:], []string{"web1>web2: down: connection refused"})
	})
}

// The one that has more goes first, whatever the order of preference.
func TestRoleAheadFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, roleConfig(t))
		w.boot("db1")
		web1, web2 := w.boot("web1"), w.boot("web2")
		web2.service.set(func(o *role.Observation) { o.Position = "9" })
		synctest.Wait()
		web2.check("web", checks.Passing, "")
		web1.check("web", checks.Passing, "")
		w.wait(3 * testTTL)
		w.owned("web2")
	})
}

// After a power cut of the whole site every node knows who was the last owner, and what it had: also one that
// has no such service.
func TestRoleKnowsTheLastOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, db1 := settled(t, roleConfig(t))
		web1.service.set(func(o *role.Observation) { o.Position = "12" })
		w.wait(3 * testTTL)
		for _, n := range []*testNode{web1, web2, db1} {
			n.kill(context.Canceled)
		}
		// web2 has lost its state: it hears it from db1.
		if err := os.Remove(filepath.Join(w.dir, "web2.services")); err != nil {
			t.Fatal(err)
		}
		w.wait(5 * testTTL)
		db1, web2 = w.boot("db1"), w.boot("web2")
		waits := func(s role.Situation) role.Verdict {
			return role.Verdict{Eligible: s.Forced || s.Last.Position == s.Self.Position, Reason: "waits for " + s.Last.Node}
		}
		web2.service.with(func() { web2.service.verdict = waits })
		web2.check("web", checks.Passing, "")
		w.wait(10 * testTTL)
		w.owned("")
		web2.look(func() { diff(t, "reason", web2.groups["web"].reason(), "waits for web1") })
		diff(t, "last", web2.service.situation.Last.Position, "12")

		// A person knows better.
		res, steps := switchover(t, db1, control.SwitchoverRequest{Group: "web", To: "web2", Force: true})
		diff(t, "outcome", res.Outcome, control.OutcomeMoved)
		diff(t, "steps", steps, []string{"preflight ok: web2 is ready", "takeover ok: web2 is active"})
		synctest.Wait()
		w.owned("web2")
	})
}
