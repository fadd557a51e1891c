package agent

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/cluster"
)

// keysName is the file in the state directory that has the keys learnt by a rotation.
const keysName = "keys.json"

// keyHold is how long a node lets nobody but the node that asked last carry a rotation on (chosen by us: two that begin at the
// same moment are told apart by it. Later it does not matter: whoever comes finds the first one's key, and goes on with that).
const keyHold = 5 * time.Second

// keyNet is what the keys need of *cluster.Cluster.
type keyNet interface {
	UpdateKeys(keys [][]byte) error
	KeySights() map[string]cluster.KeySight
}

// keys owns this node's ring. A change is written first, then in force, then told. Safe for concurrent use. It never waits
// for the loop, and the loop, which only reads the view, never for it: a disk may hang.
type keys struct {
	log     *slog.Logger
	history *history
	path    string
	net     keyNet // set before the first change
	changed func() // wakes whoever publishes; does not wait
	// readFile reads the key file as it is now; set before anybody asks.
	readFile func() ([][]byte, error)

	view   atomic.Pointer[keyView]
	turned chan struct{} // one slot: the view was replaced

	mu     sync.Mutex
	file   [][]byte // of the key file
	holder string   // the node that carries a rotation on
	until  time.Time
}

// keyView is how the keys are. It is replaced, never changed.
type keyView struct {
	ring    keyring
	saved   bool   // the ring is in the state directory, and not in the key file
	trouble string // what a person should know, empty: nothing
}

// openKeys makes the ring of the key file's keys and of what was learnt since. A saved ring that cannot be read is said, and
// then the key file counts: a node that has nothing else can only be put right by a person.
func openKeys(path string, file [][]byte, h *history, log *slog.Logger) *keys {
	k := &keys{log: log, history: h, path: path, changed: func() {}, turned: make(chan struct{}, 1)}
	k.load(file)
	return k
}

// load is called with the lock held, or before anybody else has k.
func (k *keys) load(file [][]byte) {
	var v keyView
	var saved *savedRing
	k.file = file
	if len(file) > 0 {
		var err error
		if saved, err = readSavedRing(k.path); err != nil {
			v.trouble = fmt.Sprintf("keys that a rotation has brought cannot be read, the key file counts: %v", err)
		}
	}
	var why string
	v.ring, v.saved, why = ringOf(file, saved)
	for _, text := range []string{v.trouble, why} {
		if text != "" {
			k.log.Warn("gossip key", "reason", text)
			k.history.add(control.Event{Kind: kindKey, Reason: text})
		}
	}
	k.show(&v)
	if saved != nil && !v.saved {
		if err := os.Remove(k.path); err != nil {
			k.log.Warn("gossip key: cannot remove what is no longer needed", "error", err)
		}
	}
}

// show replaces the view, and wakes watchKeys.
func (k *keys) show(v *keyView) {
	k.view.Store(v)
	select {
	case k.turned <- struct{}{}:
	default:
	}
}

func readSavedRing(path string) (*savedRing, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var s savedRing
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("%s: it is damaged", path) // no word of what is in it
	}
	if err := s.valid(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &s, nil
}

// reload takes a key file that was read again over. One that says the same changes nothing: what is saved beside it is what
// is in force, and may be on a disk that cannot be read just now.
func (k *keys) reload(file [][]byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.now().trouble == "" && slices.Equal(fingerprints(file), fingerprints(k.file)) {
		return nil
	}
	before := k.now().ring
	k.load(file)
	ring := k.now().ring
	if len(ring.keys) == 0 {
		return nil // no encryption, as before: another needs a restart
	}
	if err := k.net.UpdateKeys(ring.keys); err != nil {
		return err
	}
	if !slices.Equal(before.fingerprints(), ring.fingerprints()) {
		k.tell(ring, "of the key file")
	}
	return nil
}

// meetFile looks before a rotation whether the key file is the one that this agent knows. What a rotation saves counts only
// beside that one, so that with another the node would begin with old keys at its next start. A file that `hbagent key write`
// made, or that was copied from where it did, is taken over; one that was edited and not loaded is an error.
func (k *keys) meetFile() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	file, err := k.readFile()
	if err != nil {
		return fmt.Errorf("the key file cannot be used, and the next start would need it: %w", err)
	}
	prints, ring := fingerprints(file), k.now().ring
	switch {
	case slices.Equal(prints, fingerprints(k.file)):
		return nil
	case ring.fresh == "" && slices.Equal(prints, ring.fingerprints()):
		k.load(file)
		k.changed()
		return nil
	}
	return errors.New("the key file was edited and is not loaded: `hbagent reload` there, or undo it")
}

// change applies a step of a rotation. Nothing has changed where it returns an error.
func (k *keys) change(step func(keyring) (keyring, error), why string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	was := k.now()
	next, err := step(was.ring)
	if err != nil {
		return err
	}
	if next.fresh == was.ring.fresh && next.stage == was.ring.stage && slices.Equal(next.fingerprints(), was.ring.fingerprints()) {
		return nil
	}
	// On disk first: what a node has said that it knows it still knows after a power cut.
	saved, err := k.save(next)
	if err != nil {
		return fmt.Errorf("cannot remember it: %w", err)
	}
	if err := k.net.UpdateKeys(next.keys); err != nil {
		_, back := k.save(was.ring)
		return errors.Join(err, back)
	}
	k.show(&keyView{ring: next, saved: saved})
	k.tell(next, why)
	return nil
}

// save writes a ring, or removes the file where the key file says the same.
func (k *keys) save(r keyring) (saved bool, err error) {
	if r.fresh == "" && slices.Equal(fingerprints(k.file), r.fingerprints()) {
		if err := os.Remove(k.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		return false, syncDir(filepath.Dir(k.path))
	}
	s := savedRing{Base: fingerprints(k.file), Keys: r.keys, Fresh: r.fresh, Stage: r.stage}
	if err := writeJSON(k.path, s, (*os.File).Sync); err != nil { // mode 0600
		return false, err
	}
	return true, syncDir(filepath.Dir(k.path))
}

// tell notes in the history what the ring is now.
func (k *keys) tell(r keyring, why string) {
	prints := r.fingerprints()
	text := "key " + prints[0] + " encrypts"
	switch len(prints) {
	case 1:
		text += ", no other is understood"
	case 2:
		text += ", " + prints[1] + " is understood, too"
	default:
		text += ", " + strings.Join(prints[1:], " and ") + " are understood, too"
	}
	k.log.Info("gossip key", "reason", text, "detail", why)
	k.history.add(control.Event{Kind: kindKey, To: prints[0], Reason: text, Detail: why})
	k.changed()
}

// now returns how the keys are.
func (k *keys) now() keyView { return *k.view.Load() }

// hold lets a node carry a rotation on, unless another one does: two at once would wait for each other.
func (k *keys) hold(node string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	if k.holder != "" && k.holder != node && now.Before(k.until) {
		return fmt.Errorf("%s is rotating the key: try again in %v", k.holder, k.until.Sub(now).Round(time.Second))
	}
	k.holder, k.until = node, now.Add(keyHold)
	return nil
}

func (k *keys) release(node string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.holder == node {
		k.holder = ""
	}
}

// state is what this node tells of its keys; nil without encryption.
func (k *keys) state() *cluster.KeyState {
	v := k.now()
	if len(v.ring.keys) == 0 {
		return nil
	}
	prints := v.ring.fingerprints()
	return &cluster.KeyState{First: prints[0], Others: prints[1:], Fresh: v.ring.fresh, Stage: v.ring.stage, Learnt: v.saved}
}

// LearntKeys returns what a rotation has brought to this machine, as lines for its key file, and the fingerprint of the first; no lines where
// the key file is what counts. An agent may be running.
func LearntKeys(stateDir, keyFile string) (lines, fingerprint string, err error) {
	file, err := config.ReadKeys(keyFile)
	if err != nil {
		return "", "", err
	}
	saved, err := readSavedRing(filepath.Join(stateDir, keysName))
	if err != nil {
		return "", "", fmt.Errorf("keys that a rotation has brought cannot be read: %w", err)
	}
	r, keep, _ := ringOf(file, saved)
	switch {
	case !keep:
		return "", "", nil
	case r.fresh != "":
		return "", "", fmt.Errorf("a rotation to key %s is half done (stage %d of 3): `hbagent key rotate` first", r.fresh, r.stage)
	}
	for _, k := range r.keys {
		lines += base64.StdEncoding.EncodeToString(k) + "\n"
	}
	return lines, r.first(), nil
}
