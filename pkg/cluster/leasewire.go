package cluster

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"

	"github.com/hashicorp/memberlist"
)

// Layout of a datagram that memberlist has made of a message of ours. Given by memberlist v0.7.0, net.go and label.go; a test
// holds real packets of memberlist against it, both ways.
const (
	labelMagic  = 244 // in front of the label, which follows with its length (1)
	userMessage = 8   // the type byte in front of what is ours, behind the encryption
)

// leaseWire makes and reads lease datagrams, in memberlist's form. Memberlist does so itself, at a price that is paid for every
// datagram: a cipher is set up from its key, and what arrives goes through two more goroutines. They are most of what an agent
// does at rest. Immutable; safe for concurrent use.
type leaseWire struct {
	label []byte
	front []byte        // the label as it stands in a packet
	aeads []cipher.AEAD // the first seals, all open; none: nothing is encrypted
}

func newLeaseWire(cluster string, keys [][]byte) (*leaseWire, error) {
	w := &leaseWire{label: []byte(cluster), front: append([]byte{labelMagic, byte(len(cluster))}, cluster...)}
	for _, key := range keys {
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("cipher of leases: %w", err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, fmt.Errorf("cipher of leases: %w", err)
		}
		w.aeads = append(w.aeads, aead)
	}
	return w, nil
}

// seal makes a datagram of a payload.
func (w *leaseWire) seal(payload []byte) []byte {
	const head = 2 // of the message: memberlist's type and our kind
	out := make([]byte, 0, len(w.front)+1+sealNonce+head+len(payload)+aesGCMTag)
	out = append(out, w.front...)
	if len(w.aeads) == 0 {
		return append(append(out, userMessage, byte(kindLease)), payload...)
	}
	out = append(out, sealVersion)
	nonce := out[len(out) : len(out)+sealNonce]
	rand.Read(nonce) // never fails (crypto/rand)
	out = out[:len(out)+sealNonce]
	at := len(out)
	out = append(append(out, userMessage, byte(kindLease)), payload...)
	return w.aeads[0].Seal(out[:at], nonce, out[at:], w.label)
}

// open returns the payload of a lease datagram. It is false for everything else, which is memberlist's to read, and to
// complain of. The payload does not refer to packet.
func (w *leaseWire) open(packet []byte) (payload []byte, ok bool) {
	sealed, ok := bytes.CutPrefix(packet, w.front)
	if !ok {
		return nil, false
	}
	if len(w.aeads) == 0 {
		payload, ok = leaseOf(sealed)
		return bytes.Clone(payload), ok
	}
	if len(sealed) < 1+sealNonce || sealed[0] != sealVersion {
		return nil, false
	}
	for _, aead := range w.aeads {
		if plain, err := aead.Open(nil, sealed[1:1+sealNonce], sealed[1+sealNonce:], w.label); err == nil {
			return leaseOf(plain)
		}
	}
	return nil, false
}

func leaseOf(message []byte) (payload []byte, ok bool) {
	if len(message) < 2 || message[0] != userMessage || kind(message[1]) != kindLease || len(message)-2 > maxLease {
		return nil, false
	}
	return message[2:], true
}

// takeLease delivers a lease datagram, straight from the read loop, and reports whether it was one.
func (c *Cluster) takeLease(packet []byte) bool {
	payload, ok := c.leases.Load().open(packet)
	if ok {
		c.stats.leasesIn.Add(1)
		c.opts.Handler.LeaseMessage(payload)
	}
	return ok
}

// sendLease is memberlist.SendToAddress for a lease.
func (c *Cluster) sendLease(p *peer, payload []byte) error {
	_, err := c.net.WriteToAddress(c.leases.Load().seal(payload), memberlist.Address{Addr: p.dest.Addr, Name: p.name})
	return err
}
