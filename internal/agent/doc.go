// Package agent is the daemon: it connects the agreement (pkg/lease) with the
// network (pkg/cluster), the machine's addresses (pkg/vip), the checks
// (pkg/checks), the hooks and the control socket.
//
// # One owner
//
// One goroutine, the loop, owns all state: the lease machine, what is known of
// the peers and the checks, and what each group is doing. Everything else is a
// task that tells the loop what happened, through one of two bounded channels:
//
//   - lease messages: the newest is dropped when the channel is full, and
//     counted; the sender repeats what matters;
//   - everything else (a check changed, a peer's state came, somebody asks on
//     the socket): the sender waits until there is room, or until it is
//     cancelled. Nothing in the loop waits for a task, so there is room soon.
//
// # What the loop does, in order
//
//  1. Look at the clock. A late wake-up means that the process stood still:
//     gates are shut first, and the voters asked second.
//  2. Hand the event to the lease machine and carry out its effects, in the
//     order given. Addresses and the record are written synchronously: the
//     next effect may rest on them.
//  3. Every half second, look at what changes by time alone.
//  4. If anything changed that matters to the policy, judge this node's
//     eligibility, decide for each group (Decide, a pure function), and tell
//     the lease machine.
//  5. Publish this node's state if it differs from what was published.
//
// An effect that cannot be carried out (a gate that does not shut, a promise
// that cannot be written) ends the loop: every group is shut, and the process
// exits with an error. So does a broken invariant, and a task that fails.
package agent
