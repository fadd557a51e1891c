// Package sim runs whole clusters of real lease machines and the real failover
// policy under one seeded world, on one goroutine and in virtual time, and looks
// for two owners after every event.
//
// The code under test is pkg/lease as it ships, and Judge and Decide of
// internal/agent. policy.go and gossip.go gather what those look at, as the
// agent's loop does: checks, eligibility, hold, failback, max_moves, shared fate,
// planned switchovers, orderly stops. What the world fakes is what surrounds
// that: clocks that run up to 2 % fast or slow and disagree on the wall time,
// which is set while they run; a network that drops, delays (by several ttl),
// duplicates, reorders and cuts, in one direction or between two nodes that both
// still reach a third; processes that stall in the middle of a batch of effects
// or of a transaction with the kernel; machines that stand still; crashes,
// restarts with and without memory; voter lists that change one node at a time,
// by reload or restart, gated as internal/agent gates both; and the kernel's
// gate. Every message passes through lease.Encode and lease.Decode.
//
// One number decides everything: the shape of the cluster, the faults, every
// delay and every choice. Run with the same seed and Options is the same run,
// event for event; Report.Hash shows it. A failure names its seed, and
//
//	HBAGENT_SIM_SEED=17 go test ./internal/sim -run TestSimulation -v
//
// prints its whole trace. `make sim SECONDS=1000000` is the long run.
//
// # What is checked
//
// After every event, in world time:
//
//  1. at most one node answers for a group (invariant 1 of pkg/lease);
//  2. whoever opens or renews has a quorum of voters behind it, each of which
//     has promised it the group, or grants nothing, or is down; and the kernel's
//     element ends no later than the lease (invariant 2);
//  3. a release, transfer or ticket leaves only after the gate is shut and the
//     record no longer claims the lease (invariant 3);
//  4. epochs grow each time a gate is opened, except when the last owner opens
//     the same one again, and no gate is renewed at a lower one (invariant 4). A
//     voter that has lost its memory in between is the wall clock's business,
//     and excused;
//  5. nothing panics, Machine.Check finds nothing, after a Tick the next
//     deadline lies ahead, and the policy comes to rest (invariant 5).
//
// Then every fault ends, every node is up and healthy, and each group must have
// an owner within 6 ttl of the last old message's arrival, and keep it for 5 ttl
// once failback has had its turn. What the policy may make everybody wait for is
// added: the longest hold, 10 ttl after the kernel refused to open twice, 4 ttl
// if the voter list has changed. A cluster that is safe because it never does
// anything fails here.
//
// # The kernel's gate
//
// An element per group runs out by itself, in CLOCK_MONOTONIC, and its timeout is
// rounded down to jiffies of 4 ms. Opening and renewing are three steps, and the
// agent may be stalled between any two: add a token that lives for min(30 ms,
// ttl/5); read the clock; in one transaction delete the token, delete the old
// element (when renewing), add the element. The kernel refuses the whole where
// something to be deleted has run out, and the agent asks its voters again
// (Machine.Confirm).
//
// The element may be added up to a token's life after the clock was read. Below a
// ttl of half a second that is more than the margin leaves beside a clock error
// of 2 % on either side, so the timeout must be what is left of the lease minus
// the token's life. The simulator finds two owners where it is not.
//
// # Machines that stand still
//
// Where a process or a machine stands still and its clocks run on, the kernel's
// deadline is over in time: no violation is excused. Where clocks stand, two
// machines may answer after the machine goes on, and the world excuses that for
// a gate whose lease can be from before the pause, that is for at most ttl -
// margin in the clock of the machine that stood. In a network that works,
// TestClocksThatStand measures and bounds it:
//
//	pause                        clocks              two owners until              mean      worst     bound
//	no CPU, frozen processes     all run             never                         0         0         0
//	suspend                      MONOTONIC stands    the agent next wakes up       0.04 ttl  0.24 ttl  1/3 + 1/50 ttl
//	paused from outside          all stand           the later owner is heard, or  0.06 ttl  0.30 ttl  1/3 + 1/50 ttl
//	                                                 a majority has refused
//
// A suspended machine's kernel does not know better: nftables counts jiffies. A
// machine that was paused from outside also believes its lease valid, and says so
// (Entry.Valid): if the later owner has let go meanwhile, voters renew it below
// the later epoch. There is one owner then, but the epoch has gone back
// (Report.Revived).
//
// # Deliberate mistakes
//
// TestBreakages makes each of the mistakes of break.go and mistake.go, one at a
// time, and must find two owners within a number of seeds. Those that would be
// made inside pkg/lease are made by what a node gets to read. These do no harm
// alone, because another layer makes them good (TestHarmless), and are found when
// that is taken away as well:
//
//	mistake                                what makes it good                        found together with
//	sequence numbers are not checked       a promise names holder, run and epoch,    the epoch of a release is
//	                                       and an epoch is claimed once              not checked
//	a ticket is used twice by its target   voters compare it with their promise      voters accept a used one
//	the kernel renews an element that has  the token; and the lease is valid by      the token of renewals is
//	run out                                itself, whatever the gate was             left out
//	a boot resumes a complete record       promises are in it, and the voters        the record on the disk is
//	                                       confirm                                   some writes old
//
// # Two machines and a witness
//
// Two owners at once are possible there when the wire between the two machines
// is cut while both still reach the witness: a documented weakness. The world
// therefore cuts the wire only together with one machine's way to the witness.
// Datagrams of the agents may be lost in any pattern (a firewall, say) while
// ARP passes.
//
// A machine that goes on after its clocks stood is refused by nobody there: it
// keeps its lease by the witness until it hears its peer, or until one of the two
// hears the other answer for the address. The world excuses that for 2 ttl after
// the pause, not for the ttl of three voters.
package sim
