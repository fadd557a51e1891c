// Package vip makes this machine speak for floating addresses while it holds the lease on them, and not a moment
// longer. It knows nothing of leases but their deadline, an instant of CLOCK_BOOTTIME.
//
// # Order of operations
//
// Opening: the address is recorded in the run directory, the gate is opened, the addresses are added, and they are
// announced. A crash between any two of these leaves nothing in the kernel that the record does not name
// and the kernel does not end by itself.
//
// Reconfiguring: what goes is deleted, the gate learns the new list, what comes is added.
//
// Shutting: the hold is closed (from here on nothing is added or sent, whatever other goroutines are at), the
// gate is shut, the addresses are deleted, the record forgets them. When Shut has returned the caller may
// tell others that they can have the group.
//
// Renewing: the gate is renewed in the caller's goroutine. The lifetimes of addresses are refreshed in the
// background by Run, at most once a second, because a netlink request may wait for the kernel's
// network lock (the end of many containers holds it for 100 ms) longer than a lease may wait.
//
// # Layers
//
//  1. The Gate ends the group at the deadline, in the kernel, with the process stopped or dead: NFTGate does, to
//     some milliseconds. AddressGate is none, for kernels without nf_tables.
//  2. Addresses carry a lifetime (valid_lft). The kernel deletes them when nobody refreshes it.
//  3. Run withdraws a group whose deadline passed without Renew or Shut: the owner hangs, this package does not.
//  4. New and Cleanup remove what a dead predecessor recorded.
//
// Announcements are no layer, but must not outlive the lease either: the deadline is looked at before each frame,
// under the lock that Shut takes first.
//
// # The gate in the kernel
//
// NFTGate keeps three tables named hbagent. `nft list table inet hbagent` shows them with a comment at everything.
//
//   - inet: packets to a floating address before destination NAT (prerouting, -350), and from one before (output,
//     -350) and after source NAT (postrouting, 350). They are dropped if they come or go by the group's interface,
//     or if the address is on this machine. So a standby may be a client of the address, and the router of
//     clients. IPv6: also advertisements about the address, and questions whether it is in use.
//   - arp: ARP messages with the address as sender.
//   - netdev, where the kernel has egress hooks (5.16): frames that programs build themselves, by what stands in
//     the frame. Without it a program with CAP_NET_RAW can still send them; the kernel's own are stopped.
//
// A verdict map leads from the address to the chain of its group, and that lets pass while the group's set
// "live-GROUP" has an element for the protocol. The elements (one for IPv4, one for IPv6) carry the timeout, so a
// renewal costs the same for one address and for a thousand.
//
// Opening and renewing take two transactions. The first adds a token that lives for 30 ms (a fifth of the ttl where that is
// less). Then the clock is read. The second transaction deletes the token, deletes the old elements when
// renewing, and adds new ones with the time that is left. If this machine stood still in between for longer than the
// token, or than the old elements, these are not there to be deleted, and the kernel refuses all of it. So no
// timeout is computed from a clock that was read more than a token ago, and what has run out is never renewed. A
// stall within the kernel, after it looked at the token, is noticed right after the transaction, which is then repeated.
// All tables are in one transaction, and all groups of a renewal; the kernel names the elements that are missing, and
// the transaction is repeated without their groups.
//
// The kernel counts timeouts in clock ticks (1 to 10 ms) and rounds down; one tick is taken off for the tick being
// late. See timing. The token may make the gate late by its own length, for which a holder's margin of ttl/10 is
// there; what goes beyond half of it (a ttl below 600 ms) is taken off as well.
//
// Where the kernel has both (6.9), the tables have an owner and persist: nobody else can change them, they
// outlive the agent, and the next one replaces them. Never an owner alone: such a table goes with its process, and
// opens the gate. Without an owner others can flush them (`nft flush ruleset`): that is heard of, or seen once
// a second, or found by the next renewal. Then the addresses go, the tables are built with everything shut, groups
// whose lease is valid are opened, and their addresses come back; events GateLost and GateRestored. If the agent
// hangs at that moment too, the lifetimes of the addresses are all there is.
//
// A restart replaces the tables in one transaction, in which groups that resume stay live until the deadline that
// the kernel had for them; the others are shut. Reconfigure does the same. Close removes the tables if no address of
// ours is left, and leaves them to the successor or to Cleanup otherwise.
//
// Not covered: a bridge as the group's interface, with bridge-nf-call-iptables on, and machines behind that bridge which
// talk to the address (their frames look routed); clients that are routed through a standby by another interface and that
// a NAT rule of the standby sends to a container of its own; flows that a flowtable forwards past the rules; raw IPv6 frames of a program that calls them something else.
//
// # Time arithmetic
//
// valid_lft counts whole seconds, and the kernel removes an address up to 20 ms before its end and up to 1.25 s
// after it (the sweep runs once a second at most and shares wake-ups).
//
// Behind a gate (Backstop), with left = deadline - now at the refresh:
//
//	valid = ceil(left + 1.25 s)
//
// 1 s because a refresh is at most once a second, so that the kernel may not know of the renewals of the last
// second, and 0.25 s for the early sweep and for ourselves. If a renewal moves the deadline beyond what the
// kernel knows all the same (a first lease was short), the refresh does not wait. So the address never
// goes while the lease is renewed. When nobody renews, it is gone at
//
//	deadline + 1.25 s (slack) + 1 s (rounding up) + 1.25 s (sweep) = deadline + 3.5 s
//
// at the latest: for a lease of 0.9 ttl, ttl + 3.5 s after the last renewal, and for a ttl of 1 s, 4.25 s after it
// (ceil(2.15) + 1.25).
//
// Without a gate (Sole) the address itself has to be gone in time:
//
//	valid = floor(left - 1.3 s)
//
// 1.25 s for the sweep, and 50 ms for the request to reach the kernel; a request that took longer is repeated, and
// after three times the address is deleted. That leaves 3 s of 4.5 s with a ttl of 5 s, and nothing at all
// with a ttl below 2.6 s; MinSoleTTL is the shortest that works.
//
// A machine that stalls between reading the clock and the request can still give an address a fresh lifetime
// late. It is noticed right after the request, and the address deleted; NFTGate refuses it in the kernel.
//
// # Addresses
//
// They are added as /32 and /128 with noprefixroute, IPv6 with nodad, all with a preferred lifetime of 0
// (deprecated): IPv6 never takes them as a source address (RFC 6724 section 5 rule 3). For IPv4 the kernel has
// no such rule; being a /32 and added last does it there. Deleting names the interface, the address and the
// full length, so the same address in another length, by somebody else, stays. A /32 that somebody else put there
// by hand is taken over: the address is managed, and two kinds of ownership cannot be told apart.
//
// While a group is open, an address that somebody deletes is put back at once, and so are all when the interface
// is set up again or made anew under its name. Reports from the kernel are only hints to list and compare,
// so that a lost one (ENOBUFS) is no special case.
//
// # Announcements
//
// IPv4: gratuitous ARP, as a request (RFC 5227 section 2.3) and as a reply (RFC 5944 section 4.6). IPv6: an
// unsolicited neighbour advertisement with the override flag to all nodes (RFC 4861 section 7.2.6), with the router
// flag on a router. To everybody, then by unicast to the gateway and to neighbours in the kernel's table. At
// once, 1.1 s apart for five seconds, then every 60 s; again after link-up, Reannounce and Defend.
//
// Another machine's claim on a held address is an event and no more. The caller confirms its lease first, and
// then calls Defend, or shuts the group.
//
// # Handing over without breaking connections
//
// Drain is Shut for a group whose TCP connections go on: nothing speaks for the group any more when it returns,
// its addresses are on loopback, and a timed element of its own keeps the gate open for TCP. Steer, on the node that
// takes over, sends what is not its own back to the node that drains (`fwd` in a netdev ingress chain), until a
// timed element ends. Both have nf_tables tables of their own. docs/handover.md follows a packet.
//
// # Sources
//
// RFC 826 (ARP), RFC 5227 (probe, announcement, conflict), RFC 5944 section 4.6 (gratuitous replies), RFC 4861 and
// RFC 4862 (neighbour discovery, duplicate detection), RFC 6085 (multicast in unicast frames), RFC 6724 (source
// addresses), RFC 5737 and 6666 (addresses for the self-test); Linux net/netfilter/nf_tables_api.c, nft_set_hash.c
// and nfnetlink.c (transactions, timeouts, owners), net/ipv4/devinet.c, net/ipv6/addrconf.c (lifetimes), net/ipv4/arp.c (arp_is_garp),
// net/core/neighbour.c (locktime); rtnetlink(7), packet(7), capabilities(7).
package vip
