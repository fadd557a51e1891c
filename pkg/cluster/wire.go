package cluster

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
)

// kind is the first byte of each of our messages. Part of the protocol: append only.
type kind byte

const (
	kindLease   kind = 1
	kindState   kind = 2
	kindPull    kind = 3
	kindLeave   kind = 4
	kindRequest kind = 5
	kindAnswer  kind = 6
)

// Limits on the wire. Given by UDP, less memberlist's label, encryption and kind
// (RFC 768; IPv4's 65,507 bytes of payload is the smaller bound).
const maxLease = 60_000

// Limits on the wire. Chosen by us.
const (
	maxState         = 1 << 20 // of one node's JSON; 500 groups take some 80 KiB, as many failing checks with long texts 250 KiB
	maxStateDatagram = 1200    // leaves room in a 1500-byte frame for label, encryption, IPv6
	maxBody          = 1 << 20 // of a request or answer
	maxPulled        = 16      // names in a pull: a kilobyte
	maxMethod        = 64
	maxErrorText     = 4 << 10 // of an answer; what people read
)

// Decoding errors; each names why a message was dropped.
var (
	errEmpty       = errors.New("empty message")
	errUnknownKind = errors.New("unknown message kind")
	errTooLarge    = errors.New("larger than allowed")
	errMalformed   = errors.New("malformed")
)

type (
	leaseMessage []byte

	stateMessage struct {
		state NodeState
		raw   []byte // as received: relayed with the fields that we do not know
	}

	pullMessage struct {
		From string `json:"from"`
		// Of names other nodes whose states are wanted, at most maxPulled; none: the addressee's own is.
		Of []string `json:"of,omitempty"`
	}

	// leaveMessage is meant for this instance alone, so that a recorded one does
	// nothing to the next.
	leaveMessage struct {
		Node     string `json:"node"`
		Instance uint64 `json:"instance"`
	}

	// request is executed at most once: only by the incarnation it names, and only
	// when ID is new from the incarnation that sends it.
	request struct {
		ID              uint64 `json:"id"`
		From            string `json:"from"`
		FromIncarnation uint64 `json:"from_incarnation"`
		ToIncarnation   uint64 `json:"to_incarnation"`
		Method          string `json:"method"`
		TimeoutMs       int64  `json:"timeout_ms"` // what was left when it was sent
		body            []byte
	}

	answer struct {
		ID            uint64  `json:"id"`             // of the request
		ToIncarnation uint64  `json:"to_incarnation"` // the request's FromIncarnation
		From          string  `json:"from"`
		Error         string  `json:"error,omitempty"`
		Refused       refusal `json:"refused,omitempty"` // not executed
		// With refusedStale: what the caller has to know to ask again.
		Incarnation uint64 `json:"incarnation,omitempty"` // the answering node's
		Seen        uint64 `json:"seen,omitempty"`        // highest seen of the caller's
		body        []byte
	}
)

// refusal says why a request was not executed.
type refusal string

const (
	refusedStale  refusal = "stale"  // an end has restarted, or the message was recorded; asking anew helps
	refusedRepeat refusal = "repeat" // this number was already used
	refusedBusy   refusal = "busy"   // too many calls are running
)

// decode parses one message. The result refers to b. It neither panics nor
// allocates more than a small multiple of len(b), whatever b holds.
func decode(b []byte) (any, error) {
	if len(b) == 0 {
		return nil, errEmpty
	}
	content := b[1:]
	switch k := kind(b[0]); k {
	case kindLease:
		if len(content) > maxLease {
			return nil, fmt.Errorf("lease of %d bytes: %w", len(content), errTooLarge)
		}
		return leaseMessage(content), nil
	case kindState:
		s, err := decodeState(content)
		return stateMessage{state: s, raw: content}, err
	case kindPull:
		m, err := decodeSmall[pullMessage](content)
		return m, err
	case kindLeave:
		m, err := decodeSmall[leaveMessage](content)
		return m, err
	case kindRequest:
		var r request
		body, err := decodeFramed(content, &r)
		r.body = body
		if err == nil && (r.ID == 0 || r.Method == "" || len(r.Method) > maxMethod || r.TimeoutMs <= 0) {
			err = fmt.Errorf("request: %w", errMalformed)
		}
		return r, err
	case kindAnswer:
		var a answer
		body, err := decodeFramed(content, &a)
		a.body = body
		return a, err
	default:
		return nil, fmt.Errorf("%w %d", errUnknownKind, k)
	}
}

func decodeState(raw []byte) (NodeState, error) {
	if len(raw) > maxState {
		return NodeState{}, fmt.Errorf("state of %d bytes: %w", len(raw), errTooLarge)
	}
	var s NodeState
	if err := json.Unmarshal(raw, &s); err != nil {
		return NodeState{}, fmt.Errorf("state: %w: %w", errMalformed, err)
	}
	// The top bit stays free, so that one more is always possible.
	if s.Node == "" || len(s.Node) > maxName || s.Incarnation == 0 || s.Incarnation>>63 != 0 || s.Seq>>63 != 0 {
		return NodeState{}, fmt.Errorf("state of node %q at (%d,%d): %w", s.Node, s.Incarnation, s.Seq, errMalformed)
	}
	return s, nil
}

func decodeSmall[T any](b []byte) (T, error) {
	var m T
	if len(b) > maxStateDatagram {
		return m, fmt.Errorf("%T of %d bytes: %w", m, len(b), errTooLarge)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("%T: %w: %w", m, errMalformed, err)
	}
	return m, nil
}

// decodeFramed reads header length (2 bytes, big endian), header and body.
func decodeFramed(b []byte, header any) (body []byte, err error) {
	if len(b) < 2 {
		return nil, fmt.Errorf("%T: %w", header, errMalformed)
	}
	n := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	if n > len(b) {
		return nil, fmt.Errorf("%T: %w", header, errMalformed)
	}
	if len(b)-n > maxBody {
		return nil, fmt.Errorf("%T with %d bytes of body: %w", header, len(b)-n, errTooLarge)
	}
	if err := json.Unmarshal(b[:n], header); err != nil {
		return nil, fmt.Errorf("%T: %w: %w", header, errMalformed, err)
	}
	return b[n:], nil
}

func encodeLease(payload []byte) []byte {
	return append([]byte{byte(kindLease)}, payload...)
}

func encodeRawState(raw []byte) []byte {
	return append([]byte{byte(kindState)}, raw...)
}

func encodePull(m pullMessage) []byte   { return append([]byte{byte(kindPull)}, mustJSON(m)...) }
func encodeLeave(m leaveMessage) []byte { return append([]byte{byte(kindLeave)}, mustJSON(m)...) }
func encodeRequest(r request) []byte    { return encodeFramed(kindRequest, mustJSON(r), r.body) }

func encodeAnswer(a answer) []byte {
	// Cut at maxErrorText: the header's length has 16 bits, and JSON may need six
	// bytes for one.
	if len(a.Error) > maxErrorText {
		a.Error = a.Error[:maxErrorText] + "..."
	}
	return encodeFramed(kindAnswer, mustJSON(a), a.body)
}

func encodeFramed(k kind, header, body []byte) []byte {
	b := make([]byte, 0, 3+len(header)+len(body))
	b = append(b, byte(k))
	b = binary.BigEndian.AppendUint16(b, uint16(len(header)))
	b = append(b, header...)
	return append(b, body...)
}

// mustJSON encodes our own header types, which cannot fail: strings and numbers only.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("cluster: encode %T: %v", v, err))
	}
	return b
}
