// Package role has the words that the agent and a role share. A role is what a
// group does on its node beside having addresses: a database server is the
// master where the group is active, and a replica everywhere else.
//
// The agent declares the interface (agent.Role) and knows nothing of databases; a
// role, internal/role/mysql for one, knows nothing of leases. This page is the
// contract between the two. It is meant to be enough to write another role, a
// program that is run for each step, say.
//
// # Who calls what, and from where
//
// Judge, Follow and Missing are called from the agent's loop: they do no I/O and
// do not block. Everything else may take as long as its context allows, and the
// agent calls it from a goroutine of its own. Every call is bounded by its
// context, also if the service accepts and never answers.
//
// Prepare, Activate, HandOver, CatchUp and Deactivate do not run at the same time:
// the role makes a second one wait. Deactivate does not wait for the others; it
// ends them first. All of them are idempotent.
//
// # The order of a takeover
//
//  1. Judge says that this node is eligible; the agent asks for the lease, and
//     wins it. The gate stays shut.
//  2. Prepare: apply everything received, stop following. The lease is being
//     renewed meanwhile: it may take minutes.
//  3. Activate: make the service writable.
//  4. The agent opens the gate. Only now do clients arrive.
//
// If 2 or 3 fails, the agent calls Deactivate and gives the lease back; the error
// is why the node is not eligible for a while. A failure is never the last word:
// the node tries again. errors.Is(err, ErrNotNow) means that trying again may help
// by itself; any other error is shown as a fault.
//
// # The claim
//
// Claim.Held tells how much longer the lease is certain, and an error once it is
// lost. A role looks at it immediately before every step that another owner must
// not see, and gives the deadline to the service itself where the service can
// hold it: a statement that sits in the socket of a frozen server is carried out
// when it thaws. Held is kept by the role until Deactivate: a role that finds its
// claim lost deactivates by itself, whether it was told to or not.
//
// # Letting go
//
// Deactivate is called at the start of the agent, when the lease was lost, after a
// transfer, and at the stop. The gate is shut before. From the moment it is called
// the role wants the service read-only, and its Run keeps trying when Deactivate
// has run out of time. Exceptions: an agent that resumes its own lease after a
// restart calls Prepare and Activate instead (both find nothing to do), and a
// pause that is yet to be confirmed by the voters changes nothing but the gate.
//
// # A planned move
//
//  1. On the owner, HandOver: no more writes, those under way end or are ended,
//     then catchUp is called with the position that the target must have. The
//     agent carries it to the target, whose CatchUp returns when it has it.
//  2. If HandOver returns nil, the service is read-only, and the target has
//     everything: the agent transfers the lease, and calls Deactivate, which finds
//     nothing left to do. If the transfer is refused, it calls Activate: that is
//     the way back.
//  3. If HandOver returns an error, it has made the service writable again, as far
//     as the claim still holds. errors.Is(err, ErrNotUndone) says that it has not:
//     the agent then goes on as after a failed Activate.
//  4. The target wins the lease, and goes through Prepare and Activate as ever.
//
// A move because this node fails a check goes the same way, as long as the service
// answers: if HandOver fails, the group stays, and the agent tries again after a while;
// a failing check is no reason to lose what only this service has. If Observation.Down
// is set there is nothing to hand over: the agent transfers at once, and whatever was
// not on the target by then is counted when it comes up.
//
// # Following
//
// Follow tells who the owner is, each time that is known and has changed. It is a
// wish; Run works on it until it is so. An empty leader is no reason to stop
// following the last one.
//
// # What is gossiped and kept
//
// Run calls the agent's Observed function after each look at the service. The
// agent gossips that Observation; the owner's position among it is kept by every
// node, also by those that have no such service, as Last: in memory, in the state
// directory (at most once a second, without fsync; with fsync at a change of
// owner and at the stop), and in gossip, where the one with the larger epoch, then
// the later At, replaces the other. After a power cut of the whole site, Last is
// what keeps a replica that missed the end from becoming the master before the
// old one has booted.
//
// A position is a text that only the role can read. It is at most MaxPosition
// bytes.
package role
