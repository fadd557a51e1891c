package agent

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/role"
	"github.com/hbagent/hbagent/pkg/checks"
)

// Cause is why a group came to its owner. The values are published, and kept in
// the history; they are never reused.
type Cause string

// The causes.
const (
	CauseStart      Cause = "start"      // nobody had it
	CauseDeadOwner  Cause = "dead-owner" // the owner's lease ran out
	CauseReleased   Cause = "released"   // the owner gave it up
	CauseHealth     Cause = "health"     // the owner failed a check
	CauseSwitchover Cause = "switchover" // a person asked for it
	CauseFailback   Cause = "failback"   // back to a preferred node
	CauseStop       Cause = "stop"       // the owner's agent was stopped
	CauseConfig     Cause = "config"     // the owner's config no longer lists it
	// CauseMaintenance: the owner was told to stay off.
	CauseMaintenance Cause = "maintenance"
	CauseResume      Cause = "resume" // the same owner, after a restart of its agent
)

// causes are all of them, for who counts them.
var causes = []Cause{
	CauseStart, CauseDeadOwner, CauseReleased, CauseHealth, CauseSwitchover, CauseFailback, CauseStop, CauseConfig, CauseMaintenance, CauseResume,
}

// Fitness is whether a node may own a group, and if not, why.
type Fitness struct {
	Eligible bool
	Reason   string    // of not being eligible
	Since    time.Time // eligible (or not) since then
}

// Condition is what Judge looks at: one group on this node, at one moment.
type Condition struct {
	Group    config.Group
	Node     string
	Checks   map[string]checks.State // of this node, by name
	LinkDown string                  // interface of the group without a carrier, empty if it has one
	OpenErr  string                  // the addresses could not be added lately, or the role not taken over
	// Passes tells that OpenErr is nothing that does not work: it is to be tried again.
	Passes bool
	// Role is what the group's role thinks of this node, nil where there is none.
	Role     *role.Verdict
	Stopping bool
	// Maintenance is why this node was told to stay off, empty if it was not.
	Maintenance string
	// FailedAt is when this node was last found unfit by a check, the link or
	// an error, zero if never: Group.Hold counts from then.
	FailedAt time.Time
	Now      time.Time
	// Forced: a person wants the group here in spite of checks and hold.
	Forced bool
}

// Judge decides whether this node may own a group. failed tells whether it is
// something about the node that does not work, as opposed to waiting for hold.
// It is pure.
func Judge(c Condition) (eligible, failed bool, reason string) {
	if c.Stopping {
		return false, false, "the agent is stopping"
	}
	if !slices.Contains(c.Group.Nodes, c.Node) {
		return false, false, "not among the group's nodes"
	}
	if c.Maintenance != "" {
		return false, false, inMaintenance(c.Maintenance)
	}
	if c.OpenErr != "" {
		return false, !c.Passes, c.OpenErr
	}
	if c.LinkDown != "" {
		return false, true, "interface " + c.LinkDown + " has no link"
	}
	if !c.Forced {
		if failed, reason := judgeChecks(c); reason != "" {
			return false, failed, reason
		}
	}
	if c.Role != nil && !c.Role.Eligible {
		return false, c.Role.Failed, c.Role.Reason
	}
	return true, false, ""
}

// waitsForHold begins the reason of a node that nothing but hold speaks against.
const waitsForHold = "healthy again, but not yet for "

// judgeChecks returns why the checks speak against this node, and whether that is
// because something does not work; the reason is empty if they do not.
func judgeChecks(c Condition) (failed bool, reason string) {
	for _, name := range c.Group.Checks {
		st, ok := c.Checks[name]
		switch {
		case !ok || st.Status == checks.Pending:
			return false, "check " + name + " has not answered yet"
		case !st.Required:
		case st.Status == checks.Failing:
			return true, failing(name, st.Message)
		}
	}
	if left := c.Group.Hold - c.Now.Sub(c.FailedAt); !c.FailedAt.IsZero() && left > 0 {
		return false, waitsForHold + c.Group.Hold.String()
	}
	return false, ""
}

// Waits reports whether nothing but hold speaks against a node that Judge finds neither eligible nor failed.
func (c Condition) Waits() bool {
	c.FailedAt = time.Time{}
	eligible, _, _ := Judge(c)
	return eligible
}

func inMaintenance(reason string) string { return "in maintenance: " + reason }

func failing(check, message string) string {
	if message == "" {
		return "check " + check + " fails"
	}
	return "check " + check + " fails: " + message
}

// Peer is what a decision needs to know of another node.
type Peer struct {
	Alive   bool
	Since   time.Time // alive (or not) since then
	Fitness Fitness
	// Behind is how much its service lacks of what another candidate's has, in the
	// role's own count; 0 without a role.
	Behind uint64
}

// Situation is what Decide looks at: one group, at one moment.
type Situation struct {
	Group config.Group
	Node  string // this node
	Self  Fitness
	// Unfit tells that Self is not eligible because something does not work,
	// which is what moves a group; waiting for hold does not.
	Unfit bool
	// Waits tells that nothing but Group.Hold speaks against Self: it works, and has not for long.
	Waits bool
	// Off tells that a person wants this node to own nothing.
	Off bool
	// Able tells that nothing but checks speaks against this node: it could
	// serve the addresses.
	Able   bool
	Behind uint64 // as Peer.Behind, of this node
	Peers  map[string]Peer
	Holds  bool   // this node holds the lease
	Holder string // who does, as far as this node knows
	Cause  Cause  // why this node has it
	// HeldSince is when this node got it.
	HeldSince time.Time
	// Moves counts the moves for health within Group.MaxMoves.Per.
	Moves int
	Now   time.Time
}

// Decision is what this node does about a group.
type Decision struct {
	Stand  bool   // ask for the group when it is free
	Rank   int    // how many better candidates there are
	MoveTo string // hand it to this node, now
	Cause  Cause  // of the move
	Reason string // of the move, or of staying in spite of a fault
}

// Decide is the failover policy. It is pure.
func Decide(s Situation) Decision {
	d := Decision{Stand: s.Self.Eligible, Rank: rank(s)}
	if !s.Holds {
		return lastResort(s, d)
	}
	if s.Off {
		if target, _ := best(s); target != "" {
			d.MoveTo, d.Cause, d.Reason = target, CauseMaintenance, s.Self.Reason
		}
		return d
	}
	if s.Unfit {
		return leave(s, d)
	}
	if s.Group.Failback {
		if better := preferred(s); better != "" {
			d.MoveTo, d.Cause = better, CauseFailback
			d.Reason = better + " is preferred and healthy again"
		}
	}
	return d
}

// lastResort lets a node have the group that is not eligible, where nobody else could take it. The last owner that
// handed it over stays where it was; one that works and waits for hold is better than none: hold is there to
// keep a group from going to and fro, and not to leave it without an owner. Any other candidate comes first.
func lastResort(s Situation, d Decision) Decision {
	if d.Stand {
		return d
	}
	switch {
	case s.Able && s.Unfit && s.Holder == s.Node:
		if target, _ := best(s); target != "" {
			return d
		}
	case s.Waits:
		for _, n := range s.Group.Nodes {
			// The present holder is none: the question comes up when it is gone.
			if p := s.Peers[n]; n != s.Node && n != s.Holder && p.Alive && p.Fitness.Eligible {
				return d
			}
		}
	default:
		return d
	}
	d.Stand, d.Rank = true, len(s.Group.Nodes)
	return d
}

// leave decides about a holder that does not work.
func leave(s Situation, d Decision) Decision {
	target, why := best(s)
	switch {
	case target == "":
		// The same fate everywhere: moving would help nobody.
		d.Reason = "stays here: " + why
	case s.Group.MaxMoves.Count > 0 && s.Moves >= s.Group.MaxMoves.Count:
		d.Reason = fmt.Sprintf("stays here: moved %d times in %v already (max_moves)", s.Moves, s.Group.MaxMoves.Per)
	default:
		d.MoveTo, d.Cause, d.Reason = target, CauseHealth, s.Self.Reason
	}
	return d
}

// best returns the node that should take the group over, or why there is none: the
// first in the order of preference of those whose service lacks least.
func best(s Situation) (node, why string) {
	var reasons []string
	var least uint64
	for _, n := range s.Group.Nodes {
		if n == s.Node {
			continue
		}
		p := s.Peers[n]
		switch {
		case !p.Alive:
			reasons = append(reasons, n+" is down")
		case !p.Fitness.Eligible:
			reasons = append(reasons, n+": "+p.Fitness.Reason)
		case node == "" || p.Behind < least:
			node, least = n, p.Behind
		}
	}
	if node != "" {
		return node, ""
	}
	if len(reasons) == 0 {
		return "", "no other node may own it"
	}
	return "", strings.Join(reasons, "; ")
}

// preferred returns a node before this one in the order of preference to which
// the group should return. It has been up for hold: one that boots again and
// again must not draw the group to and fro. After a person moved the group, only
// a node that has become eligible since counts: what was asked for by hand is not
// undone at once. Nor after a restart of this agent, which does not remember who
// moved it, and must move nothing by itself.
func preferred(s Situation) string {
	for _, n := range s.Group.Nodes {
		if n == s.Node {
			return ""
		}
		p := s.Peers[n]
		if !p.Alive || !p.Fitness.Eligible || s.Now.Sub(p.Since) < s.Group.Hold {
			continue
		}
		// A node that is entering maintenance is eligible until its last group has left it.
		byHand := s.Cause == CauseSwitchover || s.Cause == CauseMaintenance || s.Cause == CauseResume
		if byHand && !p.Fitness.Since.After(s.HeldSince) {
			continue
		}
		return n
	}
	return ""
}

// rank counts the better candidates: those whose service lacks less, and among equals
// those that are preferred. The present holder is none: the question comes up when it
// is gone.
func rank(s Situation) int {
	r, preferred := 0, true
	for _, n := range s.Group.Nodes {
		if n == s.Node {
			preferred = false
			continue
		}
		p := s.Peers[n]
		if n == s.Holder || !p.Alive || !p.Fitness.Eligible {
			continue
		}
		if p.Behind < s.Behind || preferred && p.Behind == s.Behind {
			r++
		}
	}
	return r
}
