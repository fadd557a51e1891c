package cluster

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// A probe is a question to the agent at the other end, on the gossip port itself and sealed with the gossip key. It is
// not one of memberlist's messages, so that it can be asked without being a member, and answered with a "no" by
// a node that has another key.
//
//	magic (4) kind (1) length of the cluster's name (1) name id (8)
//	ask, answer:  nonce (12) sealed: [length of JSON (2) JSON, zeroes up to the wanted size]
//	nack:         reason (1)
//
// What stands in front of the nonce is authenticated too. The sealing key is derived from the gossip key, so that
// nothing of a probe can be taken for a message of memberlist, nor the other way round. Without keys nothing is sealed.
//
// A nack cannot be authenticated: it is a hint for people. It is shorter than what caused it, and goes to configured
// addresses only.

// probeMagic is in front of each probe. memberlist's packets and streams begin with its label (244).
const probeMagic = "HBP1"

type probeKind byte

const (
	probeAsk probeKind = iota + 1
	probeAnswer
	probeNack
)

type nackReason byte

const (
	nackKey     nackReason = iota + 1 // none of our keys opens it
	nackCluster                       // it is of another cluster
)

// Sizes of a probe in bytes. Chosen by us.
const (
	smallProbe = 600  // an answer with everything in it fits
	maxProbe   = 1400 // as memberlist's UDPBufferSize: one frame with any IP header
)

// probeInfo is what seals a probe apart from everything else that the gossip key seals.
const probeInfo = "hbagent probe 1"

// probeAskBody is the content of a question.
type probeAskBody struct {
	From string `json:"from"`
	// Back asks the other end to open a stream to us, too, and to say how that went.
	Back bool `json:"back,omitempty"`
}

// probeAnswerBody is the content of an answer.
type probeAnswerBody struct {
	Node       string  `json:"node"`
	Version    string  `json:"version"`
	ConfigHash string  `json:"config_hash,omitempty"`
	Generation uint64  `json:"generation,omitempty"`
	TTLNs      int64   `json:"ttl_ns,omitempty"`
	WallNs     int64   `json:"wall_ns"` // of the answering node, when it answered
	Back       *Stream `json:"back,omitempty"`
}

// probePacket is a decoded probe: body for ask and answer, reason for a nack.
type probePacket struct {
	kind    probeKind
	cluster string
	id      uint64
	reason  nackReason
	header  []byte
	sealed  []byte
}

var (
	errNotOpened    = errors.New("none of the keys opens the probe")
	errOtherCluster = errors.New("the probe is of another cluster")
)

// isProbe tells a probe from what is memberlist's.
func isProbe(b []byte) bool { return bytes.HasPrefix(b, []byte(probeMagic)) }

// parseProbe takes a packet apart without opening it.
func parseProbe(b []byte) (probePacket, error) {
	const fixed = len(probeMagic) + 2
	if len(b) < fixed || !isProbe(b) {
		return probePacket{}, fmt.Errorf("probe: %w", errMalformed)
	}
	n := int(b[fixed-1])
	end := fixed + n + 8
	if len(b) < end+1 {
		return probePacket{}, fmt.Errorf("probe: %w", errMalformed)
	}
	p := probePacket{
		kind: probeKind(b[fixed-2]), cluster: string(b[fixed : fixed+n]), id: binary.BigEndian.Uint64(b[fixed+n:]),
		header: b[:end], sealed: b[end:],
	}
	switch p.kind {
	case probeAsk, probeAnswer:
	case probeNack:
		p.reason = nackReason(b[end])
	default:
		return probePacket{}, fmt.Errorf("probe: %w %d", errUnknownKind, p.kind)
	}
	return p, nil
}

// sealer seals and opens probes of one cluster. Immutable; safe for concurrent use.
type sealer struct {
	cluster string
	aeads   []cipher.AEAD // the first seals, all open; none: nothing is sealed
}

func newSealer(cluster string, keys [][]byte) (*sealer, error) {
	s := &sealer{cluster: cluster}
	for _, key := range keys {
		derived, err := hkdf.Key(sha256.New, key, nil, probeInfo, len(key))
		if err != nil {
			return nil, fmt.Errorf("derive the key of probes: %w", err)
		}
		block, err := aes.NewCipher(derived)
		if err != nil {
			return nil, fmt.Errorf("derive the key of probes: %w", err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, fmt.Errorf("derive the key of probes: %w", err)
		}
		s.aeads = append(s.aeads, aead)
	}
	return s, nil
}

func (s *sealer) header(kind probeKind, id uint64) []byte {
	b := append([]byte(probeMagic), byte(kind), byte(len(s.cluster)))
	b = append(b, s.cluster...)
	return binary.BigEndian.AppendUint64(b, id)
}

// seal makes a packet of size bytes, or longer where the body needs it.
func (s *sealer) seal(kind probeKind, id uint64, body any, size int) []byte {
	text := mustJSON(body)
	plain := binary.BigEndian.AppendUint16(nil, uint16(len(text)))
	plain = append(plain, text...)
	b := s.header(kind, id)
	if len(s.aeads) == 0 {
		return append(b, slices.Concat(plain, make([]byte, max(0, size-len(b)-len(plain))))...)
	}
	aead := s.aeads[0]
	extra := len(b) + aead.NonceSize() + aead.Overhead()
	plain = append(plain, make([]byte, max(0, size-extra-len(plain)))...)
	nonce := make([]byte, aead.NonceSize())
	rand.Read(nonce) // never fails (crypto/rand)
	return aead.Seal(append(slices.Clone(b), nonce...), nonce, plain, b)
}

func (s *sealer) nack(id uint64, reason nackReason) []byte {
	return append(s.header(probeNack, id), byte(reason))
}

// open decodes the body of an ask or an answer. Errors wrap errOtherCluster, errNotOpened or errMalformed.
func (s *sealer) open(p probePacket, body any) error {
	if p.cluster != s.cluster {
		return fmt.Errorf("%w: %q", errOtherCluster, p.cluster)
	}
	plain := p.sealed
	if len(s.aeads) > 0 {
		plain = nil
		for _, aead := range s.aeads {
			if len(p.sealed) < aead.NonceSize() {
				break
			}
			out, err := aead.Open(nil, p.sealed[:aead.NonceSize()], p.sealed[aead.NonceSize():], p.header)
			if err == nil {
				plain = out
				break
			}
		}
		if plain == nil {
			return errNotOpened
		}
	}
	if len(plain) < 2 {
		return fmt.Errorf("probe: %w", errMalformed)
	}
	n := int(binary.BigEndian.Uint16(plain))
	if n > len(plain)-2 {
		return errNotOpened // without keys here, and sealed over there
	}
	if err := json.Unmarshal(plain[2:2+n], body); err != nil {
		return errNotOpened
	}
	return nil
}
