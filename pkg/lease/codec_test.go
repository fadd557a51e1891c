package lease

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

var (
	anyName  = rapid.StringN(0, MaxName, MaxName)
	anyEpoch = rapid.Map(rapid.Uint64Range(0, 1<<62), func(n uint64) Epoch { return Epoch(n) })
	anyRun   = rapid.Map(rapid.Uint64(), func(n uint64) RunID { return RunID(n) })
	anySeq   = rapid.Custom(func(t *rapid.T) Seq {
		return Seq{rapid.Uint64().Draw(t, "incarnation"), rapid.Uint64().Draw(t, "counter")}
	})
	anyDuration = rapid.Map(rapid.Int64Range(0, int64(24*time.Hour)), func(n int64) time.Duration { return time.Duration(n) })
	anyTicket   = rapid.Custom(func(t *rapid.T) Ticket {
		return Ticket{anyName.Draw(t, "from"), anyRun.Draw(t, "run"), anyEpoch.Draw(t, "epoch"), anySeq.Draw(t, "seq")}
	})
)

// anyEntry draws an entry with the fields that its kind carries.
var anyEntry = rapid.Custom(func(t *rapid.T) Entry {
	e := Entry{
		Kind:  Kind(rapid.IntRange(int(KindRequest), int(kindEnd)-1).Draw(t, "kind")),
		Group: anyName.Draw(t, "group"), Epoch: anyEpoch.Draw(t, "epoch"),
	}
	switch e.Kind {
	case KindRequest:
		e.Valid = rapid.Bool().Draw(t, "valid")
		if rapid.Bool().Draw(t, "by ticket") {
			e.Ticket = anyTicket.Draw(t, "ticket")
		}
	case KindGrant:
		e.Ref = anySeq.Draw(t, "ref")
	case KindRefuse:
		e.Ref, e.Reason, e.Holder = anySeq.Draw(t, "ref"), Reason(rapid.Byte().Draw(t, "reason")), anyName.Draw(t, "holder")
		e.Left, e.Highest = anyDuration.Draw(t, "left"), anyEpoch.Draw(t, "highest")
	case KindTransfer, KindTicket:
		e.To, e.ToRun, e.ToEpoch = anyName.Draw(t, "to"), anyRun.Draw(t, "to run"), anyEpoch.Draw(t, "to epoch")
		e.Ticket = anyTicket.Draw(t, "ticket")
		if e.Kind == KindTicket {
			e.Note = anyName.Draw(t, "note")
		}
	}
	return e
})

func anyMessage(entries int) *rapid.Generator[Message] {
	return rapid.Custom(func(t *rapid.T) Message {
		return Message{
			Cluster: anyName.Draw(t, "cluster"), From: anyName.Draw(t, "from"), RunID: anyRun.Draw(t, "run"),
			Generation: rapid.Uint64().Draw(t, "generation"), Voters: rapid.Uint64().Draw(t, "voters"), TTL: anyDuration.Draw(t, "ttl"), Seq: anySeq.Draw(t, "seq"),
			Heard: time.Duration(rapid.Int64().Draw(t, "heard")), Entries: rapid.SliceOfN(anyEntry, 0, entries).Draw(t, "entries"),
		}
	})
}

// joined decodes the datagrams of one message and puts them together again.
func joined(t interface{ Fatalf(string, ...any) }, parts [][]byte) Message {
	var whole Message
	for i, b := range parts {
		if len(b) > maxDatagram {
			t.Fatalf("datagram %d has %d bytes", i, len(b))
		}
		m, err := Decode(b)
		if err != nil {
			t.Fatalf("datagram %d of %d: %v", i, len(parts), err)
		}
		entries := append(whole.Entries, m.Entries...)
		m.Entries = nil
		if i > 0 {
			whole.Entries = nil
			if diff := cmp.Diff(whole, m); diff != "" {
				t.Fatalf("header of datagram %d (-first +this):\n%s", i, diff)
			}
		}
		whole = m
		whole.Entries = entries
	}
	return whole
}

// What is encoded is decoded, whole, in order, and in datagrams that fit.
func TestCodecRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyMessage(60).Draw(t, "message")
		got := joined(t, Encode(want))
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	})
}

// A node with as many groups as are allowed needs many datagrams, none of them
// half empty.
func TestEncodeSplits(t *testing.T) {
	m := Message{Cluster: "shop", From: "web1", TTL: time.Second}
	for i := range MaxGroups {
		m.Entries = append(m.Entries, Entry{Group: strings.Repeat("g", 1+i%MaxName), Kind: KindRequest, Epoch: Epoch(i)})
	}
	parts := Encode(m)
	if diff := cmp.Diff(m, joined(t, parts)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for i, b := range parts[:len(parts)-1] {
		if len(b) < maxDatagram-100 {
			t.Errorf("datagram %d of %d has only %d bytes", i, len(parts), len(b))
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	whole := Encode(Message{Cluster: "shop", From: "web1", TTL: time.Second, Entries: []Entry{{Group: "web", Kind: KindGrant, Epoch: 7}}})[0]
	header := encodeHeader(Message{Cluster: "shop", From: "web1"})
	with := func(b ...byte) []byte { return append(append([]byte(nil), header...), b...) }
	var many []byte
	for range MaxGroups + 1 {
		many = append(many, byte(KindRelease), 0, 0)
	}
	for _, tt := range []struct {
		name string
		in   []byte
		want string
	}{
		{"nothing", nil, "too short"},
		{"another version", append([]byte{wireVersion + 1}, whole[1:]...), "wire version 2"},
		{"name longer than the rest", []byte{wireVersion, 60, 'a'}, "bad name"},
		{"name longer than allowed", append([]byte{wireVersion, MaxName + 1}, make([]byte, 100)...), "bad name"},
		{"unknown kind", with(99, 0, 0), "unknown kind"},
		{"kind zero", with(0, 0, 0), "unknown kind"},
		{"unknown flags", with(byte(KindRequest), 0, 0, 4), "unknown flags"},
		{"number without end", with(byte(KindRelease), 0, 0xff, 0xff), "bad number"},
		{"number above 64 bits", with(byte(KindRelease), 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f), "bad number"},
		{"epoch that would overflow", with(byte(KindRelease), 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1), "epoch out of range"},
		{"more than a thousand entries", with(many...), "more than 1024 entries"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Decode(tt.in)
			if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	// Cut anywhere, it is refused, unless the cut is where the entries begin.
	for n := range whole {
		if _, err := Decode(whole[:n]); (err == nil) != (n == len(whole)-len(encodeEntry(nil, Entry{Group: "web", Kind: KindGrant, Epoch: 7}))) {
			t.Errorf("the first %d of %d bytes: %v", n, len(whole), err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	seeds := []Message{
		{Cluster: "shop", From: "web1", TTL: time.Second, Heard: -1},
		{Cluster: "shop", From: "web1", RunID: 1 << 63, TTL: MaxTTL, Seq: Seq{1 << 40, 9}, Entries: []Entry{
			{Group: "web", Kind: KindRequest, Epoch: 1_700_000_000, Valid: true},
			{Group: "db", Kind: KindRequest, Epoch: 5, Ticket: Ticket{"db1", 3, 4, Seq{1, 2}}},
			{Group: "web", Kind: KindRelease, Epoch: 1}, {Group: "web", Kind: KindGrant, Ref: Seq{1, 2}},
		}},
		{Entries: []Entry{
			{Group: "web", Kind: KindRefuse, Reason: ReasonHeld, Holder: "web2", Left: time.Second, Highest: 8},
			{Group: "web", Kind: KindTransfer, To: "web2", ToRun: 7, ToEpoch: 9, Ticket: Ticket{From: "web1"}},
			{Group: "web", Kind: KindTicket, To: "web2", ToRun: 7, ToEpoch: 9, Note: "switchover"},
		}},
	}
	for _, m := range seeds {
		f.Add(Encode(m)[0])
	}
	f.Add([]byte{})
	f.Add([]byte{wireVersion, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("an error of another class: %v", err)
			}
			return
		}
		if len(m.Entries) > MaxGroups || len(m.Entries) > len(b)/3 {
			t.Fatalf("%d entries from %d bytes", len(m.Entries), len(b))
		}
		if diff := cmp.Diff(m, joined(t, Encode(m)), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("encoded and decoded again (-first +again):\n%s", diff)
		}
	})
}
