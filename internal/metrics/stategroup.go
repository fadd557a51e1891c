package metrics

import (
	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/cluster"
	"github.com/hbagent/hbagent/pkg/vip"
)

var (
	descOwner       = desc("group_owner", "1 if this node has the group by its own word: lease, gate and addresses. For groups that it may own.", "group")
	descSeenOwner   = desc("group_seen_owner", "1 for the node that owns the group as this node sees it, 0 for the others that may.", "group", "node")
	descGroupState  = desc("group_state", "1 for the state that the group is in on this node, 0 for the others. For groups that it may own.", "group", "state")
	descEligible    = desc("group_eligible", "1 if this node may become, or stay, the owner.", "group")
	descEpoch       = desc("group_epoch", "Epoch of the owner's lease as this node sees it; it grows each time the group changes hands.", "group")
	descLeft        = desc("group_lease_left_seconds", "What is left of this node's lease on the group, 0 without one.", "group")
	descDrainOpen   = desc("group_drain_connections", "Open connections that this node finishes after it handed the group over.", "group")
	descDrainLeft   = desc("group_drain_left_seconds", "After this the connections that are left are reset.", "group")
	descAlive       = desc("node_alive", "1 if this node hears the other, or is it.", "node")
	descMaintenance = desc("node_maintenance", "1 if the node is in maintenance, as this node sees it.", "node")
	descDiffers     = desc("node_config_differs", "1 if a living node has another config in force than this one.", "node")
	descRTT         = desc("node_round_trip_seconds", "Smoothed round trip of membership probes to a node.", "node")
)

var groupStates = []control.State{
	control.StateActive, control.StateStandby, control.StateAcquiring, control.StateDraining, control.StateFault, control.StateMaintenance,
}

func (s sink) groups(st control.Status) {
	for _, g := range st.Groups {
		s.gauge(descEpoch, float64(g.Epoch), g.Name)
		for _, n := range st.Nodes {
			own, may := n.Groups[g.Name]
			if may || n.Name == g.Owner {
				s.flag(descSeenOwner, n.Name == g.Owner, g.Name, n.Name)
			}
			if may && n.Self {
				s.ownGroup(g, own)
			}
		}
	}
}

func (s sink) ownGroup(g control.Group, own control.NodeGroup) {
	active := own.State == control.StateActive
	s.flag(descOwner, active, g.Name)
	for _, state := range groupStates {
		s.flag(descGroupState, own.State == state, g.Name, string(state))
	}
	s.flag(descEligible, own.Eligible, g.Name)
	left := 0.0
	if active {
		left = float64(g.Lease.LeftMs) / 1000
	}
	s.gauge(descLeft, left, g.Name)
	if d := own.Draining; d != nil {
		if d.Connections >= 0 {
			s.gauge(descDrainOpen, float64(d.Connections), g.Name)
		}
		s.gauge(descDrainLeft, float64(d.LeftMs)/1000, g.Name)
	}
}

func (s sink) nodes(st control.Status) {
	for _, n := range st.Nodes {
		s.flag(descAlive, n.Alive, n.Name)
		s.flag(descMaintenance, n.Maintenance != "", n.Name)
		if n.Self {
			continue
		}
		s.flag(descDiffers, st.Differs(n), n.Name)
		if n.Alive && n.RTTMs > 0 {
			s.gauge(descRTT, n.RTTMs/1000, n.Name)
		}
	}
}

var (
	descPackets   = desc("cluster_packets_total", "Datagrams of the cluster, by direction (in, out).", "direction")
	descBytes     = desc("cluster_bytes_total", "Bytes in these datagrams, without the headers of IP and UDP.", "direction")
	descStreams   = desc("cluster_streams_total", "TCP connections of the cluster.", "direction")
	descMessages  = desc("cluster_lease_messages_total", "Messages about leases.", "direction")
	descStrangers = desc("cluster_strangers_total", "Packets and connections of addresses that are no configured node's, dropped unread.")
	descRefused   = desc("cluster_streams_refused_total", "Connections of other nodes that were refused: too many at a time.")
	descProblems  = desc("cluster_problems_total",
		"What is wrong with messages of the cluster, by kind; wrong-key are those that cannot be decrypted, overload those dropped.", "kind")
	descAnnounced = desc("announcements_total", "Frames that announce an address, by result (ok, failed).", "result")
)

func (s sink) cluster(st cluster.Stats) {
	const in, out = "in", "out"
	s.counter(descPackets, st.PacketsIn, in)
	s.counter(descPackets, st.PacketsOut, out)
	s.counter(descBytes, st.BytesIn, in)
	s.counter(descBytes, st.BytesOut, out)
	s.counter(descStreams, st.StreamsIn, in)
	s.counter(descStreams, st.StreamsOut, out)
	s.counter(descMessages, st.LeasesIn, in)
	s.counter(descMessages, st.LeasesOut, out)
	s.counter(descStrangers, st.Strangers)
	s.counter(descRefused, st.StreamsRefused)
	for _, k := range cluster.ProblemKinds() {
		s.counter(descProblems, st.Problems[k], k.String())
	}
}

func (s sink) addresses(st vip.Stats) {
	s.counter(descAnnounced, st.Announced, resultOK)
	s.counter(descAnnounced, st.AnnounceFailed, resultFailed)
}
