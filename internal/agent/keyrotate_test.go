package agent

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/cluster"
)

var oldKey = []byte("the key of the file, 32 bytes ..")

// keyed starts three agents that encrypt with oldKey, and waits until web1 owns the group.
func keyed(t *testing.T) (w *world, web1, web2, db1 *testNode) {
	t.Helper()
	w = newWorld(t, testConfig)
	w.keyFile = [][]byte{oldKey}
	web1, web2, db1 = w.bootAll()
	w.wait(3 * testTTL)
	w.owned("web1")
	return w, web1, web2, db1
}

// rotate runs a rotation on a node to its end.
func (n *testNode) rotate(t *testing.T, req control.KeyRotateRequest) control.KeyRotation {
	t.Helper()
	res, err := n.api.KeyRotate(t.Context(), req, func(control.SwitchoverStep) {})
	if err != nil {
		t.Fatalf("rotate on %s: %v", n.node, err)
	}
	synctest.Wait()
	return res
}

// rotated asserts that every node that runs has one key and no other, and that it is not an old one.
func (w *world) rotated(t *testing.T, key string) {
	t.Helper()
	for _, n := range w.alive() {
		r := n.loop.keys.now().ring
		diff(t, n.node+": keys", r.fingerprints(), []string{key})
		diff(t, n.node+": rotation", r.fresh, "")
		n.mu.Lock()
		diff(t, n.node+": in force", fingerprints(n.ring), []string{key})
		n.mu.Unlock()
	}
	if key == cluster.KeyFingerprint(oldKey) {
		t.Error("the key is the old one")
	}
}

// understood asserts that nobody has ever sent what another one could not decrypt.
func (w *world) understood(t *testing.T) {
	t.Helper()
	for _, n := range w.alive() {
		n.mu.Lock()
		for from, count := range n.unread {
			t.Errorf("%s could not read %d messages of %s", n.node, count, from)
		}
		n.mu.Unlock()
	}
}

func TestKeyRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, _, db1 := keyed(t)
		var epoch uint64
		web1.look(func() { epoch = web1.groups["web"].epoch })
		seen := map[string]bool{cluster.KeyFingerprint(oldKey): true}
		for round := range 3 {
			var steps []string
			res, err := db1.api.KeyRotate(t.Context(), control.KeyRotateRequest{}, func(s control.SwitchoverStep) {
				steps = append(steps, s.Step+" "+string(s.State))
			})
			if err != nil || res.Outcome != control.KeyRotated || res.Stage != 3 || res.Resumed || seen[res.Key] {
				t.Fatalf("round %d: %+v, %v", round, res, err)
			}
			seen[res.Key] = true
			diff(t, "steps", steps, []string{"preflight ok", "stage 1 of 3 running", "stage 1 of 3 ok", "stage 2 of 3 running", "stage 2 of 3 ok",
				"stage 3 of 3 running", "stage 3 of 3 ok"})
			w.rotated(t, res.Key)
			w.wait(2 * testTTL)
			for _, n := range w.alive() {
				n.look(func() {
					diff(t, n.node+": warnings", n.keyWarnings(), []string(nil))
					st := n.keyStatus()
					diff(t, n.node+": agree", st.Agree, true)
					for _, k := range st.Nodes {
						if k.Node != n.node {
							diff(t, n.node+" hears "+k.Node, k.HeardWith, res.Key)
						}
						diff(t, k.Node+": learnt", k.Keys.Learnt, true)
					}
				})
			}
		}
		w.understood(t)
		w.owned("web1")
		web1.look(func() { diff(t, "epoch", web1.groups["web"].epoch, epoch) })

		// A restart knows what was learnt, whatever the key file says.
		key := web1.loop.keys.now().ring.first()
		st, err := os.Stat(web1.loop.keys.path)
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "mode", st.Mode().Perm(), os.FileMode(0o600))
		web1.kill(context.Canceled)
		w.boot("web1")
		w.rotated(t, key)
		w.wait(testTTL)
		w.understood(t)
	})
}

// Whoever dies at whatever moment of a rotation: every message is understood, and asking again, elsewhere, ends it.
func TestKeyRotateInterrupted(t *testing.T) {
	// To two peers each: look, accept, use, only, release.
	const calls = 10
	for at := range calls {
		for _, victim := range []string{"web1", "web2"} { // who carries it out, and another one
			for _, after := range []bool{false, true} { // before the peer does the step, or once it has
				t.Run(fmt.Sprintf("%s at call %d, done %v", victim, at, after), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { interruptRotation(t, at, victim, after) })
				})
			}
		}
	}
}

func interruptRotation(t *testing.T, at int, victim string, after bool) {
	w, web1, web2, db1 := keyed(t)
	n := 0
	strike := func(method string) {
		if method != methodKeys {
			return
		}
		w.mu.Lock()
		hit := n == at
		n++
		w.mu.Unlock()
		if hit {
			w.nodes[victim].kill(context.Canceled) // nothing is tidied up
		}
	}
	for _, peer := range []*testNode{web2, db1} {
		peer.mu.Lock()
		if after {
			peer.onAnswer = strike
		} else {
			peer.onCall = strike
		}
		peer.mu.Unlock()
	}
	first, _ := web1.api.KeyRotate(t.Context(), control.KeyRotateRequest{}, func(control.SwitchoverStep) {})
	synctest.Wait()
	for _, peer := range []*testNode{web2, db1} {
		peer.mu.Lock()
		peer.onCall, peer.onAnswer = nil, nil
		peer.mu.Unlock()
	}
	w.understood(t)
	w.boot(victim)
	w.wait(keyHold) // the hold of a dead one runs out
	half := slices.ContainsFunc(w.alive(), func(n *testNode) bool { return n.loop.keys.now().ring.fresh != "" })
	res := db1.rotate(t, control.KeyRotateRequest{})
	if res.Outcome != control.KeyRotated || res.Stage != 3 {
		t.Fatalf("the first try ended with %+v, the second with %+v", first, res)
	}
	if half != res.Resumed || half && first.Key != "" && first.Key != res.Key {
		t.Errorf("half done: %v; %+v, then %+v", half, first, res)
	}
	w.rotated(t, res.Key)
	w.wait(2 * testTTL)
	w.understood(t)
}

func TestKeyRotateAbort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, db1 := keyed(t)
		web2.mu.Lock()
		n := 0
		web2.onCall = func(method string) { // look is answered, nothing else
			if n++; n > 1 {
				web2.mu.Lock()
				web2.ignores = methodKeys
				web2.mu.Unlock()
			}
		}
		web2.mu.Unlock()
		res := web1.rotate(t, control.KeyRotateRequest{})
		diff(t, "outcome", res.Outcome, control.KeyWaiting)
		diff(t, "stage", res.Stage, 0)
		web2.mu.Lock()
		web2.onCall, web2.ignores = nil, ""
		web2.mu.Unlock()
		w.wait(keyHold)
		aborted := db1.rotate(t, control.KeyRotateRequest{Abort: true})
		diff(t, "outcome", aborted.Outcome, control.KeyAborted)
		for _, n := range w.alive() {
			diff(t, n.node, n.loop.keys.now().ring.fingerprints(), []string{cluster.KeyFingerprint(oldKey)})
			if _, err := os.Stat(n.loop.keys.path); err == nil {
				t.Errorf("%s keeps a file of what it does not know any more", n.node)
			}
		}
		diff(t, "nothing to give up", db1.rotate(t, control.KeyRotateRequest{Abort: true}).Reason, "no rotation is half done")
		w.understood(t)
	})
}

// An agent that does not know of rotations is a reason not to begin.
func TestKeyRotateWithAnOlderAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, _ := keyed(t)
		web2.mu.Lock()
		web2.ignores = methodKeys
		web2.mu.Unlock()
		res := web1.rotate(t, control.KeyRotateRequest{})
		diff(t, "outcome", res.Outcome, control.KeyRefused)
		diff(t, "key", res.Key, "")
		for _, n := range w.alive() {
			diff(t, n.node, n.loop.keys.now().ring.fingerprints(), []string{cluster.KeyFingerprint(oldKey)})
		}
	})
}

// Whatever it is told, a node gives the old key up only when it has itself heard everybody with the new one.
func TestKeyOldOnesAreKeptWhileSomebodySendsWithThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, web1, web2, db1 := keyed(t)
		key := testKey('n')
		fresh := cluster.KeyFingerprint(key)
		step := func(n *testNode, req keysRequest) error {
			req.Fingerprint = fresh
			_, err := n.api.keysStep(t.Context(), "db1", req)
			return err
		}
		for _, n := range []*testNode{web1, web2, db1} {
			if err := step(n, keysRequest{Op: keysAccept, Key: key}); err != nil {
				t.Fatal(err)
			}
		}
		if err := step(web1, keysRequest{Op: keysUse}); err != nil {
			t.Fatal(err)
		}
		web2.mu.Lock() // it is cut off, so that it does not catch up
		web2.cut = true
		web2.mu.Unlock()
		began := time.Now()
		err := step(web1, keysRequest{Op: keysOnly})
		if err == nil || !strings.Contains(err.Error(), "web1 still needs the old key: web2 has not been heard to send with it") {
			t.Errorf("%v", err)
		}
		diff(t, "it waited", time.Since(began), keyHeardWait)
		diff(t, "ring", len(web1.loop.keys.now().ring.keys), 2)
		if err := step(web1, keysRequest{Op: keysOnly, Without: []string{"web2"}}); err != nil {
			t.Error(err) // db1 has caught up meanwhile
		}
		if err := step(web1, keysRequest{Op: "dance"}); err == nil || !strings.Contains(err.Error(), "may be older") {
			t.Errorf("a step of a later version: %v", err)
		}
		if err := step(web1, keysRequest{Op: keysAccept, Key: testKey('x')}); err == nil {
			t.Error("a key under another one's name was taken")
		}
	})
}

// Two people at two machines.
func TestKeyRotateTwiceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, db1 := keyed(t)
		done := make(chan control.KeyRotation, 2)
		for _, n := range []*testNode{web1, web2} {
			go func() {
				res, _ := n.api.KeyRotate(t.Context(), control.KeyRotateRequest{}, func(control.SwitchoverStep) {})
				done <- res
			}()
		}
		var got []control.KeyOutcome
		for range 2 {
			got = append(got, (<-done).Outcome)
		}
		t.Logf("%v", got)
		if slices.Contains(got, control.KeyWaiting) {
			t.Error("one of them is half done")
		}
		w.wait(keyHold)
		w.understood(t)
		res := db1.rotate(t, control.KeyRotateRequest{})
		w.rotated(t, res.Key)
		w.wait(testTTL + time.Millisecond)
		w.understood(t)
	})
}

func TestKeyRotateRefusesNonsense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, web1, _, _ := keyed(t)
		for _, req := range []control.KeyRotateRequest{{Without: []string{"web9"}}, {Without: []string{"web1"}}} {
			if _, err := web1.api.KeyRotate(t.Context(), req, func(control.SwitchoverStep) {}); err == nil {
				t.Errorf("%+v: no error", req)
			}
		}
		web1.api.rotating.Lock()
		if _, err := web1.api.KeyRotate(t.Context(), control.KeyRotateRequest{}, nil); err == nil {
			t.Error("a second one at the same time: no error")
		}
		web1.api.rotating.Unlock()
	})
	synctest.Test(t, func(t *testing.T) {
		_, web1, _, _ := settled(t, testConfig)
		if _, err := web1.api.KeyRotate(t.Context(), control.KeyRotateRequest{}, nil); err == nil || !strings.Contains(err.Error(), "insecure") {
			t.Errorf("without encryption: %v", err)
		}
		web1.look(func() { diff(t, "encrypted", web1.keyStatus().Encrypted, false) })
	})
}
