// Package cluster is the agents' common wire: who is there, what each node says
// of itself, lease datagrams, and calls from one agent to another.
//
// It stands on hashicorp/memberlist for membership, liveness probes, encryption
// and packet formats, and adds what memberlist leaves out: healing, a pinned list
// of members, versioned node states, request and answer, and errors that say
// what to do. It knows nothing of leases or floating addresses beyond the bytes
// it carries.
//
// # Life
//
// [Start] checks the options and binds the node's own configured address, UDP and
// TCP, never a wildcard. From then on lease datagrams are sent and delivered and
// calls are answered. [Cluster.Run] keeps the peers joined, spreads states and
// delivers news to the [Handler]; it ends with its context. [Cluster.Close] says
// goodbye when asked to, and frees the sockets.
//
// # Messages
//
// Each of our messages is a memberlist user message. Its first byte is the kind:
//
//	1 lease    opaque payload; datagram, straight to the configured address
//	2 state    NodeState as JSON; datagram up to 1200 bytes, above that a stream
//	3 pull     "send me your state", or those of others that you know (JSON: from, of); datagram
//	4 leave    "this instance stops" (JSON: node, instance); stream
//	5 request  uint16 header length, JSON header, body; stream
//	6 answer   the same form; stream
//
// An unknown kind is dropped and noted at debug level, and unknown JSON fields
// are ignored (and relayed), so that versions can mix. memberlist hands packets
// over last in, first out, and a network does what it likes: two datagrams may change
// places, and whoever reads lease payloads must order them by their own sequence numbers.
//
// The lease path does not depend on membership. [Cluster.SendLease] encrypts and
// writes the datagram in the caller's goroutine; on the other side the payload
// goes from the read loop straight into [Handler].LeaseMessage. Both keep memberlist's
// form without going through it (leasewire.go): what passes three times in a ttl, for each peer, must be cheap.
//
// # Node states
//
// A node publishes its own [NodeState]; nobody else does. Versions are the pair
// (Incarnation, Seq), newer wins, anything else is ignored. Incarnation is the wall
// clock in nanoseconds at Start; a node whose clock went back learns from its
// peers' copies and rises above them. A new version goes to every peer at once, at
// most one per 20 ms to each, newest only. A lost one is noticed in the next
// probe, whose ack carries the newest version, and pulled. Push/pull exchanges
// carry the sender's own state and the versions of all others, and what the other side lacks it
// pulls, so that a state also travels through a third.
//
// # Healing
//
// memberlist never tries a dead node again. Here each peer that is not alive is
// joined again every 1 to 5 s; when anything is heard from it, at random within 20 ms times the number of peers, so that one
// exchange with a third may spare the rest. Eight joins run at a time, the others queue.
//
// # Probes
//
// [Cluster.Probe], and [ProbeFrom] where no agent runs, ask the peers on the gossip port without being a member: a
// format of their own (probewire.go), told from memberlist's by its first bytes, sealed with a key derived from the
// gossip key. The read loop answers datagrams, a goroutine each stream. A probe that no key opens is
// answered with a short "no", unauthenticated, so that another key is not taken for silence. Nothing that is
// decided rests on a probe.
//
// # Trust
//
// Whoever holds the key is trusted; there is no finer line. Around that:
//   - The source address filter drops packets and streams from addresses that are
//     no configured node's before they are parsed, and nothing is ever sent to one.
//   - A member is admitted only under a configured name at exactly its configured
//     address; a floating address is never bound, accepted or answered.
//   - The cluster's name is authenticated with each packet (memberlist's label).
//   - memberlist has no protection against replay. Old states lose by version; a
//     goodbye names the instance that says it; a call names the incarnations of
//     both ends and a number that is accepted once. A recorded membership message
//     can make a node look dead until it refutes that, about a second. Lease
//     payloads carry run id and sequence of their own.
//
// # Bounds
//
// 128 nodes; 60,000 bytes of lease payload; 1 MiB per state, one per configured
// node; 1 MiB per body of a call, 32 calls served and 64 made at a time, 60 s each;
// 160 inbound streams; each stream ends within TCPTimeout (2 to 10 s); handoff
// queues of 1024 messages; 200 answers to probes a second and peer; problems at most once a minute per kind and peer, 128
// such pairs.
//
// # Locks
//
// memberlist calls the membership delegates while it holds its node lock.
// Cluster.mu is taken inside that, so nothing that calls memberlist may hold
// Cluster.mu; and no Handler method is called with either of them held.
package cluster
