package lease

import "time"

// Kind is what an Entry asks or answers.
type Kind uint8

// The kinds of entries.
const (
	KindRequest  Kind = iota + 1 // acquire or renew
	KindGrant                    // answer: promised for one ttl
	KindRefuse                   // answer: not promised, with Reason
	KindRelease                  // the holder gives the group up
	KindTransfer                 // the holder gives the group to To
	KindTicket                   // the holder tells To that the group is its own to take
	kindEnd
)

func (k Kind) String() string {
	switch k {
	case KindRequest:
		return "request"
	case KindGrant:
		return "grant"
	case KindRefuse:
		return "refuse"
	case KindRelease:
		return "release"
	case KindTransfer:
		return "transfer"
	case KindTicket:
		return "ticket"
	}
	return "unknown"
}

// Message is one datagram between two nodes: a header, and an entry for each
// group it speaks about. A message without entries says only "I am here, and I
// heard you so long ago".
type Message struct {
	Cluster    string
	From       string
	RunID      RunID // of From
	Generation uint64
	Voters     uint64 // ListHash of the sender's voters
	TTL        time.Duration
	Seq        Seq
	// Heard is how long ago From last heard the addressee, or started if never.
	Heard   time.Duration
	Entries []Entry
}

// Entry is what a Message says about one group. Which fields count depends on
// Kind.
type Entry struct {
	Group string
	Kind  Kind
	Epoch Epoch // of the lease asked for, granted, refused, released or transferred

	// Request: the sender's lease of this epoch is valid at this moment. A
	// voter may then grant below its highest epoch, which can only be the
	// trace of a candidate that never got a majority.
	Valid bool
	// Request: what a transfer gave the sender; zero without one.
	Ticket Ticket

	// Grant, Refuse: the sequence of the request that is answered.
	Ref Seq

	// Refuse.
	Reason  Reason
	Holder  string        // who has it, if anybody
	Left    time.Duration // until the voter could grant
	Highest Epoch         // highest epoch the voter has given

	// Transfer, Ticket.
	To      string
	ToRun   RunID
	ToEpoch Epoch
	// Note is the holder's reason, for the target's history; Ticket only, at
	// most MaxName bytes.
	Note string
}

// Ticket proves that the holder From let go of its lease in favour of the node
// that carries it: From shut its gate before the ticket was made.
type Ticket struct {
	From  string
	RunID RunID
	Epoch Epoch
	Seq   Seq // of the transfer
}

func (t Ticket) zero() bool { return t == Ticket{} }
