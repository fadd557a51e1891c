package control

import "time"

// Event is one line of the history.
type Event struct {
	At      time.Time `json:"at"`              // by the clock of Node
	Node    string    `json:"node"`            // who recorded it
	Seq     uint64    `json:"seq,omitempty"`   // grows with each event of Node; with Node it names the event
	Group   string    `json:"group,omitempty"` // empty: about the node itself
	Kind    string    `json:"kind"`
	Subject string    `json:"subject,omitempty"` // the peer, check, hook or template it is about
	From    string    `json:"from,omitempty"`    // an owner, a state or a judgement, as Kind has it
	To      string    `json:"to,omitempty"`
	Epoch   uint64    `json:"epoch,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	Detail  string    `json:"detail,omitempty"`
	// Accounts are what other nodes have recorded of the same move. Only in a history of the whole cluster.
	Accounts []Account `json:"accounts,omitempty"`
}

// Account is the same move as another node has recorded it.
type Account struct {
	At     time.Time `json:"at"`
	Node   string    `json:"node"`
	Seq    uint64    `json:"seq,omitempty"`
	From   string    `json:"from,omitempty"`
	Reason string    `json:"reason,omitempty"`
	Detail string    `json:"detail,omitempty"`
}

// EventQuery says which part of the history is wanted.
type EventQuery struct {
	Since time.Time // by the clock of the answering node; zero: everything
	Max   int       // the newest so many; 0: every one that is kept
	// Cluster wants what every node has recorded, a move told by several of them once. Otherwise it is the history
	// of one node, as that has recorded it: Node, or where that is empty the answering one.
	Cluster bool
	Node    string
}

// History is the answer to an [EventQuery].
type History struct {
	Events  []Event       // oldest first
	Sources []EventSource // the nodes that were asked: the answering one, and the others in the order of the config
}

// EventSource is what became of asking one node for its history.
type EventSource struct {
	Node  string `json:"node"`
	Error string `json:"error,omitempty"` // why its history is missing, or incomplete
	// SkewMs is how far its clock is ahead of the answering node's; 0 if no difference could be measured.
	SkewMs int64 `json:"skew_ms,omitempty"`
}
