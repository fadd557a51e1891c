package agent

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/checks"
)

// reload gives a node another config file and has it read.
func (n *testNode) reload(t *testing.T, text string, force bool) (control.ReloadResult, error) {
	t.Helper()
	if err := os.WriteFile(n.agent.opts.ConfigFile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	n.agent.runner = n.api.runner
	res, err := n.agent.reload(t.Context(), force)
	synctest.Wait()
	return res, err
}

func TestReloadChangesNothing(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		code       control.Code
		restart    []string
	}{
		{"the same", testConfig, "", nil},
		{"not valid", "[cluster]\nnmae = \"shop\"\n", control.CodeInvalid, nil},
		{"ttl", edited(t, `ttl = "1s"`, `ttl = "2s"`), "", []string{"lease: ttl 1s -> 2s"}},
		{"another voter, the same generation", edited(t, `address = "10.0.0.13"`, "address = \"10.0.0.13\"\nvoter = false"), control.CodeInvalid, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, web1, _, _ := settled(t, testConfig)
				web1.addrs.said()
				res, err := web1.reload(t, tt.text, false)
				var e *control.Error
				if errors.As(err, &e); (e == nil) != (tt.code == "") || e != nil && e.Code != tt.code {
					t.Fatalf("error %v, want code %q", err, tt.code)
				}
				if err == nil {
					diff(t, "needs a restart", res.NeedsRestart, tt.restart)
					diff(t, "changed", res.Changed, []string(nil))
				}
				diff(t, "calls", web1.addrs.said(), []string(nil))
				w.wait(2 * testTTL)
				w.owned("web1")
			})
		})
	}
}

func TestReloadKeepsTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, _, _ := settled(t, testConfig)
		web1.addrs.said()
		res, err := web1.reload(t, edited(t, `hold = "10s"`, `hold = "5s"`), false)
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "changed", res.Changed, []string{"group web: hold 10s -> 5s"})
		w.wait(2 * testTTL)
		w.owned("web1")
		diff(t, "calls", web1.addrs.said(), []string{"reconfigure"})
		web1.look(func() { diff(t, "hold", web1.groups["web"].cfg.Hold, 5*time.Second) })
		if !slices.ContainsFunc(web1.events(kindConfig), func(s string) bool { return s == ">: reloaded" }) {
			t.Errorf("the history does not tell of it")
		}
	})
}

func TestReloadTakesTheGroupFromThisNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, db1 := settled(t, testConfig)
		web1.addrs.said()
		text := edited(t, `nodes = ["web1", "web2"]
checks`, `nodes = ["web2"]
checks`)
		for _, n := range []*testNode{web2, db1, web1} {
			if _, err := n.reload(t, text, false); err != nil {
				t.Fatal(err)
			}
		}
		w.owned("web2")
		diff(t, "calls", web1.addrs.said(), []string{"reconfigure", "shut web: removed", "shut web: transferred"})
		diff(t, "owners", db1.events(kindOwner)[1:], []string{"web1>web2: the config of web1 no longer lists it for web"})
		diff(t, "states on web1", web1.events(kindState)[1:], []string{"active>standby: not among the group's nodes"})
	})
}

func TestReloadRemovesAndAddsGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, db1 := settled(t, testConfig)
		for _, n := range []*testNode{web1, web2, db1} {
			if _, err := n.reload(t, edited(t, "name = \"web\"\naddresses = [\"10.0.0.50/24\"]", "name = \"www\"\naddresses = [\"10.0.0.51/24\"]"), false); err != nil {
				t.Fatal(err)
			}
		}
		w.wait(testTTL)
		diff(t, "holders of web", w.holders("web"), []string(nil))
		diff(t, "holders of www", len(w.holders("www")), 1) // whichever asked first when a quorum knew it
		for _, n := range []*testNode{web1, web2, db1} {
			n.look(func() {
				diff(t, "groups", n.order, []string{"www"})
				for name, p := range n.peers {
					if _, old := p.fit["web"]; old {
						t.Errorf("%s still knows how fit %s is for web", n.node, name)
					}
				}
			})
		}
	})
}

func TestReloadWhileTheGroupMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, when := range []string{methodPrepare, methodAwaitOpen} {
			_, web1, web2, _ := settled(t, testConfig)
			web2.onAnswer = func(method string) {
				if method == when {
					if _, err := web1.reload(t, edited(t, "name = \"web\"\naddresses", "name = \"www\"\naddresses"), false); err != nil {
						t.Error(err)
					}
				}
			}
			res, _ := switchover(t, web1, control.SwitchoverRequest{Group: "web"})
			want := control.OutcomeMoved
			if when == methodPrepare {
				want = control.OutcomeRefused
			}
			diff(t, "outcome", res.Outcome, want)
			web1.look(func() {}) // it is still there
		}
	})
}

func TestReloadMakesACheckRequired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, edited(t, `interval = "1s"`, "interval = \"1s\"\nrequired = false"))
		web1, web2 := w.boot("web1"), w.boot("web2")
		w.boot("db1")
		web1.runChecks(t)
		web2.runChecks(t)
		w.wait(3 * testTTL)
		w.owned("web1")
		web1.fail("refused")
		w.wait(5 * testTTL)
		w.owned("web1") // it is shown and counted, and moves nothing
		for _, n := range []*testNode{web2, web1} {
			if _, err := n.reload(t, testConfig, false); err != nil {
				t.Fatal(err)
			}
		}
		w.owned("web2") // at once: the check need not fail again
	})
}

func TestSetChecks(t *testing.T) {
	l := newLoop(testLogger(t), parse(t, testConfig), "web1")
	l.history = openHistory(filepath.Join(t.TempDir(), "events"), "web1", false, l.log)
	defer l.history.close()
	l.checks = map[string]checks.State{
		"gone": {Name: "gone", Seq: 1}, "same": {Name: "same", Status: checks.Failing, Seq: 3}, "required": {Name: "required", Status: checks.Failing, Seq: 2},
	}
	l.setChecks([]checks.State{
		{Name: "same", Status: checks.Passing, Seq: 3}, // no newer than what is known
		{Name: "required", Status: checks.Failing, Required: true, Seq: 7},
		{Name: "new", Seq: 8},
	})
	diff(t, "checks", l.checks, map[string]checks.State{
		"same": {Name: "same", Status: checks.Failing, Seq: 3}, "required": {Name: "required", Status: checks.Failing, Required: true, Seq: 7}, "new": {Name: "new", Seq: 8},
	})
	diff(t, "events: nothing has changed its status", len(l.history.since(time.Time{}, 0)), 0)
}

func TestVoterChange(t *testing.T) {
	less := edited(t, `address = "10.0.0.13"`, "address = \"10.0.0.13\"\nvoter = false", `ttl = "1s"`, "ttl = \"1s\"\ngeneration = 2")
	t.Run("when every voter has caught up", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, web1, web2, db1 := settled(t, testConfig)
			for _, n := range []*testNode{web1, web2, db1} {
				if _, err := n.reload(t, less, false); err != nil {
					t.Fatalf("%s: %v", n.node, err)
				}
				w.wait(testTTL / 10)
			}
			w.wait(3 * testTTL)
			w.owned("web1")
			web1.look(func() {
				needed, voters := web1.machine.Quorum()
				diff(t, "quorum", [2]int{needed, voters}, [2]int{2, 2})
			})
		})
	})
	for _, tt := range []struct {
		name, from, to string
		arrange        func(web1, web2, db1 *testNode)
		force          bool
		want           string
	}{
		{"an old voter has not", testConfig, less, func(_, web2, _ *testNode) { web2.voters.generation = 0 }, false, "node web2 has not reported generation 1"},
		{"an old voter has not, forced", testConfig, less, func(_, web2, _ *testNode) { web2.voters.generation = 0 }, true, ""},
		{"the new voter has not", edited(t, `address = "10.0.0.13"`, "address = \"10.0.0.13\"\nvoter = false"), edited(t, `ttl = "1s"`, "ttl = \"1s\"\ngeneration = 2"),
			func(_, _, db1 *testNode) { db1.voters.generation = 0 }, false, "node db1 has not reported generation 1"},
		{"a node without a vote has not: it may have had one, and not know better",
			edited(t, `address = "10.0.0.13"`, "address = \"10.0.0.13\"\nvoter = false"),
			edited(t, `address = "10.0.0.13"`, "address = \"10.0.0.13\"\nvoter = false", `address = "10.0.0.12"`, "address = \"10.0.0.12\"\nvoter = false", `ttl = "1s"`, "ttl = \"1s\"\ngeneration = 2"),
			func(_, _, db1 *testNode) { db1.voters.generation = 0 }, false, "node db1 has not reported generation 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, tt.from)
				web1, web2, db1 := w.bootAll()
				w.wait(testTTL)
				for _, n := range []*testNode{web2, db1} {
					n.look(func() { tt.arrange(web1, web2, db1); n.dirty = true })
				}
				_, err := web1.reload(t, tt.to, tt.force)
				if got := errText(err); tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
					t.Errorf("error %q, want %q", got, tt.want)
				}
			})
		})
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
