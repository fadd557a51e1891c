package agent

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/cluster"
)

// A node that is down is not left behind by accident.
func TestKeyRotateWithoutANode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, db1 := keyed(t)
		res := db1.rotate(t, control.KeyRotateRequest{Without: []string{"web2"}})
		diff(t, "of one that is up", res.Reason, "web2 is up: to leave it out would cut it off")
		web2.kill(context.Canceled)
		w.part(web2)
		synctest.Wait()
		res = db1.rotate(t, control.KeyRotateRequest{})
		diff(t, "outcome", res.Outcome, control.KeyRefused)
		if !strings.Contains(res.Reason, "web2 is down: a rotation needs every node") || !strings.Contains(res.Reason, "--without web2") {
			t.Errorf("reason %q", res.Reason)
		}
		diff(t, "nothing has changed", web1.loop.keys.now().ring.fingerprints(), []string{cluster.KeyFingerprint(oldKey)})

		res = db1.rotate(t, control.KeyRotateRequest{Without: []string{"web2"}})
		diff(t, "outcome", res.Outcome, control.KeyRotated)
		w.rotated(t, res.Key)
		w.understood(t)

		// It comes back with the old key: it hears nobody, and nobody hears it; both are told.
		web2 = w.boot("web2")
		for _, n := range []*testNode{web1, db1} { // membership does not count it
			n.tell(func() { n.peerAlive("web2", false, cluster.ReasonFailed) })
			web2.tell(func() { web2.peerAlive(n.node, false, cluster.ReasonFailed) })
		}
		w.wait(3 * testTTL)
		web1.look(func() {
			if got := strings.Join(web1.warnings(), "\n"); !strings.Contains(got, "web2 sends with a key that is not ours") {
				t.Errorf("web1 warns %q", got)
			}
			diff(t, "agree", web1.keyStatus().Agree, false)
		})
		web2.look(func() {
			for _, n := range []string{"web1", "db1"} {
				if got := strings.Join(web2.warnings(), "\n"); !strings.Contains(got, n+" sends with a key that is not ours") {
					t.Errorf("web2 warns %q", got)
				}
			}
		})
		w.mu.Lock()
		diff(t, "who owns web", len(w.open["web"]), 1)
		w.mu.Unlock()

		// With the file of one that works it is one of them again.
		w.keyFile = web1.loop.keys.now().ring.keys
		web2.kill(context.Canceled)
		w.boot("web2")
		w.wait(3 * testTTL)
		w.rotated(t, res.Key)
		web1.look(func() { diff(t, "agree", web1.keyStatus().Agree, true) })
	})
}

// A node that falls silent in the middle leaves the rest where everybody is understood; then it, or --without it, goes on.
func TestKeyRotateWaits(t *testing.T) {
	for _, without := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w, web1, web2, db1 := keyed(t)
			n := 0
			web2.mu.Lock()
			web2.onCall = func(method string) { // after look and accept it is gone
				if method == methodKeys {
					if n++; n == 3 {
						web2.unplug()
					}
				}
			}
			web2.mu.Unlock()
			res := web1.rotate(t, control.KeyRotateRequest{})
			diff(t, "outcome", res.Outcome, control.KeyWaiting)
			diff(t, "stage", res.Stage, 1)
			if !strings.Contains(res.Reason, "web2: ") {
				t.Errorf("reason %q", res.Reason)
			}
			db1.look(func() {
				got := strings.Join(db1.keyWarnings(), "\n")
				if !strings.Contains(got, "to "+res.Key+" is half done (web1 at stage 2") || !strings.Contains(got, "hbagent key rotate") {
					t.Errorf("warnings %q", got)
				}
			})
			aborted := db1.rotate(t, control.KeyRotateRequest{Abort: true})
			diff(t, "it can only go on", aborted.Outcome, control.KeyRefused)
			web2.isolate(true)
			req := control.KeyRotateRequest{}
			if without {
				req.Without = []string{"web2"}
			} else {
				web2.isolate(false)
				w.wait(keyHold)
				// It has seen what the others encrypt with.
				diff(t, "stage of web2", web2.loop.keys.now().ring.stage, keyFirst)
			}
			again := db1.rotate(t, req)
			diff(t, "again", again.Outcome, control.KeyRotated)
			diff(t, "the same key", again.Key, res.Key)
			diff(t, "resumed", again.Resumed, true)
			if without {
				web2.isolate(false) // it knows the key: it catches up by itself
				w.wait(4 * keyWatch)
			}
			w.rotated(t, res.Key)
			w.wait(2 * testTTL)
			diff(t, "agree", slices.ContainsFunc(w.alive(), func(n *testNode) (bad bool) {
				n.look(func() { bad = !n.keyStatus().Agree })
				return bad
			}), false)
		})
	}
}

// `hbagent key write` on one machine, its file copied to the others, and nobody reloaded: what the next rotation brings is not
// lost at the start after it.
func TestKeyRotateAfterTheFileWasCopied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, db1 := keyed(t)
		first := web1.rotate(t, control.KeyRotateRequest{})
		diff(t, "outcome", first.Outcome, control.KeyRotated)
		w.keyFile = web1.loop.keys.now().ring.keys
		second := db1.rotate(t, control.KeyRotateRequest{})
		diff(t, "outcome", second.Outcome, control.KeyRotated)
		web2.kill(context.Canceled)
		w.boot("web2")
		w.wait(3 * testTTL)
		w.rotated(t, second.Key)
	})
}

// A key file that was edited and not loaded would undo a rotation at the next start: it does not begin.
func TestKeyRotateRefusesAnEditedFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, _, _ := keyed(t)
		w.keyFile = [][]byte{testKey('e')}
		res := web1.rotate(t, control.KeyRotateRequest{})
		diff(t, "outcome", res.Outcome, control.KeyRefused)
		if !strings.Contains(res.Reason, "web2: the key file was edited and is not loaded: `hbagent reload` there") {
			t.Errorf("reason %q", res.Reason)
		}
		for _, n := range w.alive() {
			diff(t, n.node, n.loop.keys.now().ring.fingerprints(), []string{cluster.KeyFingerprint(oldKey)})
		}
	})
}
