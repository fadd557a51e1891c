package agent

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/checks"
)

// textOf is testConfig of a generation in which some nodes have no vote.
func textOf(t testing.TB, generation string, mute ...string) string {
	t.Helper()
	edits := []string{`ttl = "1s"`, "ttl = \"1s\"\ngeneration = " + generation}
	for _, addr := range mute {
		edits = append(edits, `address = "`+addr+`"`, "address = \""+addr+"\"\nvoter = false")
	}
	return edited(t, edits...)
}

// again restarts a node with another config file.
func (n *testNode) again(t *testing.T, text string) *testNode {
	t.Helper()
	n.kill(context.Canceled)
	n.w.text = text
	m := n.w.boot(n.node)
	if n.node != "db1" {
		m.check("web", checks.Passing, "")
	}
	synctest.Wait()
	return m
}

// votesBy asserts which list of voters a node uses, everywhere.
func (n *testNode) votesBy(t *testing.T, generation uint64, voters int) {
	t.Helper()
	n.look(func() {
		t.Helper()
		_, have := n.machine.Quorum()
		diff(t, n.node+": voters of the lease machine", have, voters)
		diff(t, n.node+": voters in status", n.status().Quorum.Voters, voters)
		diff(t, n.node+": generation published", n.published.Generation, generation)
	})
	last, err := readState(n.agent.opts.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	diff(t, n.node+": written", []uint64{last.Generation, uint64(len(last.Voters))}, []uint64{generation, uint64(voters)})
}

// rejoin connects a node again, and lets it tell its state as the anti-entropy
// of the cluster does.
func (n *testNode) rejoin() {
	n.isolate(false)
	n.look(func() { n.published.RunID, n.dirty = "", true })
}

func (n *testNode) warning(t *testing.T) string {
	t.Helper()
	var all []string
	n.look(func() { all = n.status().Warnings })
	i := slices.IndexFunc(all, func(s string) bool { return strings.Contains(s, "list of voters") })
	if i < 0 {
		return ""
	}
	return all[i]
}

// A restart with another list of voters loads it when a reload would: not while
// a node has not reported the list before it.
func TestRestartWithAnotherList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, db1 := settled(t, testConfig)
		db1.unplug()
		w.part(db1)
		web1 = web1.again(t, textOf(t, "2", "10.0.0.13"))
		w.wait(5 * testTTL)
		web1.votesBy(t, 1, 3)
		waits := "the new list of voters (generation 2) waits: db1 has not reported generation 1 yet; `hbagent reload --force` loads it at once, for a node that is gone for good"
		diff(t, "warning", web1.warning(t), waits)
		// Told once, at the start, when web2 had not reported either.
		diff(t, "config events", web1.events(kindConfig), []string{">: " + strings.Replace(waits, "db1 has", "web2, db1 have", 1)})
		res, err := web1.reload(t, textOf(t, "2", "10.0.0.13"), false)
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "a reload of the same file", []int{len(res.Changed), len(web1.events(kindConfig))}, []int{0, 1})
		if !slices.Contains(res.Warnings, waits) {
			t.Errorf("the reload does not say what it waits for: %q", res.Warnings)
		}
		w.owned("web1") // the lease was resumed, and goes on

		// Once more: it does not jump, and does not go one further.
		web1 = web1.again(t, textOf(t, "2", "10.0.0.13"))
		w.wait(5 * testTTL)
		web1.votesBy(t, 1, 3)
		_, _, err = begin(web1.agent.opts, parse(t, textOf(t, "3", "10.0.0.13", "10.0.0.12")), noon)
		if err == nil || !strings.Contains(err.Error(), "not one step") {
			t.Errorf("two steps by restart: %v", err)
		}
		w.owned("web1")

		db1.rejoin()
		w.wait(testTTL)
		web1.votesBy(t, 2, 2)
		diff(t, "warning", web1.warning(t), "")
		web2.votesBy(t, 1, 3)
		w.wait(3 * testTTL)
		diff(t, "holders", w.holders("web"), []string{"web1"}) // db1 is asked no more, so it cannot know
		if !slices.Contains(web1.events(kindConfig), ">: list of voters loaded") {
			t.Errorf("the history does not tell of it: %q", web1.events(kindConfig))
		}
		web1 = web1.again(t, textOf(t, "2", "10.0.0.13"))
		web1.votesBy(t, 2, 2) // what was loaded stays loaded
	})
}

// Everybody is restarted, one after the other, and nothing is asked of a person.
func TestRestartEverybodyWithAnotherList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, db1 := settled(t, testConfig)
		for _, n := range []*testNode{db1, web2, web1} {
			n = n.again(t, textOf(t, "2", "10.0.0.13"))
			w.wait(2 * testTTL)
			n.votesBy(t, 2, 2)
			w.owned("web1")
		}
	})
}

func TestRestartThenForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, db1 := settled(t, testConfig)
		db1.kill(context.Canceled)
		w.part(db1)
		next := textOf(t, "2", "10.0.0.13")
		web1, web2 = web1.again(t, next), web2.again(t, next)
		w.wait(2 * testTTL)

		// Another change is not kept back; the list waits on.
		res, err := web1.reload(t, strings.Replace(next, `hold = "10s"`, `hold = "5s"`, 1), false)
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "changed", res.Changed, []string{"group web: hold 10s -> 5s"})
		diff(t, "warnings of the reload", len(slices.DeleteFunc(res.Warnings, func(s string) bool { return !strings.Contains(s, "db1 has not reported generation 1") })), 1)
		web1.votesBy(t, 1, 3)

		for _, n := range []*testNode{web1, web2} {
			res, err := n.reload(t, next, true)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(res.Changed, "lease: the list of voters that waited is loaded: -db1, generation 2") {
				t.Errorf("changed %q", res.Changed)
			}
			n.votesBy(t, 2, 2)
		}
		w.wait(3 * testTTL)
		w.owned("web1")
	})
}

// The file is taken back while its list waits: nothing of it remains.
func TestRestartThenTakeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, _, db1 := settled(t, testConfig)
		db1.kill(context.Canceled)
		w.part(db1)
		web1 = web1.again(t, textOf(t, "2", "10.0.0.13"))
		w.wait(2 * testTTL)
		_, err := web1.reload(t, textOf(t, "2", "10.0.0.12"), false) // another one than that which waits
		if e := errText(err); !strings.Contains(e, "nothing has changed: node db1 has not reported generation 1") {
			t.Errorf("error %q", e)
		}
		if _, err := web1.reload(t, testConfig, false); err != nil {
			t.Fatal(err)
		}
		w.wait(2 * testTTL)
		web1.votesBy(t, 1, 3)
		diff(t, "warning", web1.warning(t), "")
		w.owned("web1")
	})
}

// A voter that the file no longer names is no peer, and counts for the majority
// until the list without it is loaded.
func TestRestartWithoutAVotersNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, db1 := settled(t, testConfig)
		db1.kill(context.Canceled)
		w.part(db1)
		w.mu.Lock()
		delete(w.nodes, "db1")
		w.mu.Unlock()
		web2.unplug()
		w.part(web2)
		next := textOf(t, "2")
		next = strings.Replace(next, "[[node]]\nname = \"db1\"\naddress = \"10.0.0.13\"\n", "", 1)
		web1 = web1.again(t, next)
		web1.look(func() {
			q := web1.status().Quorum
			diff(t, "quorum", q, control.Quorum{Voters: 3, Seen: 1, Needed: 2, Detail: "no majority: web2, db1 not heard"})
		})
		web1.votesBy(t, 1, 3)
		web2.rejoin()
		w.wait(3 * testTTL)
		web1.votesBy(t, 2, 2)
		w.owned("web1")
	})
}

func TestBegin(t *testing.T) {
	three, two, later := parse(t, testConfig), parse(t, textOf(t, "2", "10.0.0.13")), parse(t, textOf(t, "2"))
	far := parse(t, textOf(t, "3", "10.0.0.13", "10.0.0.12"))
	last := machineState{TTL: testTTL, Voters: three.Voters(), Generation: 1}
	for _, tt := range []struct {
		name string
		last machineState
		o    Options
		want voterList
	}{
		{"the first run takes the file's", machineState{}, Options{}, listOf(two)},
		{"a later one goes on with its own", last, Options{}, listOf(three)},
		{"--new-voters takes the file's", last, Options{NewVoters: true}, listOf(two)},
	} {
		tt.o.StateDir = t.TempDir()
		if err := tt.last.write(tt.o.StateDir); err != nil {
			t.Fatal(err)
		}
		state, was, err := begin(tt.o, two, noon)
		if err != nil {
			t.Fatal(err)
		}
		diff(t, tt.name+": last", was, tt.last)
		diff(t, tt.name+": list", []any{state.Voters, state.Generation}, []any{tt.want.voters, tt.want.generation})
		written, _ := readState(tt.o.StateDir)
		diff(t, tt.name+": written", written, state)
	}

	o := Options{StateDir: t.TempDir()}
	if err := last.write(o.StateDir); err != nil {
		t.Fatal(err)
	}
	if _, _, err := begin(o, far, noon); err == nil {
		t.Error("two voters at once are begun with")
	}
	if state, _, err := begin(o, later, noon); err != nil || state.Generation != 2 {
		t.Errorf("the same list, a generation later: %+v, %v", state, err) // it changes no majority
	}
	if err := os.RemoveAll(o.StateDir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.StateDir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := begin(Options{StateDir: filepath.Join(o.StateDir, "x")}, two, noon); err == nil {
		t.Error("it begins without a state directory")
	}
}

// A witness never decides beside three voters.
func TestWitnessWaits(t *testing.T) {
	text := textOf(t, "2", "10.0.0.13")
	text = strings.Replace(text, "generation = 2", "generation = 2\nwitness = \"10.0.0.1\"", 1)
	cfg := parse(t, text)
	three := machineState{Voters: parse(t, testConfig).Voters(), Generation: 1}
	diff(t, "beside three", leaseConfig(cfg, "web1", 1, three, three, nil).Witness, false)
	two := machineState{Voters: cfg.Voters(), Generation: 2}
	diff(t, "beside two", leaseConfig(cfg, "web1", 1, two, two, nil).Witness, true)
}
