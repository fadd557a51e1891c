// Package sim runs whole clusters of real lease machines under one seeded
// world, on one goroutine and in virtual time, and looks for two owners after
// every event.
//
// The code under test is pkg/lease as it ships. What the world fakes is what
// surrounds it: clocks that run up to 2 % fast or slow and disagree on the
// wall time, a network that drops, delays, duplicates, reorders and cuts in one
// direction, processes that stall in the middle of a batch of effects, crashes,
// restarts with and without memory, and the kernel's gate, which shuts by
// itself at its deadline in its own machine's clock. Every message passes
// through lease.Encode and lease.Decode.
//
// One number decides everything: the shape of the cluster, the faults, every
// delay and every choice. Run with the same seed and Options is the same run,
// event for event; Report.Hash shows it. A failure names its seed, and
//
//	HBAGENT_SIM_SEED=17 go test ./internal/sim -run TestSimulation -v
//
// prints its whole trace.
//
// # What is checked
//
// After every event, in world time:
//
//  1. at most one node's gate is open for a group (invariant 1 of pkg/lease);
//  2. whoever opens or renews has a quorum of voters behind it, each of which
//     has promised it the group, or grants nothing, or is down (invariant 2);
//  3. a release, transfer or ticket leaves only after the gate is shut and the
//     record no longer claims the lease (invariant 3);
//  4. epochs grow each time a gate is opened, except when the last owner opens
//     the same one again (invariant 4). A voter that has lost its memory in
//     between is the wall clock's business, and excused;
//  5. nothing panics, Machine.Check finds nothing, and after a Tick the next
//     deadline lies ahead (invariant 5).
//
// Then every fault ends, every node is up and eligible, and each group must
// have an owner within 6 ttl of the last old message's arrival, and keep it for
// 5 ttl more. A cluster that is safe because it never does anything fails here.
//
// # Two machines and a witness
//
// Two owners at once are possible there when the wire between the two machines
// is cut while both still reach the witness: a documented weakness. The world
// therefore cuts the wire only together with one machine's way to the witness.
// Datagrams of the agents may be lost in any pattern (a firewall, say) while
// ARP passes.
package sim
