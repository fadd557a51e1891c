package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/cluster"
)

// testKey makes a key of one letter.
func testKey(letter byte) []byte { return []byte(strings.Repeat(string(letter), 32)) }

func ring(letters string) keyring {
	var r keyring
	for _, l := range []byte(letters) {
		r.keys = append(r.keys, testKey(l))
	}
	return r
}

// letters names the keys of a ring: "ab/b1" is a ring of a and b, with b at stage 1.
func letters(r keyring) string {
	s, fresh := "", ""
	for _, k := range r.keys {
		s += string(k[0])
		if cluster.KeyFingerprint(k) == r.fresh {
			fresh = "/" + string(k[0]) + string(rune('0'+r.stage))
		}
	}
	return s + fresh
}

func TestKeyringSteps(t *testing.T) {
	print := func(l byte) string { return cluster.KeyFingerprint(testKey(l)) }
	accept := func(l byte) func(keyring) (keyring, error) {
		return func(r keyring) (keyring, error) { return r.accept(testKey(l)) }
	}
	use := func(l byte) func(keyring) (keyring, error) {
		return func(r keyring) (keyring, error) { return r.use(print(l)) }
	}
	only := func(l byte) func(keyring) (keyring, error) {
		return func(r keyring) (keyring, error) { return r.only(print(l)) }
	}
	forget := func(l byte) func(keyring) (keyring, error) {
		return func(r keyring) (keyring, error) { return r.forget(print(l)) }
	}
	at := func(keys string, l byte, stage int) keyring {
		r := ring(keys)
		r.fresh, r.stage = print(l), stage
		return r
	}
	for _, tt := range []struct {
		name  string
		begin keyring
		step  func(keyring) (keyring, error)
		want  string
		err   string
	}{
		{"accept", ring("a"), accept('b'), "ab/b1", ""},
		{"accept again", at("ab", 'b', 1), accept('b'), "ab/b1", ""},
		{"accept, when it encrypts", at("ba", 'b', 2), accept('b'), "ba/b2", ""},
		{"accept, when it is over here", ring("b"), accept('b'), "b", ""},
		{"accept, known from the file", ring("abc"), accept('b'), "abc/b1", ""},
		{"accept another one", at("ab", 'b', 1), accept('c'), "ab/b1", "is at stage 1 here"},
		{"accept too many", ring("abcdefghijklmnop"), accept('q'), "abcdefghijklmnop", "16 keys already"},
		{"use", at("acb", 'b', 1), use('b'), "bac/b2", ""},
		{"use again", at("ba", 'b', 2), use('b'), "ba/b2", ""},
		{"use, when it is over here", ring("b"), use('b'), "b", ""},
		{"use what is not known", ring("a"), use('b'), "a", "not known here"},
		{"use what nobody rotates", ring("ab"), use('b'), "ab", "no rotation"},
		{"only", at("bac", 'b', 2), only('b'), "b", ""},
		{"only again", ring("b"), only('b'), "b", ""},
		{"only, too early", at("ab", 'b', 1), only('b'), "ab/b1", "not yet with"},
		{"forget", at("ab", 'b', 1), forget('b'), "a", ""},
		{"forget, too late", at("ba", 'b', 2), forget('b'), "ba/b2", "can only go on"},
		{"forget what is not rotated", ring("a"), forget('b'), "a", ""},
	} {
		before := letters(tt.begin)
		got, err := tt.step(tt.begin)
		if letters(got) != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %s, %v, want %s, %q", tt.name, letters(got), err, tt.want, tt.err)
		}
		diff(t, tt.name+": the ring before", letters(tt.begin), before)
	}
}

// Whatever is asked of whom, and whoever dies in between: what a node encrypts with, every other one that takes part understands.
// A coordinator enters a stage when all are in the one before, as they tell; nodes catch up by themselves at any time.
func TestKeyringsAlwaysUnderstandEachOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := []keyring{ring("a"), ring("a"), ring("a")}
		next := byte('b')
		check := func(what string) {
			for i, from := range nodes {
				for j, to := range nodes {
					if to.find(from.first()) < 0 {
						t.Fatalf("after %s node %d (%s) does not understand node %d (%s)", what, j, letters(to), i, letters(from))
					}
				}
			}
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			states := make(map[string]cluster.KeyState)
			for i, r := range nodes {
				states[string(rune('0'+i))] = cluster.KeyState{First: r.first(), Others: r.fingerprints()[1:], Fresh: r.fresh, Stage: r.stage}
			}
			if rapid.Bool().Draw(t, "alone") {
				i := rapid.IntRange(0, 2).Draw(t, "who")
				sights, told := make(map[string]cluster.KeySight), make(map[string]*cluster.KeyState)
				for j, r := range nodes {
					if j != i {
						name := string(rune('0' + j))
						s := states[name]
						sights[name], told[name] = cluster.KeySight{Fingerprint: r.first(), At: noon}, &s
					}
				}
				if step, _ := catchUp(nodes[i], sights, told, noon); step != nil {
					nodes[i], _ = step(nodes[i])
				}
				check("catching up")
				continue
			}
			// A whole rotation, or one that goes on, of which some calls are lost, and which may die anywhere.
			fresh, why := choose(states)
			if why != "" {
				t.Fatal(why)
			}
			if fresh == "" {
				if next == 'z' {
					return
				}
				fresh, next = cluster.KeyFingerprint(testKey(next)), next+1
			}
			var key []byte
			for l := byte('a'); l < next; l++ {
				if cluster.KeyFingerprint(testKey(l)) == fresh {
					key = testKey(l)
				}
			}
			for _, step := range []func(keyring) (keyring, error){
				func(r keyring) (keyring, error) { return r.accept(key) },
				func(r keyring) (keyring, error) { return r.use(fresh) },
				func(r keyring) (keyring, error) { return r.only(fresh) },
			} {
				all := true
				for i := range nodes {
					if rapid.IntRange(0, 5).Draw(t, "lost") == 0 {
						all = false
						continue
					}
					var err error
					if nodes[i], err = step(nodes[i]); err != nil {
						t.Fatalf("node %d: %v", i, err)
					}
					check("a step")
				}
				if !all {
					break
				}
			}
		}
	})
}

func TestChoose(t *testing.T) {
	state := func(first, fresh string, stage int) cluster.KeyState {
		return cluster.KeyState{First: first, Fresh: fresh, Stage: stage}
	}
	for _, tt := range []struct {
		name   string
		states map[string]cluster.KeyState
		want   string
		refuse bool
	}{
		{"none", map[string]cluster.KeyState{"web1": state("a", "", 0), "web2": state("a", "", 0)}, "", false},
		{"one", map[string]cluster.KeyState{"web1": state("a", "b", 1), "web2": state("a", "", 0)}, "b", false},
		{"one that others have ended", map[string]cluster.KeyState{"web1": state("b", "", 0), "web2": state("a", "b", 1)}, "b", false},
		{"two: the further one", map[string]cluster.KeyState{"web1": state("a", "b", 1), "web2": state("a", "b", 1), "db1": state("c", "c", 2)}, "c", false},
		{"two: the more frequent one", map[string]cluster.KeyState{"web1": state("a", "b", 1), "web2": state("a", "c", 1), "db1": state("a", "c", 1)}, "c", false},
		{"two that encrypt", map[string]cluster.KeyState{"web1": state("b", "b", 2), "web2": state("c", "c", 2)}, "", true},
	} {
		got, why := choose(tt.states)
		if got != tt.want || (why != "") != tt.refuse {
			t.Errorf("%s: %q, %q, want %q, refused: %v", tt.name, got, why, tt.want, tt.refuse)
		}
	}
}

func TestRingOfFileAndState(t *testing.T) {
	base := []string{cluster.KeyFingerprint(testKey('a'))}
	done := &savedRing{Base: base, Keys: [][]byte{testKey('b')}}
	half := &savedRing{Base: base, Keys: [][]byte{testKey('a'), testKey('b')}, Fresh: cluster.KeyFingerprint(testKey('b')), Stage: 1}
	for _, tt := range []struct {
		name  string
		file  string
		saved *savedRing
		want  string
		keep  bool
		says  bool
	}{
		{"the file alone", "ab", nil, "ab", false, false},
		{"learnt", "a", done, "b", true, false},
		{"half learnt", "a", half, "ab/b1", true, false},
		{"written to the file", "b", done, "b", false, false},
		{"edited", "c", done, "c", false, true},
		{"edited in the middle of a rotation", "ab", half, "ab", false, true},
	} {
		r, keep, why := ringOf(ring(tt.file).keys, tt.saved)
		if letters(r) != tt.want || keep != tt.keep || (why != "") != tt.says {
			t.Errorf("%s: %s, keep %v, %q, want %s, %v", tt.name, letters(r), keep, why, tt.want, tt.keep)
		}
	}
}

// What is on disk is damaged: the key file counts, and that is said.
func TestKeysFileDamaged(t *testing.T) {
	dir := t.TempDir()
	h := openTestHistory(t, filepath.Join(dir, "events"))
	path := filepath.Join(dir, keysName)
	for _, text := range []string{"", "{", "[]", `{"keys": []}`, `{"keys": ["YWJj"]}`, `{"keys": ["` + strings.Repeat("YWFh", 8) + `"], "new": "0123", "stage": 1}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		k := openKeys(path, ring("a").keys, h, testLogger(t))
		diff(t, text+": ring", letters(k.now().ring), "a")
		if !strings.Contains(k.now().trouble, path) {
			t.Errorf("%q: trouble %q", text, k.now().trouble)
		}
	}
	for _, e := range h.since(time.Time{}, 0) {
		diff(t, "kind", e.Kind, kindKey)
	}
}

// Nothing of a key is in what people and programs see.
func TestNoKeyIsTold(t *testing.T) {
	dir := t.TempDir()
	h := openTestHistory(t, filepath.Join(dir, "events"))
	k := openKeys(filepath.Join(dir, keysName), ring("a").keys, h, testLogger(t))
	k.net = &nullKeyNet{}
	if err := k.change(func(r keyring) (keyring, error) { return r.accept(testKey('b')) }, "test"); err != nil {
		t.Fatal(err)
	}
	events := h.since(time.Time{}, 0)
	if len(events) != 1 {
		t.Fatalf("%+v", events)
	}
	for _, part := range []string{"aaaa", "bbbb", "YWFh", "YmJi"} { // plain, base64
		if text := events[0].Reason + events[0].Detail + events[0].To + strings.Join(k.state().Others, " "); strings.Contains(text, part) {
			t.Errorf("%q has %q", text, part)
		}
	}
	diff(t, "kind", events[0], control.Event{At: events[0].At, Node: "web1", Seq: events[0].Seq, Kind: kindKey, To: cluster.KeyFingerprint(testKey('a')),
		Reason: "key " + cluster.KeyFingerprint(testKey('a')) + " encrypts, " + cluster.KeyFingerprint(testKey('b')) + " is understood, too", Detail: "test"})
}

// A peer that asks before this agent is connected waits.
func TestKeysStepBeforeTheLoopRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l := newLoop(testLogger(t), parse(t, testConfig), "web1")
		l.keys = openKeys(filepath.Join(dir, keysName), ring("a").keys, openTestHistory(t, filepath.Join(dir, "events")), testLogger(t))
		ctx, cancel := context.WithTimeout(t.Context(), keyStepWait)
		defer cancel()
		_, err := newAPI(l, testLogger(t)).keysStep(ctx, "web2",
			keysRequest{Op: keysAccept, Fingerprint: cluster.KeyFingerprint(testKey('b')), Key: testKey('b')})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		diff(t, "ring", letters(l.keys.now().ring), "a")
	})
}

type nullKeyNet struct{}

func (*nullKeyNet) UpdateKeys([][]byte) error              { return nil }
func (*nullKeyNet) KeySights() map[string]cluster.KeySight { return nil }

// A reload of the same key file leaves the keys that are in force, also while the saved ones cannot be read.
func TestKeysReloadOfTheSameFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, keysName)
	k := openKeys(path, ring("a").keys, openTestHistory(t, filepath.Join(dir, "events")), testLogger(t))
	k.net = &nullKeyNet{}
	for _, step := range []func(keyring) (keyring, error){
		func(r keyring) (keyring, error) { return r.accept(testKey('b')) },
		func(r keyring) (keyring, error) { return r.use(cluster.KeyFingerprint(testKey('b'))) },
		func(r keyring) (keyring, error) { return r.only(cluster.KeyFingerprint(testKey('b'))) },
	} {
		if err := k.change(step, "test"); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := k.reload(ring("a").keys); err != nil {
		t.Fatal(err)
	}
	diff(t, "the same file", letters(k.now().ring), "b")
	if err := k.reload(ring("c").keys); err != nil {
		t.Fatal(err)
	}
	diff(t, "an edited one", letters(k.now().ring), "c")
}
