package doctor

import (
	"fmt"
	"math"
	"slices"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/cluster"
)

// Chosen by us.
const (
	lossWarn      = 0.05 // of the datagrams: at 30 % a lease holds, and every round costs repeats
	lossProblem   = 0.40
	lossLeast     = 2      // one lost datagram is weather
	clockWarnMs   = 2000.0 // histories of two nodes cannot be read side by side
	clocksInDoubt = 1000.0 // an answer that took so long says nothing about clocks
)

// everyPeer are the checks that each peer has.
var everyPeer = []string{"peer-agent", "peer-udp", "peer-tcp", "peer-tcp-back", "peer-key", "peer-cluster", "peer-version", "peer-config", "peer-loss", "peer-size", "peer-clock"}

func judgePeers(s *sheet, f *Facts) {
	if f.PeersWhy != "" {
		for _, id := range everyPeer {
			s.skip(id, "", f.PeersWhy)
		}
		return
	}
	for _, p := range f.Peers {
		judgePeer(s, f, p)
	}
}

func judgePeer(s *sheet, f *Facts, p control.PeerProbe) {
	port := f.Config.Cluster.Port
	stream := cluster.StreamState(p.Stream)
	heard := p.Answered > 0 || stream == cluster.StreamOK
	switch {
	case p.WrongCluster != "":
		s.problem("peer-cluster", p.Node, "make [cluster] name the same on both, or give one of them another address",
			"%s (%s) belongs to cluster %q", p.Node, p.Address, p.WrongCluster)
		return
	case p.WrongKey || otherKey(f, p.Node):
		s.problem("peer-key", p.Node, fmt.Sprintf("on a node that works: hbagent key write; copy its %s to %s, then there: hbagent reload", f.Config.Cluster.KeyFile, p.Node),
			"%s has another gossip key: it answers, and what it says cannot be decrypted", p.Node)
		return
	case !heard && stream == cluster.StreamRefused:
		s.problem("peer-agent", p.Node, "on "+p.Node+": systemctl status hbagent", "no agent runs on %s: the machine refuses %s", p.Node, p.Address)
		return
	case !heard:
		do := fmt.Sprintf("is the machine up? a firewall between that drops UDP and TCP %d looks the same", port)
		if p.SendError != "" {
			do = "look at the routes and the firewall of this machine"
		}
		s.problem("peer-agent", p.Node, do, "%s (%s) does not answer at all: %s", p.Node, p.Address, reasonOf(p))
		return
	}
	s.ok("peer-agent", p.Node, "the agent of %s answers", p.Node)
	s.ok("peer-cluster", p.Node, "%s belongs to this cluster", p.Node)
	s.ok("peer-key", p.Node, "%s has the same key", p.Node)
	judgeUDP(s, f, p)
	judgeStreams(s, f, p)
	judgeSame(s, f, p)
	judgeClock(s, p)
}

func reasonOf(p control.PeerProbe) string {
	if p.SendError != "" {
		return p.SendError
	}
	return p.Stream + ", " + p.StreamText
}

// otherKey is what the agent knows of packets that it could not decrypt.
func otherKey(f *Facts, node string) bool {
	i := slices.IndexFunc(f.Agent.After.Nodes, func(n control.Node) bool { return n.Name == node })
	return f.Agent.Running && i >= 0 && f.Agent.After.OtherKey(f.Agent.After.Nodes[i])
}

func judgeUDP(s *sheet, f *Facts, p control.PeerProbe) {
	port := f.Config.Cluster.Port
	if p.Answered == 0 {
		why := "no answer to " + fmt.Sprint(p.Sent) + " datagrams"
		if p.SendError != "" {
			why = p.SendError
		}
		s.problem("peer-udp", p.Node, fmt.Sprintf("let UDP %d through between %s and %s, both ways: leases travel by it", port, f.Node, p.Node),
			"%s answers TCP, and not UDP: %s", p.Node, why)
		for _, id := range []string{"peer-loss", "peer-size"} {
			s.skip(id, p.Node, "no UDP")
		}
		return
	}
	s.ok("peer-udp", p.Node, "UDP %d works there and back", port)
	lost := p.Sent - p.Answered
	share := float64(lost) / float64(max(p.Sent, 1))
	text := fmt.Sprintf("%d of %d datagrams to %s and back were lost (%.0f %%)", lost, p.Sent, p.Node, 100*share)
	switch do := "look at the cable, the switch port and the load of both machines; a longer ttl bears more"; {
	case lost >= lossLeast && share >= lossProblem:
		s.problem("peer-loss", p.Node, do, "%s: leases lapse", text)
	case lost >= lossLeast && share >= lossWarn:
		s.warn("peer-loss", p.Node, do, "%s", text)
	default:
		s.ok("peer-loss", p.Node, "%s", text)
	}
	bigLost := float64(p.BigSent-p.BigAnswered) / float64(max(p.BigSent, 1))
	switch {
	case p.BigAnswered == 0 && p.BigSent > 1 && bigLost > 2*share:
		s.problem("peer-size", p.Node, "make the MTU the same everywhere on the way: `ip link` on both, and the switch or tunnel between",
			"datagrams of 1400 bytes do not come through to %s, short ones do", p.Node)
	default:
		s.ok("peer-size", p.Node, "datagrams of 1400 bytes come through to %s", p.Node)
	}
}

func judgeStreams(s *sheet, f *Facts, p control.PeerProbe) {
	port := f.Config.Cluster.Port
	if cluster.StreamState(p.Stream) == cluster.StreamOK {
		s.ok("peer-tcp", p.Node, "TCP %d to %s works", port, p.Node)
	} else {
		s.problem("peer-tcp", p.Node, fmt.Sprintf("let TCP %d through from %s to %s", port, f.Node, p.Node),
			"%s answers UDP, and not TCP: %s %s", p.Node, p.Stream, p.StreamText)
	}
	switch back := cluster.StreamState(p.Back); {
	case back == cluster.StreamOK:
		s.ok("peer-tcp-back", p.Node, "TCP %d from %s works", port, p.Node)
	case !f.Agent.Running && !f.Agent.NoAgent:
		s.skip("peer-tcp-back", p.Node, "the agent here does not answer")
	case back == "":
		s.skip("peer-tcp-back", p.Node, "no word of "+p.Node+" about it")
	case back == cluster.StreamRefused && !f.Agent.Running:
		s.ok("peer-tcp-back", p.Node, "TCP %d from %s arrives (and is refused: no agent runs here)", port, p.Node)
	default:
		s.problem("peer-tcp-back", p.Node, fmt.Sprintf("let TCP %d in from %s: the firewall of this machine, or one between", port, p.Node),
			"%s cannot reach this node by TCP: %s %s", p.Node, p.Back, p.BackText)
	}
}

// judgeSame compares what both are.
func judgeSame(s *sheet, f *Facts, p control.PeerProbe) {
	if !p.Answers {
		return
	}
	own := ""
	for _, n := range f.Agent.Status.Nodes {
		if n.Self {
			own = n.Version
		}
	}
	switch {
	case own == "":
		s.skip("peer-version", p.Node, "no agent runs here to compare with")
	case own != p.Version:
		s.warn("peer-version", p.Node, "bring the older one up to date; a restart moves no address", "%s runs version %s, this node %s", p.Node, p.Version, own)
	default:
		s.ok("peer-version", p.Node, "%s runs the same version", p.Node)
	}
	hash := f.Config.Hash
	if f.Agent.Running {
		hash = f.Agent.Status.ConfigHash
	}
	ttl := f.Config.Lease.TTL.Milliseconds()
	switch {
	case p.TTLMs != 0 && p.TTLMs != ttl:
		s.problem("peer-config", p.Node, "put the same file on every node, then restart each", "%s has a ttl of %d ms, this node %d ms: they do not grant each other leases", p.Node, p.TTLMs, ttl)
	case p.ConfigHash != "" && p.ConfigHash != hash:
		s.warn("peer-config", p.Node, "put the same file on every node, then `hbagent reload` on each", "%s has another config (%s) than this node (%s)", p.Node, p.ConfigHash, hash)
	default:
		s.ok("peer-config", p.Node, "%s has the same config", p.Node)
	}
}

func judgeClock(s *sheet, p control.PeerProbe) {
	switch {
	case p.Answered == 0 || p.ClockErrorMs > clocksInDoubt:
		s.skip("peer-clock", p.Node, "no answer was quick enough to tell")
	case math.Abs(p.ClockMs) > clockWarnMs+p.ClockErrorMs:
		s.warn("peer-clock", p.Node, "let both keep time: chrony or systemd-timesyncd", "the time of day on %s differs by %.1f s: histories cannot be read side by side (leases do not mind)",
			p.Node, p.ClockMs/1000)
	default:
		s.ok("peer-clock", p.Node, "the time of day on %s is the same within %.0f ms", p.Node, math.Abs(p.ClockMs)+p.ClockErrorMs)
	}
}
