package lease

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// The wire form: one version byte, then the header, then the entries, all
// integers as unsigned varints (encoding/binary) and all strings with a length
// byte. Signing and encryption are the transport's business.
const (
	wireVersion = 1
	// maxDatagram keeps a message within one Ethernet frame after the
	// transport's own header and encryption (chosen by us).
	maxDatagram = 1200
)

// ErrMalformed is wrapped by every error of Decode.
var ErrMalformed = errors.New("lease: malformed message")

// Encode returns m as one datagram, or as several when its entries do not fit
// one; each carries the same sequence and different groups.
func Encode(m Message) [][]byte {
	header := encodeHeader(m)
	if len(m.Entries) == 0 {
		return [][]byte{header}
	}
	var out [][]byte
	cur := append([]byte(nil), header...)
	for _, e := range m.Entries {
		b := encodeEntry(nil, e)
		if len(cur)+len(b) > maxDatagram && len(cur) > len(header) {
			out = append(out, cur)
			cur = append([]byte(nil), header...)
		}
		cur = append(cur, b...)
	}
	return append(out, cur)
}

func encodeHeader(m Message) []byte {
	b := make([]byte, 0, 256)
	b = append(b, wireVersion)
	b = appendString(b, m.Cluster)
	b = appendString(b, m.From)
	b = binary.AppendUvarint(b, uint64(m.RunID))
	b = binary.AppendUvarint(b, m.Generation)
	b = binary.AppendUvarint(b, m.Voters)
	b = binary.AppendUvarint(b, uint64(m.TTL))
	b = appendSeq(b, m.Seq)
	return binary.AppendVarint(b, int64(m.Heard))
}

func encodeEntry(b []byte, e Entry) []byte {
	b = append(b, byte(e.Kind))
	b = appendString(b, e.Group)
	b = binary.AppendUvarint(b, uint64(e.Epoch))
	switch e.Kind {
	case KindRequest:
		var flags byte
		if e.Valid {
			flags |= 1
		}
		if !e.Ticket.zero() {
			flags |= 2
		}
		b = append(b, flags)
		if !e.Ticket.zero() {
			b = appendTicket(b, e.Ticket)
		}
	case KindGrant:
		b = appendSeq(b, e.Ref)
	case KindRefuse:
		b = appendSeq(b, e.Ref)
		b = append(b, byte(e.Reason))
		b = appendString(b, e.Holder)
		b = binary.AppendUvarint(b, uint64(max(e.Left, 0)))
		b = binary.AppendUvarint(b, uint64(e.Highest))
	case KindTransfer, KindTicket:
		b = appendString(b, e.To)
		b = binary.AppendUvarint(b, uint64(e.ToRun))
		b = binary.AppendUvarint(b, uint64(e.ToEpoch))
		b = appendTicket(b, e.Ticket)
		if e.Kind == KindTicket {
			b = appendString(b, e.Note)
		}
	}
	return b
}

func appendString(b []byte, s string) []byte {
	s = s[:min(len(s), MaxName)]
	return append(append(b, byte(len(s))), s...)
}

func appendSeq(b []byte, s Seq) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, s.Incarnation), s.Counter)
}

func appendTicket(b []byte, t Ticket) []byte {
	b = appendString(b, t.From)
	b = binary.AppendUvarint(b, uint64(t.RunID))
	b = binary.AppendUvarint(b, uint64(t.Epoch))
	return appendSeq(b, t.Seq)
}

// Decode reads one datagram. Whatever the bytes are, it returns a message
// within the package's bounds or an error that wraps ErrMalformed.
func Decode(b []byte) (Message, error) {
	d := &decoder{b: b}
	if v := d.byte(); d.err == nil && v != wireVersion {
		return Message{}, fmt.Errorf("%w: wire version %d, this agent speaks %d: upgrade the older agent", ErrMalformed, v, wireVersion)
	}
	m := Message{
		Cluster:    d.string(),
		From:       d.string(),
		RunID:      RunID(d.uvarint()),
		Generation: d.uvarint(),
		Voters:     d.uvarint(),
		TTL:        d.duration(),
		Seq:        d.seq(),
		Heard:      time.Duration(d.varint()),
	}
	for d.err == nil && len(d.b) > 0 {
		if len(m.Entries) == MaxGroups {
			return Message{}, fmt.Errorf("%w: more than %d entries", ErrMalformed, MaxGroups)
		}
		m.Entries = append(m.Entries, d.entry())
	}
	if d.err != nil {
		return Message{}, d.err
	}
	return m, nil
}

// decoder consumes b; the first failure sticks, and everything read after it
// is zero.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrMalformed, what)
	}
	d.b = nil
}

func (d *decoder) entry() Entry {
	e := Entry{Kind: Kind(d.byte()), Group: d.string(), Epoch: d.epoch()}
	switch e.Kind {
	case KindRequest:
		flags := d.byte()
		if flags > 3 {
			d.fail("unknown flags")
		}
		e.Valid = flags&1 != 0
		if flags&2 != 0 {
			e.Ticket = d.ticket()
		}
	case KindGrant:
		e.Ref = d.seq()
	case KindRefuse:
		e.Ref = d.seq()
		e.Reason = Reason(d.byte())
		e.Holder = d.string()
		e.Left = d.duration()
		e.Highest = d.epoch()
	case KindTransfer, KindTicket:
		e.To = d.string()
		e.ToRun = RunID(d.uvarint())
		e.ToEpoch = d.epoch()
		e.Ticket = d.ticket()
		if e.Kind == KindTicket {
			e.Note = d.string()
		}
	case KindRelease:
	default:
		d.fail("unknown kind of entry")
	}
	return e
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail("too short")
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("bad number")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail("bad number")
		return 0
	}
	d.b = d.b[n:]
	return v
}

// duration refuses what no honest node sends, so that sums cannot overflow.
func (d *decoder) duration() time.Duration {
	v := d.uvarint()
	if v > uint64(24*time.Hour) {
		d.fail("duration out of range")
		return 0
	}
	return time.Duration(v)
}

// epoch refuses what would overflow when the next one is computed.
func (d *decoder) epoch() Epoch {
	v := d.uvarint()
	if v > 1<<62 {
		d.fail("epoch out of range")
		return 0
	}
	return Epoch(v)
}

func (d *decoder) string() string {
	n := int(d.byte())
	if n > MaxName || n > len(d.b) {
		d.fail("bad name")
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *decoder) seq() Seq { return Seq{Incarnation: d.uvarint(), Counter: d.uvarint()} }

func (d *decoder) ticket() Ticket {
	return Ticket{From: d.string(), RunID: RunID(d.uvarint()), Epoch: d.epoch(), Seq: d.seq()}
}
