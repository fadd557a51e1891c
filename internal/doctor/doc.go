// Package doctor looks for everything that can be wrong on this machine and towards the peers, and says what to do.
//
// It has three rooms:
//
//   - Collect gathers [Facts]: it reads files and kernel state, asks the running agent, asks the wire who has which
//     address, lets the agent (or, where none runs, itself) try the gossip port of each peer, and measures how
//     this machine schedules. It runs everything at the same time and within [Limit], changes nothing, and
//     notes what it could not look at and why.
//   - Judge turns Facts into Findings. It is pure: no clock, no file, no network.
//   - [Checks] is the list of what is judged. Identifiers in it are stable; docs/doctor.md has the same list.
//
// Files are read below a root directory where they belong to the machine rather than to hbagent (network managers,
// units, DMI), so that tests can have a machine of their own.
//
// # Harm
//
// Nothing here touches a lease, an address or a rule that is in force. What it sends: ARP probes and
// solicitations of the kind that change no neighbour's table, some forty datagrams and two TCP connections for each
// peer, and an IGMP report (it listens for VRRP). The self-test of nf_tables works in scratch tables.
package doctor
