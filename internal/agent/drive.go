package agent

import "github.com/hbagent/hbagent/pkg/lease"

// What internal/sim needs of the policy besides Judge and Decide, to drive it
// without an agent.

// BestTarget returns the first node that could take the group over, or why there
// is none.
func BestTarget(s Situation) (node, why string) { return best(s) }

// CauseOf turns how a lease was won into why the group came here; last is the
// last owner that was known, if any.
func CauseOf(e lease.Open, last string) (Cause, string) { return causeOf(e, last) }

// Note is what a ticket carries to the new owner, as CauseOf understands it.
func Note(cause Cause, reason string) string { return note(cause, reason) }
