// Package vip makes this machine speak for floating addresses while it holds the lease on them, and not a moment
// longer. It knows nothing of leases but their deadline, an instant of CLOCK_BOOTTIME.
//
// # Order of operations
//
// Opening: the address is recorded in the run directory, the gate is opened, the addresses are added, and they are
// announced. A crash between any two of these leaves nothing in the kernel that the record does not name
// and the kernel does not end by itself.
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
//  1. The Gate ends the group at the deadline, in the kernel, with the process stopped or dead. AddressGate is
//     none; an nftables gate implements the same interface, and GroupSetter if it maps addresses itself.
//  2. Addresses carry a lifetime (valid_lft). The kernel deletes them when nobody refreshes it.
//  3. Run withdraws a group whose deadline passed without Renew or Shut: the owner hangs, this package does not.
//  4. New and Cleanup remove what a dead predecessor recorded.
//
// Announcements are no layer, but must not outlive the lease either: the deadline is looked at before each frame,
// under the lock that Shut takes first.
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
// late. It is noticed right after the request, and the address deleted; a gate refuses it in the kernel.
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
// # Sources
//
// RFC 826 (ARP), RFC 5227 (probe, announcement, conflict), RFC 5944 section 4.6 (gratuitous replies), RFC 4861 and
// RFC 4862 (neighbour discovery, duplicate detection), RFC 6085 (multicast in unicast frames), RFC 6724 (source
// addresses); Linux net/ipv4/devinet.c, net/ipv6/addrconf.c (lifetimes), net/ipv4/arp.c (arp_is_garp),
// net/core/neighbour.c (locktime); rtnetlink(7), packet(7), capabilities(7).
package vip
