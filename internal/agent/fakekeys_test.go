package agent

import (
	"slices"
	"testing/synctest"
	"time"

	"github.com/hbagent/hbagent/pkg/cluster"
)

// makeKeys gives a node its keys: those of the world's key file, and what is at path.
func (n *testNode) makeKeys(path string) {
	n.loop.keys = openKeys(path, n.w.keyFile, n.history, n.log)
	n.loop.keys.readFile = func() ([][]byte, error) { return n.w.keyFile, nil }
	n.loop.keys.net, n.loop.keys.changed = n, func() { go n.tell(func() { n.dirty = true }) }
	n.ring, n.unread = n.loop.keys.now().ring.keys, make(map[string]uint64)
}

// reads reports whether a node can decrypt what another one sends now, and counts it if not.
func (n *testNode) reads(from *testNode) bool {
	from.mu.Lock()
	var key []byte
	if len(from.ring) > 0 {
		key = from.ring[0]
	}
	from.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if key == nil && len(n.ring) == 0 || slices.ContainsFunc(n.ring, func(k []byte) bool { return string(k) == string(key) }) {
		return true
	}
	n.unread[from.node]++
	return false
}

func (n *testNode) runs() bool {
	select {
	case <-n.done:
		return false
	default:
		return true
	}
}

// UpdateKeys implements keyNet.
func (n *testNode) UpdateKeys(keys [][]byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ring = keys
	return nil
}

// KeySights implements keyNet: everybody who runs and can be reached is heard all the time.
func (n *testNode) KeySights() map[string]cluster.KeySight {
	sights := make(map[string]cluster.KeySight)
	for _, other := range n.w.others(n) {
		other.mu.Lock()
		s, key := cluster.KeySight{}, ""
		if len(other.ring) > 0 {
			key = cluster.KeyFingerprint(other.ring[0])
		}
		other.mu.Unlock()
		if other.runs() && !n.isCut() && !other.isCut() {
			s.At = time.Now()
		}
		n.mu.Lock()
		if slices.Contains(fingerprints(n.ring), key) && !s.At.IsZero() {
			s.Fingerprint = key
		}
		if s.Unreadable = n.unread[other.node]; s.Unreadable > 0 {
			s.UnreadableAt = time.Now()
		}
		n.mu.Unlock()
		sights[other.node] = s
	}
	return sights
}

func (n *testNode) isCut() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cut
}

// isolate cuts a node off, or connects it again.
func (n *testNode) isolate(cut bool) {
	n.mu.Lock()
	n.cut = cut
	n.mu.Unlock()
	if cut {
		n.w.part(n)
	} else {
		n.w.meet(n)
	}
	synctest.Wait()
}

// unplug cuts a node off before anybody notices.
func (n *testNode) unplug() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = true
}
