package control

import "time"

// PlanRequest says what to assume, all of it at once. Empty: each node goes down in turn.
type PlanRequest struct {
	Down []string    `json:"down,omitempty"` // nodes
	Fail []PlanCheck `json:"fail,omitempty"`
}

// PlanCheck is a check on a node.
type PlanCheck struct {
	Check string `json:"check"`
	Node  string `json:"node"`
}

// Plan is what would happen, as one node knows the cluster.
type Plan struct {
	Cluster string     `json:"cluster"`
	Node    string     `json:"node"` // who answers
	At      time.Time  `json:"at"`
	Cases   []PlanCase `json:"cases"`
}

// PlanCase is what is assumed, and what follows.
type PlanCase struct {
	Down   []string    `json:"down"`
	Fail   []PlanCheck `json:"fail"`
	Voters int         `json:"voters"` // configured
	Needed int         `json:"needed"`
	Left   int         `json:"left"`  // voters that would be heard
	Notes  []string    `json:"notes"` // what it rests on, or what has no effect
	Groups []PlanGroup `json:"groups"`
}

// A PlanOutcome is what would become of a group.
type PlanOutcome string

// What would become of a group.
const (
	PlanStays  PlanOutcome = "stays"
	PlanMoves  PlanOutcome = "moves" // also from nobody to a node
	PlanNobody PlanOutcome = "nobody"
)

// GapOpen is the gap of a group that nobody would own until something is mended.
const GapOpen = -1

// PlanGroup is one group in one case.
type PlanGroup struct {
	Name      string      `json:"name"`
	Owner     string      `json:"owner"` // now; empty: nobody
	After     string      `json:"after"` // then; empty: nobody
	Outcome   PlanOutcome `json:"outcome"`
	Cause     string      `json:"cause"` // of a move
	Reason    string      `json:"reason"`
	Gap       string      `json:"gap"`                  // how long the address would be gone, in words
	GapMs     int64       `json:"gap_ms"`               // roughly; [GapOpen]: until something is mended
	NextOwner string      `json:"next_owner,omitempty"` // who would be next after that
}

// Unowned reports whether a group would have no owner in one of the cases.
func (p Plan) Unowned() bool {
	for _, c := range p.Cases {
		for _, g := range c.Groups {
			if g.Outcome == PlanNobody {
				return true
			}
		}
	}
	return false
}
