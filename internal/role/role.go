package role

import (
	"errors"
	"time"
)

// MaxPosition bounds a position, in bytes (chosen by us: it travels with every
// state message; a database that has had three masters needs a hundred).
const MaxPosition = 4 << 10

// Errors that the agent tells apart.
var (
	// ErrNotNow: nothing is wrong that would not pass. Try again.
	ErrNotNow = errors.New("not now")
	// ErrLost: the lease went while a step was being taken.
	ErrLost = errors.New("the lease is not held any more")
	// ErrNotUndone: a failed handover has left the service read-only.
	ErrNotUndone = errors.New("could not be undone")
)

// Claim is the lease on the group as a role sees it.
type Claim struct {
	Epoch uint64
	// Forced: a person has asked for this node, whatever it lacks.
	Forced bool
	// Last is the newest that was known of the owner before, when the lease was won;
	// zero if nothing was. The role counts what is missing against it.
	Last Last
	// Held returns for how long the lease is certain from now on, or an error once
	// it is lost; 0 and no error while nothing is certain, as after a pause of the
	// machine. It is quick, and safe from any goroutine at any time, also long
	// after the claim has ended.
	Held func() (left time.Duration, err error)
}

// Leader is the node that a service is to follow.
type Leader struct {
	Node  string // empty: nobody is known
	Epoch uint64 // of its lease
}

// Observation is what a role has seen of its service on one node. It is gossiped as
// JSON: keys are added, never changed.
type Observation struct {
	At time.Time `json:"at"` // wall clock of the node
	// Down is why the service cannot be asked, empty if it can. It is set after
	// several failures in a row; the rest is then what was seen before.
	Down string `json:"down,omitempty"`
	// Position is everything that the service has applied.
	Position string `json:"position,omitempty"`
	// Received is Position with what has arrived and is not applied; empty if that
	// is nothing.
	Received string `json:"received,omitempty"`
	// Writable: others than administrators can write.
	Writable bool `json:"writable,omitempty"`
	// Following is the node whose changes it applies; an address if it is none of
	// the group's nodes; empty if it follows nobody.
	Following string `json:"following,omitempty"`
	// Connected: what it follows sends, as far as is known.
	Connected bool `json:"connected,omitempty"`
	// CurrentTo is the moment (wall clock of this node) up to which it has what its
	// leader had: it stands still while nothing can be known. Zero: never known.
	CurrentTo time.Time `json:"current_to,omitzero"`
	// LagMs is how far behind the leader it is; -1 if it cannot be known.
	LagMs int64 `json:"lag_ms"`
	// Broken is why it does not apply changes, and will not without help.
	Broken string `json:"broken,omitempty"`
	// Diverged is what it has that its leader lacks: it must be mended by a person.
	Diverged string `json:"diverged,omitempty"`
	// SemiSync says in a word whether commits wait for a replica, and for how many.
	// "" the service has no such thing, "off", "on", "fallen back" (asked for, and
	// not in force).
	SemiSync string `json:"semi_sync,omitempty"`
	// Warning is what a person should look at, though the role can go on.
	Warning string `json:"warning,omitempty"`
	// Version is the service's name and version, for people.
	Version string `json:"version,omitempty"`
}

// Has is Received, or Position where that is the same.
func (o Observation) Has() string {
	if o.Received != "" {
		return o.Received
	}
	return o.Position
}

// Lag is LagMs as a duration; ok is false if it is not known.
func (o Observation) Lag() (lag time.Duration, ok bool) {
	return time.Duration(o.LagMs) * time.Millisecond, o.LagMs >= 0
}

// Last is the newest that is known of an owner: who, and what it had.
type Last struct {
	Node     string    `json:"node,omitempty"` // empty: nobody ever
	Epoch    uint64    `json:"epoch"`
	Position string    `json:"position,omitempty"`
	At       time.Time `json:"at,omitzero"` // when the position was seen, by the owner's wall clock
}

// Newer reports whether l replaces m.
func (l Last) Newer(m Last) bool {
	if l.Epoch != m.Epoch {
		return l.Epoch > m.Epoch
	}
	return l.At.After(m.At)
}

// Peer is what is known of another node of the group.
type Peer struct {
	Alive    bool
	Eligible bool // as it says itself
	Observation
}

// Situation is what a role judges: one group on this node, at one moment.
type Situation struct {
	Node  string // this one
	Self  Observation
	Peers map[string]Peer // the group's other nodes
	Owner string          // who holds the group, as far as is known; empty: nobody
	// OwnerSeen is when somebody was last known to hold it (wall clock; Now while
	// somebody does). Zero: not since this agent started.
	OwnerSeen time.Time
	// Current is Self.CurrentTo at that time: a replica that connects to a master that is back is told at once that it lags by
	// nothing, before anything has come.
	Current time.Time
	// Waiting is since when nobody is known to hold it: from the start of this
	// agent, or from the loss of the owner, whichever is later.
	Waiting time.Time
	Last    Last
	Forced  bool // a person wants the group here
	Now     time.Time
}

// Verdict is what a role thinks of this node as the owner of its group.
type Verdict struct {
	Eligible bool
	// Failed: something does not work, as opposed to waiting for something. It
	// shows as a fault, and moves the group if this node holds it.
	Failed bool
	// Reason is why not; or, of an eligible node, what a person should know, such
	// as what would be lost. It may be empty.
	Reason string
	// Until is when to judge again if nothing happens before. Zero: no need.
	Until time.Time
}

// Missing is what one position lacks of another.
type Missing struct {
	Transactions uint64
	// Detail names them in the service's own terms, shortened. Empty if there are none.
	Detail string
}

// Event is something that happened, for the history.
type Event struct {
	Reason string // a few constant words
	Detail string
}

// Tell is what the agent gives a role at its making, so that it can tell what it
// sees. They are called from goroutines of the role, one call at a time each, and
// must not block.
type Tell struct {
	Observed func(Observation) // after each look at the service, some twice a second
	Event    func(Event)       // for the history
	// LetGo: the role found the claim of this epoch lost and has made the service
	// read-only, or is about to. An agent that holds the lease all the same asks the
	// voters, and takes the service over again.
	LetGo func(epoch uint64)
}
