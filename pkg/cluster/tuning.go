package cluster

import (
	"log"
	"net"
	"time"

	"github.com/hashicorp/memberlist"
)

// protocolVersion is the version of our own messages, agreed by memberlist as the
// delegate protocol. Raise it only for a change that an older node must not hear.
const protocolVersion = 1

// Bounds of what derives from the ttl. Chosen by us: memberlist's liveness is for
// people to look at. Takeover rests on leases, so calm values cost nothing.
const (
	minProbeInterval = 1 * time.Second
	maxProbeInterval = 5 * time.Second // above, a dead node is shown too late to help anyone
	minStreamTimeout = 2 * time.Second
	maxStreamTimeout = 10 * time.Second
)

func probeInterval(ttl time.Duration) time.Duration {
	return min(max(ttl, minProbeInterval), maxProbeInterval)
}

func streamTimeout(ttl time.Duration) time.Duration {
	return min(max(2*ttl, minStreamTimeout), maxStreamTimeout)
}

// memberlistConfig sets every field of memberlist that we rely on; nothing is
// inherited from its defaults, which may change under us.
func memberlistConfig(o Options, c *Cluster, t *transport, logger *log.Logger) *memberlist.Config {
	probe := probeInterval(o.TTL)
	callbacks := delegate{c}
	allowed := make([]net.IPNet, len(o.Peers))
	for i, p := range o.Peers {
		allowed[i] = net.IPNet{IP: p.Address.AsSlice(), Mask: net.CIDRMask(p.Address.BitLen(), p.Address.BitLen())}
	}
	return &memberlist.Config{
		Name:      o.Node,
		Transport: t,
		// BindPort stands in where a message or join names no port. Ours always do.
		BindAddr: t.self.Addr().String(),
		BindPort: o.Port,

		// Version 2 is what every memberlist since 2016 speaks; newer features (TCP
		// pings, nacks, checksums) are used with peers that announce them.
		ProtocolVersion:         memberlist.ProtocolVersion2Compatible,
		DelegateProtocolVersion: protocolVersion,
		DelegateProtocolMin:     protocolVersion,
		DelegateProtocolMax:     protocolVersion,

		// The label is in front of each packet and authenticated with it.
		Label:                 o.Cluster,
		SkipInboundLabelCheck: false,

		// One node is probed per interval, in turns: with n nodes each is probed by
		// each other one every (n-1) intervals. Costs two packets per interval and
		// node. Unit: time; 1 s to 5 s. Shorter finds the dead sooner and sends more.
		ProbeInterval: probe,
		// How long to wait for the ack before others are asked too. Half the interval
		// leaves them the other half. Longer forgives stalls.
		ProbeTimeout: probe / 2,
		// How many others are asked. More means fewer false alarms at more packets; 3
		// covers the clusters this is made for.
		IndirectChecks: 3,
		// Dead after SuspicionMult * max(1, log10(nodes)) * ProbeInterval of suspicion:
		// 2 intervals up to 10 nodes. At a ttl of 1 s and 3 nodes a dead node is shown
		// after at most 2 (its turn) + 1 (probe) + 2 (suspicion) s. Higher forgives more.
		SuspicionMult: 2,
		// 1: the suspicion time is not stretched. With the default of 6 a fourth node
		// makes detection six times slower.
		SuspicionMaxTimeoutMult: 1,
		// 1: the probe interval is not stretched either when this node itself looks
		// slow. Costs some false alarms on a stalling machine; they move nothing.
		AwarenessMaxMultiplier: 1,
		// TCP pings on: a peer that answers TCP alone is not dead, and memberlist says
		// so in the log, from which we make a UDPBlocked problem.
		DisableTcpPings: false,

		// Membership changes are gossiped every GossipInterval to GossipNodes, each
		// one RetransmitMult * ceil(log10(nodes+1)) times. Nothing to tell, nothing
		// sent. Shorter spreads sooner at more wakeups.
		GossipInterval: 1 * time.Second,
		GossipNodes:    3,
		RetransmitMult: 3,
		// How long a dead node is still told of its death so that it can refute, and
		// kept in memberlist's list. Healing is our own (peer.go); then it is forgotten.
		GossipToTheDeadTime: 30 * time.Second,

		// A full exchange with one random node: membership, own states, and the versions
		// of all others (exchange.go). Repairs what everything quicker missed. A TCP connection (some 12 packets) per interval
		// and node.
		PushPullInterval: 15 * time.Second,
		// Bound on dialling, and on reading and writing a stream. Longer forgives a
		// stalled peer, shorter frees the goroutine sooner. 2 s to 10 s.
		TCPTimeout: streamTimeout(o.TTL),

		// A restarted node comes back at its old address, which needs no reclaiming:
		// it refutes its own death. Another address for a name is refused by
		// NotifyAlive before this is asked. Small, so that it is never what blocks.
		DeadNodeReclaimTime: 1 * time.Second,

		// Packets must leave in one frame: 1400 fits an MTU of 1500 with any IP header.
		// Limits what memberlist puts together, not our lease payloads.
		UDPBufferSize: 1400,
		// Messages waiting for our NotifyMsg. When full the newest is dropped, with a
		// log line from which we make an Overload problem. States, pulls and calls only:
		// leases go past it (leasewire.go). Eight of each of 128 nodes.
		HandoffQueueDepth: 1024,
		// How often memberlist counts its queue, for metrics that nobody reads. Zero
		// would make it spin.
		QueueCheckInterval: 1 * time.Minute,
		// Compression costs an allocation of a 64 KiB window per packet, and saves little
		// on packets of a few hundred bytes. Leases are never compressed (leasewire.go).
		EnableCompression: false,

		Keyring:              c.keyring,
		GossipVerifyIncoming: true, // never take plain text where a key is set
		GossipVerifyOutgoing: true, // never send it

		Delegate: callbacks,
		Events:   callbacks,
		Ping:     callbacks,
		Alive:    callbacks,
		Conflict: callbacks,
		// No MergeDelegate: it would refuse a whole exchange for one entry, so that
		// adding a node to the configuration, one machine after the other, would split
		// the cluster. NotifyAlive refuses the one entry.
		Merge: nil,

		// Second line behind the transport's filter; also covers addresses inside
		// messages.
		CIDRsAllowed: allowed,
		Logger:       logger,
	}
}
