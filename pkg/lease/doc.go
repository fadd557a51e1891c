// Package lease is the agreement of hbagent: which node may hold a group of
// floating addresses, decided by a majority of the configured voters, with no
// database, no log and no leader.
//
// The package is pure. A [Machine] is told what happened (a message, the
// passing of time, a wish of its owner) together with the time at which it
// happened, and answers with [Effect] values that the caller carries out in
// the order given. It opens no socket, starts no goroutine, reads no clock and
// imports only the standard library, so that the same code runs in the agent,
// in scripted scenarios (testdata) and in the simulator.
//
// # Roles
//
// A node plays up to three parts for each group, and one Machine plays them
// all:
//
//   - a voter promises a group to one node for one ttl (voter.go);
//   - a candidate asks the voters for a group that is free (candidate.go);
//   - a holder renews its lease every ttl/3 and counts how long it is valid
//     (holder.go).
//
// A lease passes from holder to candidate by running out, by a release, or by
// a transfer with a ticket (transfer.go). Two machines and a witness are the
// special case of witness.go.
//
// # Time
//
// All instants are readings of CLOCK_BOOTTIME, which counts while the machine
// is suspended and is never set. The wall clock is used for one thing only: a
// new epoch is at least the wall clock in seconds, so that epochs grow even
// when every voter has lost its memory.
//
// A holder counts from before the request left; a voter counts from when the
// request arrived. The margin (ttl/10 by default) covers the difference of two
// clocks' rates over one ttl, and the delay between a deadline and the moment
// at which the kernel acts on it.
//
// # Invariants
//
//  1. At any instant at most one node is within the validity of a lease on a
//     group.
//  2. A voter's promise outlives the validity of the holder that counted it.
//  3. A node shuts its gate, and deletes its record for resuming, before it
//     sends a release or a transfer.
//  4. The epochs of established leases never go back.
//  5. No input makes the machine allocate without bound or panic.
//
// Local state that breaks one of them is a bug or a broken machine: the
// Machine panics with a [*Violation], and the owner must shut its gates and
// exit. A peer's message never does that: it is rejected, named ([Reason]) and
// counted.
//
// # Concurrency
//
// A Machine belongs to one goroutine. Nothing in this package locks.
package lease
