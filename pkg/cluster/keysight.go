package cluster

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/hashicorp/memberlist"
)

// Layout of an encrypted packet behind the label, which is authenticated with it. Given by memberlist v0.7.0, security.go; a
// test holds real packets against it.
const (
	sealVersion = 1  // the one byte in front; version 0 is older than what peers may speak
	sealNonce   = 12 // behind it, then the ciphertext
	aesGCMTag   = 16 // at the end of that
)

// sniffEvery is how often a packet of each peer is looked at. Chosen by us: a key is tried in a microsecond or two, and whoever
// rotates keys looks once a second.
const sniffEvery = 1 * time.Second

// fingerprintBytes of a hash name a key. Chosen by us: enough to tell apart all keys that a site ever has, short enough to
// compare by eye.
const fingerprintBytes = 6

// KeyFingerprint names a key without telling anything of it: the beginning of its SHA-256, in hexadecimal digits.
func KeyFingerprint(key []byte) string {
	h := sha256.New()
	h.Write([]byte("hbagent key\x00"))
	h.Write(key)
	return hex.EncodeToString(h.Sum(nil)[:fingerprintBytes])
}

// KeySight is the key with which a peer was heard to send.
type KeySight struct {
	Fingerprint string    // of the key; empty: none of ours
	At          time.Time // zero: nothing was heard of it yet
	// Unreadable counts packets and streams since Start that none of our keys opened, the last of them at UnreadableAt.
	Unreadable   uint64
	UnreadableAt time.Time
}

// KeySights returns, for each peer, the key of the last packet that was looked at, one in a second. Safe for concurrent use.
func (c *Cluster) KeySights() map[string]KeySight {
	sights := make(map[string]KeySight, len(c.peers))
	for name, p := range c.peers {
		var s KeySight
		if last := p.sight.Load(); last != nil {
			s = *last
		}
		if s.Unreadable = p.unreadable.Load(); s.Unreadable > 0 {
			s.UnreadableAt = time.Unix(0, p.unreadableAt.Load())
		}
		sights[name] = s
	}
	return sights
}

// sniff notes with which key a packet was sent. Called from the read loop only.
func (c *Cluster) sniff(p *peer, packet []byte, at time.Time) {
	if c.keyring == nil || at.Sub(p.sniffed) < sniffEvery {
		return
	}
	p.sniffed = at
	sealed, label, err := memberlist.RemoveLabelHeaderFromPacket(packet)
	if err != nil || label != c.opts.Cluster {
		return // another cluster's, which is told elsewhere
	}
	s := &KeySight{At: at}
	for _, key := range c.keyring.GetKeys() {
		if opens(key, sealed, label) {
			s.Fingerprint = KeyFingerprint(key)
			break
		}
	}
	p.sight.Store(s)
}

// opens reports whether a packet was encrypted with key.
func opens(key, sealed []byte, label string) bool {
	if len(sealed) < 1+sealNonce || sealed[0] != sealVersion {
		return false
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return false
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return false
	}
	_, err = gcm.Open(nil, sealed[1:1+sealNonce], sealed[1+sealNonce:], []byte(label))
	return err == nil
}
