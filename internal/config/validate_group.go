package config

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Chosen by us.
const (
	maxHold                        = 24 * time.Hour
	minDrain, maxDrain             = time.Second, time.Hour
	minHookTimeout, maxHookTimeout = 100 * time.Millisecond, 10 * time.Minute
	maxMovesCount                  = 1000
	minMovesPer, maxMovesPer       = time.Second, 24 * time.Hour

	defaultHold        = 10 * time.Second
	defaultDrain       = 30 * time.Second
	defaultHookTimeout = 10 * time.Second
)

var defaultMaxMoves = Budget{Count: 4, Per: 10 * time.Minute}

func (v *validator) allGroups() {
	names := map[string]span{}
	for i := range v.raw.Groups {
		raw := &v.raw.Groups[i]
		g := Group{Failback: raw.Failback.or(false), Role: v.role(raw)}
		var ok bool
		g.Name, ok = v.unique("group", &raw.Name, func(name string) (span, bool) { at, ok := names[name]; return at, ok })
		if ok {
			names[g.Name] = raw.Name.at
		}
		g.Addresses = v.floating(raw)
		g.Nodes = v.owners(raw)
		v.interfaces(raw, &g)
		g.Checks = v.groupChecks(raw, &g)
		g.Hold = v.duration("hold", &raw.Hold, defaultHold, 0, maxHold)
		v.handover(raw, &g)
		v.mysql(raw, &g)
		g.MaxMoves = v.budget(&raw.MaxMoves)
		g.OnActive = v.hooks("on_active", &raw.OnActive)
		g.OnStandby = v.hooks("on_standby", &raw.OnStandby)
		g.OnFault = v.hooks("on_fault", &raw.OnFault)
		g.HookTimeout = v.duration("hook_timeout", &raw.HookTimeout, defaultHookTimeout, minHookTimeout, maxHookTimeout)
		v.cfg.Groups = append(v.cfg.Groups, g)
	}
}

// floating returns the group's addresses, each known to no node and no other group.
func (v *validator) floating(raw *rawGroup) []netip.Prefix {
	if !raw.Addresses.written() || (raw.Addresses.given() && len(raw.Addresses.value) == 0) {
		v.refuse(raw.Addresses.at, "group "+quote(raw.Name.value)+" has no addresses", `write addresses = ["10.0.0.50/24"]`)
	}
	var list []netip.Prefix
	for _, s := range raw.Addresses.or(nil) {
		pfx, ok := v.prefix(s)
		if !ok {
			continue
		}
		addr := pfx.Addr()
		if first, dup := v.vips[addr]; dup {
			v.clash(s.at, "the floating address "+addr.String()+" stands twice", "an address moves with one group: delete one of the two", first.at, "first here")
			continue
		}
		v.vips[addr] = declared{at: s.at, address: addr}
		for i := range v.cfg.Nodes {
			if v.cfg.Nodes[i].Address == addr {
				v.clash(s.at, fmt.Sprintf("the floating address %s is node %s's own address", addr, quote(v.cfg.Nodes[i].Name)),
					"take an address that no machine has: the node must be reachable when it does not own the group", v.raw.Nodes[i].Address.at, "the node")
			}
		}
		if w := v.cfg.Lease.Witness; w.IsValid() && w == addr {
			v.clash(s.at, "the floating address "+addr.String()+" is the witness", "the witness is a third machine, for example the gateway", v.raw.Lease.Witness.at, "the witness")
		}
		list = append(list, pfx)
	}
	return list
}

func (v *validator) prefix(s setting[string]) (netip.Prefix, bool) {
	pfx, err := netip.ParsePrefix(s.value)
	if err != nil {
		hint := `write it with the length of its network, as in "10.0.0.50/24" or "fd00::50/64"`
		if addr, err := netip.ParseAddr(s.value); err == nil {
			bits := 64
			if addr.Is4() {
				bits = 24
			}
			hint = fmt.Sprintf("add the length of its network, for example %s; it only names the network", quote(fmt.Sprintf("%s/%d", addr, bits)))
		}
		v.refuse(s.at, quote(s.value)+" is not an address with a length", hint)
		return netip.Prefix{}, false
	}
	addr, why := pfx.Addr(), unfit(pfx.Addr())
	network := pfx.Bits() < addr.BitLen()-1 // has a network and, in IPv4, a broadcast address
	switch {
	case why != "":
	case addr.IsLoopback():
		why = "a loopback address"
	case pfx.Bits() == 0:
		why = "an address of no network: its length is 0"
	case network && addr == pfx.Masked().Addr():
		why = "the address of the network itself"
	case network && addr.Is4() && addr == lastOf(pfx):
		why = "the broadcast address of its network"
	}
	if why != "" {
		v.refuse(s.at, quote(s.value)+" is "+why, "give a free address of the network that clients use")
		return netip.Prefix{}, false
	}
	return pfx, true
}

// lastOf returns the last address of an IPv4 network.
func lastOf(pfx netip.Prefix) netip.Addr {
	b := pfx.Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])|(1<<(32-pfx.Bits())-1))
	return netip.AddrFrom4(b)
}

func (v *validator) owners(raw *rawGroup) []string {
	nodes := v.nodeList("nodes", &raw.Nodes)
	label := "group " + quote(raw.Name.value)
	switch {
	case !raw.Nodes.written():
		v.refuse(raw.At, label+" does not say which nodes may own it", `write nodes = ["web1", "web2"], in order of preference`)
	case raw.Nodes.given() && len(raw.Nodes.value) == 0:
		v.refuse(raw.Nodes.at, label+" may run on no node", `write nodes = ["web1", "web2"], in order of preference`)
	case raw.Nodes.given() && len(raw.Nodes.value) == 1 && len(v.raw.Nodes) > 1:
		v.warn(raw.Nodes.at, label+" may run on one node only: it never moves", "add a second node")
	}
	return nodes
}

func (v *validator) interfaces(raw *rawGroup, g *Group) {
	label := "group " + quote(raw.Name.value)
	if !raw.Interface.written() {
		v.refuse(raw.At, label+" has no interface", `write interface = "eth0", or interface = { web1 = "eth0", web2 = "ens3" }`)
		return
	}
	value := raw.Interface.or(interfaces{all: "none"})
	if value.nodes == nil {
		one := setting[string]{value: value.all, state: raw.Interface.state, at: raw.Interface.at}
		g.Interface = v.iface(&one)
		return
	}
	g.Interfaces = map[string]string{}
	defined := make([]string, 0, len(v.cfg.Nodes))
	for _, n := range v.cfg.Nodes {
		defined = append(defined, n.Name)
	}
	for _, ni := range value.nodes {
		v.refers("node", setting[string]{value: ni.node, at: ni.key}, defined)
		g.Interfaces[ni.node] = v.iface(&ni.iface)
	}
	var lacking []string
	for _, node := range g.Nodes {
		if _, ok := g.Interfaces[node]; !ok {
			lacking = append(lacking, node)
		}
	}
	if len(lacking) > 0 {
		v.refuse(raw.Interface.at, fmt.Sprintf("%s names no interface for %s", label, strings.Join(lacking, ", ")),
			fmt.Sprintf(`add %s = "eth0" to the table: every node of the group needs one`, lacking[0]))
	}
}

// groupChecks returns the group's checks. A required check must run on every node
// that may own the group: where it does not run, it can never pass.
func (v *validator) groupChecks(raw *rawGroup, g *Group) []string {
	defined := make([]string, 0, len(v.raw.Checks))
	for i := range v.raw.Checks {
		if v.raw.Checks[i].Name.given() {
			defined = append(defined, v.raw.Checks[i].Name.value)
		}
	}
	names := v.references("check", "checks", &raw.Checks, defined)
	for _, name := range names {
		v.used[name] = true
	}
	for _, s := range raw.Checks.or(nil) {
		check := v.checks[s.value]
		if check == nil || !check.Required.or(true) || !check.Nodes.given() {
			continue
		}
		runs := check.Nodes.value.plain()
		for _, node := range g.Nodes {
			if !slices.Contains(runs, node) {
				v.clash(s.at, fmt.Sprintf("node %s could never own group %s: check %s does not run there", quote(node), quote(raw.Name.value), quote(s.value)),
					fmt.Sprintf("add %s to the nodes of the check, or take it out of the group; required = false makes the check informative", quote(node)),
					check.Nodes.at, "it runs here")
			}
		}
	}
	return names
}

func (v *validator) handover(raw *rawGroup, g *Group) {
	byDefault := HandoverDrain
	if v.cfg.Lease.Gate == GateAddress || raw.Role.written() {
		byDefault = HandoverStrict // draining needs the gate in the kernel, and two machines that may serve
	}
	g.Handover = raw.Handover.or(byDefault)
	g.Drain = v.duration("drain", &raw.Drain, defaultDrain, minDrain, maxDrain)
	switch g.Handover {
	case HandoverDrain:
		if raw.Role.written() {
			v.clash(raw.Handover.at, "handover = \"drain\" lets two machines serve for a while, and a group with a role has one master",
				`write handover = "strict"`, raw.Role.at, "the role")
			return
		}
		if v.cfg.Lease.Gate == GateAddress {
			v.refuse(raw.Handover.at, "handover = \"drain\" needs rules in the kernel, and gate = \"address\" makes none",
				`write handover = "strict", or delete gate = "address"`)
		}
	case HandoverStrict:
		if raw.Drain.given() && raw.Role.written() {
			v.clash(raw.Drain.key, "a group with a role does not drain: it has one master at a time", "delete it", raw.Role.at, "the role")
		} else if raw.Drain.given() {
			v.warn(raw.Drain.key, "drain has no meaning with handover = \"strict\"", "delete it")
		}
	default:
		hint := `write handover = "strict" or "drain"`
		if near, ok := suggest(g.Handover, []string{HandoverStrict, HandoverDrain}); ok {
			hint = "did you mean " + quote(near) + "?"
		}
		v.refuse(raw.Handover.at, "unknown handover "+quote(g.Handover), hint)
	}
}

// budget reads "4/10m".
func (v *validator) budget(s *setting[string]) Budget {
	if !s.given() {
		return defaultMaxMoves
	}
	count, per, _ := strings.Cut(s.value, "/")
	n, errCount := strconv.Atoi(strings.TrimSpace(count))
	d, errPer := time.ParseDuration(strings.TrimSpace(per))
	switch {
	case errCount != nil || errPer != nil:
		v.refuse(s.at, "max_moves = "+quote(s.value)+" is not a count and a duration", `write max_moves = "4/10m": four moves in ten minutes`)
	case n < 1 || n > maxMovesCount || d < minMovesPer || d > maxMovesPer:
		v.refuse(s.at, "max_moves = "+quote(s.value)+" is out of bounds", fmt.Sprintf(`write 1 to %d moves in "1s" to "24h"; the default is %s`, maxMovesCount, quote(defaultMaxMoves.String())))
	default:
		return Budget{Count: n, Per: d}
	}
	return defaultMaxMoves
}

func (v *validator) hooks(key string, list *setting[texts]) []string {
	var paths []string
	for _, s := range list.or(nil) {
		if strings.ContainsRune(s.value, ' ') {
			v.refuse(s.at, key+": "+quote(s.value)+" has a space: each entry is the path of one executable", "put the command into a script, and name that")
			continue
		}
		if p := v.path(key, &s); p != "" {
			paths = append(paths, p)
		}
	}
	return paths
}
