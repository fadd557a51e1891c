package doctor

import (
	"net/netip"
	"slices"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/control"
)

// Judge turns what was seen into findings. Pure.
func Judge(f *Facts) []Finding {
	s := &sheet{}
	families := []func(*sheet, *Facts){judgeConfig, judgeAgent, judgeCapabilities, judgeUnit, judgeDirs}
	if f.Config != nil { // else nobody knows what to look for
		families = append(families,
			judgeFiles, judgePrograms, judgeTime, judgeMachine,
			judgeLinks, judgeManagers, judgeAddresses, judgeWire, judgeRivals, judgeServices, judgeDatabases,
			judgePeers, judgeTiming, judgeWitness, judgeForwarding)
	}
	for _, family := range families {
		family(s, f)
	}
	return s.findings
}

// mine are the groups that this node may own, as the config has them.
func (f *Facts) mine() []config.Group {
	if f.Config == nil || f.Node == "" {
		return nil
	}
	var out []config.Group
	for _, g := range f.Config.Groups {
		if slices.Contains(g.Nodes, f.Node) {
			out = append(out, g)
		}
	}
	return out
}

// interfaces are those of the groups that this node may own, once each.
func (f *Facts) interfaces() []string {
	var out []string
	for _, g := range f.mine() {
		if name := g.InterfaceOn(f.Node); name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// on are the groups of an interface.
func (f *Facts) on(iface string) []config.Group {
	return slices.DeleteFunc(f.mine(), func(g config.Group) bool { return g.InterfaceOn(f.Node) != iface })
}

// floating are all floating addresses of the config, and their groups.
func floating(cfg *config.Config) map[netip.Addr]string {
	out := map[netip.Addr]string{}
	if cfg != nil {
		for _, g := range cfg.Groups {
			for _, p := range g.Addresses {
				out[p.Addr()] = g.Name
			}
		}
	}
	return out
}

func group(s control.Status, name string) (control.Group, bool) {
	i := slices.IndexFunc(s.Groups, func(g control.Group) bool { return g.Name == name })
	if i < 0 {
		return control.Group{}, false
	}
	return s.Groups[i], true
}

// owner is who owns a group by the word of the agent, if that did not change while the wire was asked.
func (a AgentFacts) owner(name string) (owner string, sure bool) {
	before, ok := group(a.Status, name)
	after, ok2 := group(a.After, name)
	return after.Owner, a.Running && ok && ok2 && before.Owner == after.Owner && before.Epoch == after.Epoch
}
