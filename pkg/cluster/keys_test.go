package cluster

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestKeysChangeWhileRunning(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2")
	a, b := nw.start("web1"), nw.start("web2")
	nw.awaitMesh(a, b)
	other := []byte("fedcba9876543210")
	steps := [][][]byte{{testKey, other}, {other, testKey}, {other}}
	for i, keys := range steps {
		for _, n := range []*node{a, b} {
			if err := n.UpdateKeys(keys); err != nil {
				t.Fatal(err)
			}
			payload := fmt.Sprintf("step %d after %s", i, n.opts.Node)
			nw.await("leases pass with these keys", func() bool {
				if err := a.SendLease("web2", []byte(payload)); err != nil {
					t.Fatal(err)
				}
				return b.hasLease(payload) || waitRing(nw)
			})
		}
	}
	if got := a.keyring.GetKeys(); len(got) != 1 || !slices.Equal(got[0], other) {
		t.Errorf("%d keys are left, want the last one", len(got))
	}
	if p, ok := b.problem(WrongKey); ok {
		t.Errorf("a rotation in the right order gave %+v", p)
	}
	// Whoever still sends with the first key is not heard any more.
	if err := b.UpdateKeys([][]byte{testKey, other}); err != nil {
		t.Fatal(err)
	}
	nw.await("a packet with the old key is refused", func() bool {
		if err := b.SendLease("web1", []byte("with the old key")); err != nil {
			t.Fatal(err)
		}
		return a.KeySights()["web2"].Unreadable > 0 || waitRing(nw)
	})
	if a.hasLease("with the old key") {
		t.Error("a lease that was encrypted with the old key was delivered")
	}
	if err := a.UpdateKeys([][]byte{[]byte("short")}); err == nil {
		t.Error("a short key was accepted")
	}
}

// The ring ends with exactly the wanted keys whatever it held before.
func TestUpdateKeysFromAnyRing(t *testing.T) {
	t.Parallel()
	k := func(s string) []byte { return []byte(strings.Repeat(s, 16)) }
	all := [][]byte{k("a"), k("b"), k("c"), k("d")}
	for old := range subsets(all) {
		for want := range subsets(all) {
			ring, err := newKeyring(old)
			if err != nil {
				t.Fatal(err)
			}
			c := &Cluster{keyring: ring}
			if err := c.UpdateKeys(want); err != nil {
				t.Fatalf("%s -> %s: %v", old, want, err)
			}
			got := ring.GetKeys()
			if string(got[0]) != string(want[0]) {
				t.Errorf("%s -> %s: encrypts with %s", old, want, got[0])
			}
			sorted := func(ks [][]byte) []string {
				var s []string
				for _, k := range ks {
					s = append(s, string(k))
				}
				slices.Sort(s)
				return s
			}
			if diff := cmp.Diff(sorted(want), sorted(got)); diff != "" {
				t.Errorf("%s -> %s (-want +got):\n%s", old, want, diff)
			}
		}
	}
}

// subsets yields each non-empty subset, forwards and backwards.
func subsets(all [][]byte) func(func([][]byte) bool) {
	return func(yield func([][]byte) bool) {
		for mask := 1; mask < 1<<len(all); mask++ {
			var s [][]byte
			for i, k := range all {
				if mask>>i&1 == 1 {
					s = append(s, k)
				}
			}
			back := slices.Clone(s)
			slices.Reverse(back)
			if !yield(s) || !yield(back) {
				return
			}
		}
	}
}

// Whoever is heard is heard with a key: with ours, with another of ours, or with none.
func TestKeySights(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2", "db1")
	other := []byte("fedcba9876543210")
	a, b := nw.start("web1"), nw.start("web2")
	c := nw.start("db1", func(o *Options) { o.Keys = [][]byte{[]byte("a key of nobody!")} })
	nw.awaitMesh(a, b)
	sees := func(fingerprint, peer string) {
		t.Helper()
		nw.await("web1 hears "+peer+" with "+fingerprint, func() bool {
			for _, n := range []*node{b, c} { // so that there is something to hear
				if err := n.SendLease("web1", []byte("x")); err != nil {
					t.Fatal(err)
				}
			}
			s := a.KeySights()[peer]
			return !s.At.IsZero() && s.Fingerprint == fingerprint || waitRing(nw)
		})
	}
	sees(KeyFingerprint(testKey), "web2")
	sees("", "db1")
	nw.await("what db1 sends is counted", func() bool {
		s := a.KeySights()["db1"]
		return s.Unreadable > 0 && !s.UnreadableAt.IsZero() || waitRing(nw)
	})
	if n := a.KeySights()["web2"].Unreadable; n != 0 {
		t.Errorf("%d packets of web2 could not be read", n)
	}
	for _, n := range []*node{a, b} {
		if err := n.UpdateKeys([][]byte{testKey, other}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.UpdateKeys([][]byte{other, testKey}); err != nil {
		t.Fatal(err)
	}
	sees(KeyFingerprint(other), "web2")
}

func TestKeyFingerprint(t *testing.T) {
	seen := make(map[string]bool)
	for _, key := range []string{"0123456789abcdef", "0123456789abcdeg", "0123456789abcdef0123456789abcdef"} {
		f := KeyFingerprint([]byte(key))
		if len(f) != 12 || seen[f] || strings.Contains(key, f) {
			t.Errorf("%s: %s", key, f)
		}
		seen[f] = true
	}
}
