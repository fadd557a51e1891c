package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hbagent/hbagent/internal/config"
)

func judgeConfig(s *sheet, f *Facts) {
	if f.Config == nil {
		s.problem("config", "", "mend it, then: hbagent config check", "%s", f.ConfigErr)
		return
	}
	for _, w := range f.Config.Warnings {
		s.warn("config", fmt.Sprintf("%s:%d", w.File, w.Line), w.Hint, "%s", w.Message)
	}
	if len(f.Config.Warnings) == 0 {
		s.ok("config", "", "%s is valid", f.Config.File)
	}
	judgeNodeName(s, f)
	switch {
	case !f.Agent.Running:
		s.skip("config-loaded", "", "no agent to ask")
	case f.Agent.Status.ConfigHash != f.Config.Hash:
		s.warn("config-loaded", "", "hbagent reload", "the agent has loaded another config (%s) than %s has now (%s)",
			f.Agent.Status.ConfigHash, f.Config.File, f.Config.Hash)
	default:
		s.ok("config-loaded", "", "the agent has loaded what %s says", f.Config.File)
	}
}

// judgeNodeName compares what this machine calls itself with the node that it is.
func judgeNodeName(s *sheet, f *Facts) {
	if f.Node == "" {
		s.problem("node-name", "", "correct the [[node]] tables, or say --node NAME", "%s", f.NodeWhy)
		return
	}
	short, _, _ := strings.Cut(f.Hostname, ".")
	for _, n := range f.Config.Nodes {
		if n.Name != f.Node && (strings.EqualFold(n.Name, f.Hostname) || strings.EqualFold(n.Name, short)) {
			s.problem("node-name", f.Node, fmt.Sprintf("hostnamectl set-hostname %s, or start the agent with --node %s on purpose", f.Node, f.Node),
				"this machine is node %s, and its host name %q is that of another node", f.Node, f.Hostname)
			return
		}
	}
	self, _ := f.Config.Node(f.Node)
	if !f.Named && !slices.Contains(f.LocalAddr, self.Address) {
		// node-address says it too, but here the name may be what is wrong.
		s.warn("node-name", f.Node, "is it the right machine? otherwise change its host name, or say --node NAME",
			"by its host name %q this machine is %s, and it does not have the address %s", f.Hostname, f.Node, self.Address)
		return
	}
	s.ok("node-name", f.Node, "this machine is %s", f.Node)
}

// foreignKey is in the warning of an agent about a node with another key (internal/agent/keywatch.go).
const foreignKey = "a key that is not ours"

// covered are the reports of the agent that another check looks at itself, more closely.
var covered = []string{"wrong-key", "wrong-cluster", "version-mismatch", "udp-blocked", "cannot-drain"}

func judgeAgent(s *sheet, f *Facts) {
	switch {
	case f.Agent.Running:
		s.ok("agent", f.Agent.Status.Node, "the agent runs, process %d", f.Agent.Process.PID)
	case f.Agent.NoAgent:
		s.problem("agent", f.Node, "systemctl enable --now hbagent; journalctl -u hbagent says why it does not", "%s", f.Agent.Why)
	default:
		s.problem("agent", f.Node, "journalctl -u hbagent", "%s", f.Agent.Why)
	}
	judgeTwice(s, f)
	if !f.Agent.Running {
		s.skip("agent-reports", "", "no agent to ask")
		return
	}
	found := false
	for _, e := range f.Agent.Events {
		if e.Kind == "problem" && f.At.Sub(e.At) < reportsFor && !slices.Contains(covered, e.Reason) {
			found = true
			s.warn("agent-reports", e.From, "hbagent events says more", "%s: %s", e.Reason, e.Detail)
		}
	}
	for _, w := range f.Agent.Status.Warnings {
		if strings.Contains(w, foreignKey) {
			continue // peer-key
		}
		if f.Config == nil || !slices.ContainsFunc(f.Config.Warnings, func(p config.Problem) bool { return p.Message == w }) {
			found = true
			s.warn("agent-reports", "", "hbagent status", "%s", w)
		}
	}
	if !found {
		s.ok("agent-reports", "", "the agent reports no trouble")
	}
}

func judgeTwice(s *sheet, f *Facts) {
	if f.Agent.ProcWhy != "" {
		s.skip("agent-twice", "", f.Agent.ProcWhy)
		return
	}
	if len(f.Agent.Agents) > 1 {
		var pids []string
		for _, p := range f.Agent.Agents {
			pids = append(pids, fmt.Sprint(p.PID))
		}
		s.problem("agent-twice", "", "keep one: `ps -fp "+strings.Join(pids, ",")+"` shows where each comes from",
			"%d agents run on this machine: processes %s", len(pids), strings.Join(pids, ", "))
		return
	}
	s.ok("agent-twice", "", "no second agent")
}

// Capabilities in /proc/PID/status. Given by linux/capability.h.
const (
	capNetAdmin = 1 << 12
	capNetRaw   = 1 << 13
)

func judgeCapabilities(s *sheet, f *Facts) {
	const id = "capabilities"
	const grant = "start it with hbagent.service as it is shipped (AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW), or as root"
	lacks := func(admin, raw bool) string {
		var names []string
		if !admin {
			names = append(names, "CAP_NET_ADMIN")
		}
		if !raw {
			names = append(names, "CAP_NET_RAW")
		}
		return strings.Join(names, " and ")
	}
	ambient := f.Unit.Settings["AmbientCapabilities"] + " "
	asRoot := f.Unit.File != "" && (f.Unit.Settings["User"] == "" || f.Unit.Settings["User"] == "root")
	switch {
	case f.Agent.Running && f.Agent.CapsWhy == "":
		if l := lacks(f.Agent.Caps&capNetAdmin != 0, f.Agent.Caps&capNetRaw != 0); l != "" {
			s.problem(id, "", grant, "the agent's process does not have %s", l)
			return
		}
		s.ok(id, "", "the agent has what it needs")
	case f.Agent.Running:
		s.skip(id, "", f.Agent.CapsWhy)
	case f.Unit.File != "" && !asRoot:
		if l := lacks(strings.Contains(ambient, "CAP_NET_ADMIN "), strings.Contains(ambient, "CAP_NET_RAW ")); l != "" {
			s.problem(id, "", grant, "%s starts the agent as user %s without %s", f.Unit.File, f.Unit.Settings["User"], l)
			return
		}
		s.ok(id, "", "%s gives the agent what it needs", f.Unit.File)
	case f.Self.Root:
		if l := lacks(f.Self.NetAdmin, f.Self.NetRaw); l != "" {
			s.problem(id, "", "a container needs them given: --cap-add NET_ADMIN --cap-add NET_RAW", "root does not have %s here", l)
			return
		}
		s.ok(id, "", "root has what the agent needs")
	default:
		s.skip(id, "", "no agent runs, there is no unit, and this command is not root: nothing to look at")
	}
}
