package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/memberlist"
)

// checkKeys accepts at least one AES key, or none together with insecure.
func checkKeys(keys [][]byte, insecure bool) error {
	if insecure {
		if len(keys) > 0 {
			return errors.New("keys are given, and insecure too: choose one")
		}
		return nil
	}
	if len(keys) == 0 {
		return errors.New("no gossip key: make one with `hbagent keygen`, copy it to every node and name it in [cluster] key_file")
	}
	for i, k := range keys {
		if err := memberlist.ValidateKey(k); err != nil {
			return fmt.Errorf("key %d has %d bytes: 16, 24 or 32 are needed (`hbagent keygen` makes one)", i+1, len(k))
		}
	}
	return nil
}

// newKeyring returns nil where there are no keys: memberlist's sign for no encryption.
func newKeyring(keys [][]byte) (*memberlist.Keyring, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	own := make([][]byte, len(keys))
	for i, k := range keys {
		own[i] = bytes.Clone(k)
	}
	return memberlist.NewKeyring(own, own[0])
}

// UpdateKeys replaces the keys while running: the first encrypts, all decrypt.
// Safe for concurrent use. To rotate without losing a packet, load [old, new] on
// every node, then [new, old], then [new].
func (c *Cluster) UpdateKeys(keys [][]byte) error {
	if c.keyring == nil {
		return errors.New("cluster: update keys: started without encryption: restart the agent with a key")
	}
	if err := checkKeys(keys, false); err != nil {
		return fmt.Errorf("cluster: update keys: %w", err)
	}
	seal, err := newSealer(c.opts.Cluster, keys)
	if err != nil {
		return fmt.Errorf("cluster: update keys: %w", err)
	}
	leases, err := newLeaseWire(c.opts.Cluster, keys)
	if err != nil {
		return fmt.Errorf("cluster: update keys: %w", err)
	}
	c.keyMu.Lock()
	defer c.keyMu.Unlock()
	c.seal.Store(seal)
	c.leases.Store(leases)

	first := bytes.Clone(keys[0])
	if err := c.keyring.AddKey(first); err != nil {
		return fmt.Errorf("cluster: update keys: %w", err)
	}
	if err := c.keyring.UseKey(first); err != nil {
		return fmt.Errorf("cluster: update keys: %w", err)
	}
	wanted := func(k []byte) bool {
		return slices.ContainsFunc(keys, func(w []byte) bool { return bytes.Equal(w, k) })
	}
	// Keyring.RemoveKey shifts the later keys in place, under the eyes of whoever
	// decrypts at that moment (GetKeys hands out the slice itself). Removing the
	// last one shifts nothing; so a wanted key is brought from the end to the front
	// first, which makes it the encrypting key for some microseconds.
	for range 2 * len(c.keyring.GetKeys()) {
		ring := c.keyring.GetKeys()
		if !slices.ContainsFunc(ring, func(k []byte) bool { return !wanted(k) }) {
			break
		}
		last := ring[len(ring)-1]
		var err error
		if wanted(last) {
			err = errors.Join(c.keyring.UseKey(last), c.keyring.UseKey(first))
		} else {
			err = c.keyring.RemoveKey(last)
		}
		if err != nil {
			return fmt.Errorf("cluster: update keys: %w", err)
		}
	}
	for _, k := range keys[1:] {
		if err := c.keyring.AddKey(bytes.Clone(k)); err != nil {
			return fmt.Errorf("cluster: update keys: %w", err)
		}
	}
	return nil
}
