package agent

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/hbagent/hbagent/pkg/cluster"
)

// This file is what a rotation of the gossip key does on one node. It is pure: see docs/decisions/0020.

// Stages of a rotation on one node. A stage is entered on a node when every other one that takes part has entered the one
// before it.
const (
	keyAccepted = 1 // the new key is known: whoever encrypts with it is understood
	keyFirst    = 2 // this node encrypts with it; the old ones are still understood
	keyOnly     = 3 // the old ones are gone. The rotation is over: no ring is in this stage
)

// maxRing bounds the keys of a ring (chosen by us: as many as a key file may have).
const maxRing = 16

// keyring is a node's keys and how far a rotation has come there. It is a value: what changes it returns a new one.
type keyring struct {
	keys  [][]byte // the first encrypts, all decrypt; empty only without encryption
	fresh string   // fingerprint of the key that is being rotated in; empty: no rotation
	stage int      // of that
}

func (r keyring) first() string {
	if len(r.keys) == 0 {
		return ""
	}
	return cluster.KeyFingerprint(r.keys[0])
}

// fingerprints are those of all keys, in order.
func (r keyring) fingerprints() []string { return fingerprints(r.keys) }

func fingerprints(keys [][]byte) []string {
	out := make([]string, len(keys))
	for i, k := range keys {
		out[i] = cluster.KeyFingerprint(k)
	}
	return out
}

// find returns where a key is, -1 if nowhere.
func (r keyring) find(fingerprint string) int {
	return slices.IndexFunc(r.keys, func(k []byte) bool { return cluster.KeyFingerprint(k) == fingerprint })
}

// accept enters stage 1 with a key.
func (r keyring) accept(key []byte) (keyring, error) {
	f := cluster.KeyFingerprint(key)
	switch at := r.find(f); {
	case r.fresh != "" && r.fresh != f:
		return r, fmt.Errorf("a rotation to key %s is at stage %d here: finish or give up that one first", r.fresh, r.stage)
	case at == 0 && r.fresh == "":
		return r, nil // this node has finished with it
	case r.fresh == f:
		return r, nil
	case at < 0 && len(r.keys) >= maxRing:
		return r, fmt.Errorf("there are %d keys already: take old ones out of the key file", len(r.keys))
	case at < 0:
		r.keys = append(slices.Clone(r.keys), bytes.Clone(key))
	}
	r.fresh, r.stage = f, keyAccepted
	return r, nil
}

// use enters stage 2.
func (r keyring) use(fingerprint string) (keyring, error) {
	at := r.find(fingerprint)
	switch {
	case at < 0:
		return r, fmt.Errorf("key %s is not known here", fingerprint)
	case r.fresh == "" && at == 0:
		return r, nil
	case r.fresh != fingerprint:
		return r, fmt.Errorf("no rotation to key %s is under way here", fingerprint)
	}
	key := r.keys[at]
	r.keys = append([][]byte{key}, slices.Delete(slices.Clone(r.keys), at, at+1)...)
	r.stage = keyFirst
	return r, nil
}

// only ends a rotation: every other key goes.
func (r keyring) only(fingerprint string) (keyring, error) {
	switch {
	case r.first() != fingerprint:
		return r, fmt.Errorf("this node encrypts with key %s, not yet with %s", r.first(), fingerprint)
	case r.fresh == "":
		return r, nil // it has ended here
	}
	return keyring{keys: r.keys[:1:1]}, nil
}

// forget gives a rotation up that has not gone beyond stage 1: nobody encrypts with the key.
func (r keyring) forget(fingerprint string) (keyring, error) {
	at := r.find(fingerprint)
	switch {
	case r.fresh != fingerprint:
		return r, nil
	case r.stage > keyAccepted || at == 0:
		return r, fmt.Errorf("this node encrypts with key %s already: the rotation can only go on", fingerprint)
	}
	r.keys = slices.Delete(slices.Clone(r.keys), at, at+1)
	r.fresh, r.stage = "", 0
	return r, nil
}

// savedRing is a ring as the state directory keeps it: the keys that this node has learnt, where the agent cannot write the
// key file.
type savedRing struct {
	// Base are the fingerprints of the key file when this was written. A file that has others since was edited by a person, whose
	// word is the last.
	Base  []string `json:"base"`
	Keys  [][]byte `json:"keys"`
	Fresh string   `json:"new,omitempty"`
	Stage int      `json:"stage,omitempty"`
}

// valid says what is wrong with a saved ring that was read.
func (s savedRing) valid() error {
	if len(s.Keys) == 0 || len(s.Keys) > maxRing {
		return fmt.Errorf("%d keys", len(s.Keys))
	}
	for _, k := range s.Keys {
		if n := len(k); n != 16 && n != 24 && n != 32 {
			return fmt.Errorf("a key of %d bytes", n)
		}
	}
	r := keyring{keys: s.Keys, fresh: s.Fresh, stage: s.Stage}
	if s.Fresh != "" && (r.find(s.Fresh) < 0 || s.Stage != keyAccepted && s.Stage != keyFirst) {
		return fmt.Errorf("a rotation to key %q at stage %d", s.Fresh, s.Stage)
	}
	return nil
}

// ringOf makes a node's ring of its key file and of what it has saved, if anything; keep tells whether the latter still matters, and why says
// what a person should know where it does not.
func ringOf(file [][]byte, saved *savedRing) (r keyring, keep bool, why string) {
	if saved == nil {
		return keyring{keys: file}, false, ""
	}
	r = keyring{keys: saved.Keys, fresh: saved.Fresh, stage: saved.Stage}
	has := fingerprints(file)
	switch {
	case r.fresh == "" && slices.Equal(has, r.fingerprints()):
		return keyring{keys: file}, false, "" // `hbagent key write` was here, or the file of a node where it was
	case slices.Equal(has, saved.Base):
		return r, true, ""
	}
	why = fmt.Sprintf("the key file has been edited (key %s first) since keys were learnt by a rotation (key %s first): the file counts",
		strings.Join(has[:min(1, len(has))], ""), r.first())
	return keyring{keys: file}, false, why
}
