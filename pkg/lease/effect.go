package lease

import "time"

// Effect is something that the caller must do. Effects are carried out in the
// order given, each one finished before the next begins; invariants 2 and 3
// rest on that.
type Effect interface{ effect() }

// Shut asks for the gate to be shut and the addresses to be removed, now. It
// must have happened when the call returns; an owner that cannot must exit.
type Shut struct {
	Group  string
	Epoch  Epoch
	Reason Reason
}

// Persist asks for Record to be kept where a restarted agent of the same boot
// finds it. It must have happened before any later effect.
type Persist struct{ Record Record }

// Open asks for the gate to be opened until Until. The caller compares Until
// with its own clock again when it does so.
type Open struct {
	Group string
	Epoch Epoch
	Until Instant
	Cause Cause
	Note  string // CauseTransfer: what the old holder said
}

// Renew asks for an open gate to stay open until Until.
type Renew struct {
	Group string
	Epoch Epoch
	Until Instant
}

// Send asks for a message to be sent to a node, unreliably.
type Send struct {
	To      string
	Message Message
}

func (Shut) effect()    {}
func (Persist) effect() {}
func (Open) effect()    {}
func (Renew) effect()   {}
func (Send) effect()    {}

// Cause says how a lease was won.
type Cause uint8

// The causes.
const (
	CauseFree      Cause = iota + 1 // the group was free, or had been released
	CauseExpired                    // the last holder's lease ran out
	CauseTransfer                   // the last holder handed it over
	CauseResume                     // this node's own lease, after a restart
	CauseConfirmed                  // this node's own lease, after a pause
)

func (c Cause) String() string {
	switch c {
	case CauseFree:
		return "free"
	case CauseExpired:
		return "expired"
	case CauseTransfer:
		return "transfer"
	case CauseResume:
		return "resume"
	case CauseConfirmed:
		return "confirmed"
	}
	return "unknown"
}

// Record is what must survive a restart of the agent within one boot. Deadlines
// are not in it: a restarted voter assumes that each promise was renewed at the
// last moment, which spares a write for every renewal.
type Record struct {
	Cluster    string        `json:"cluster"`
	Node       string        `json:"node"`
	RunID      RunID         `json:"run_id"`
	Generation uint64        `json:"generation"`
	TTL        time.Duration `json:"ttl_ns"`
	// Quarantine and RenewOnly are until when the voter grants nothing, or
	// renewals only: an agent that restarts meanwhile is bound by it too.
	Quarantine Instant         `json:"quarantine_until,omitempty"`
	RenewOnly  Instant         `json:"renew_only_until,omitempty"`
	Promises   []PromiseRecord `json:"promises,omitempty"`
	Holds      []HoldRecord    `json:"holds,omitempty"`
	// Claimed is the highest epoch of any lease that this node had: one that it gave up may still be on the record of a
	// voter that was away, and the next must be above it, also within the same second of the wall clock.
	Claimed Epoch `json:"claimed,omitempty"`
}

// PromiseRecord is a voter's promise on one group; Holder is empty when the
// group is free and only Highest is remembered.
type PromiseRecord struct {
	Group   string `json:"group"`
	Holder  string `json:"holder,omitempty"`
	RunID   RunID  `json:"run_id,omitempty"`
	Epoch   Epoch  `json:"epoch,omitempty"`
	Highest Epoch  `json:"highest"`
	// Incarnation and Counter are the sequence of a request that the promise was
	// given for, not later than its first one in that run of the holder's agent:
	// what the holder said before cannot be about this promise.
	Incarnation uint64 `json:"incarnation,omitempty"`
	Counter     uint64 `json:"counter,omitempty"`
}

// HoldRecord is a lease that this node held.
type HoldRecord struct {
	Group string `json:"group"`
	Epoch Epoch  `json:"epoch"`
}
