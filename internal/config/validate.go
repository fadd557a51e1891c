package config

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Given by others.
const (
	maxPort = 65535
	// maxInterfaceName is IFNAMSIZ-1 of include/uapi/linux/if.h.
	maxInterfaceName = 15
)

// Chosen by us. Durations are from design section 4 and 6 where it names them.
const (
	maxName = 63 // as a DNS label: node names are host names

	minTTL, maxTTL = 50 * time.Millisecond, 30 * time.Second
	// maxNodes is far above what a majority lease is good for, maxTables far above any
	// site: they bound what one state message can carry.
	maxNodes, maxTables = 128, 1024

	// DefaultPort is UDP and TCP.
	DefaultPort       = 7946
	defaultTTL        = time.Second
	defaultGeneration = 1

	// minAddressTTL is vip.MinSoleTTL: the shortest lease that the lifetime of an address can end on time.
	minAddressTTL = 5 * time.Second
)

var goodName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]*$`)

// declared is an address that the file gives to something, and where.
type declared struct {
	at      span
	address netip.Addr
}

// validator turns raw tables into a Config. It goes on after a problem, with the
// default in place of what was wrong.
type validator struct {
	*report
	raw    *rawFile
	cfg    *Config
	nodes  map[string]span
	checks map[string]*rawCheck
	used   map[string]bool // checks that some group lists
	vips   map[netip.Addr]declared
	// servers are the DSN files of roles.
	servers map[string]span
}

func validate(rep *report, raw *rawFile) *Config {
	v := &validator{
		report: rep, raw: raw, cfg: &Config{},
		nodes: map[string]span{}, checks: map[string]*rawCheck{}, used: map[string]bool{}, vips: map[netip.Addr]declared{},
		servers: map[string]span{},
	}
	if len(raw.Nodes) > maxNodes || len(raw.Checks) > maxTables || len(raw.Groups) > maxTables || len(raw.Templates) > maxTemplates {
		v.whole(fmt.Sprintf("too many tables: at most %d [[node]], %d [[check]], %d [[group]] and %d [[template]]", maxNodes, maxTables, maxTables, maxTemplates),
			"split the site into several clusters")
		return v.cfg
	}
	v.cluster(&raw.Cluster)
	v.allNodes()
	v.lease(&raw.Lease)
	v.allChecks()
	v.allGroups()
	v.unusedChecks()
	v.http(&raw.HTTP)
	v.allTemplates()
	return v.cfg
}

func (v *validator) cluster(raw *rawCluster) {
	c := &v.cfg.Cluster
	if v.raw.spoiled["cluster"] {
		return
	}
	if raw.At == (span{}) {
		v.whole("no [cluster]: the file does not say which cluster this is", "write [cluster] with name and key_file")
		return
	}
	if raw.Name.written() {
		c.Name, _ = v.name("cluster", &raw.Name)
	} else {
		v.refuse(raw.At, "the cluster has no name", `write name = "shop" below [cluster], the same on every node`)
	}
	c.Port = int(v.number("port", &raw.Port, DefaultPort, 1, maxPort))
	c.Insecure = raw.Insecure.or(false)
	c.KeyFile = v.path("key_file", &raw.KeyFile)
	switch {
	case c.Insecure && raw.KeyFile.written():
		v.clash(raw.Insecure.at, "insecure = true and a key_file contradict each other",
			"delete insecure to encrypt with the key, or delete key_file", raw.KeyFile.key, "the key")
	case c.Insecure:
		v.warn(raw.Insecure.at, "insecure: anyone on the network can move the addresses of this cluster",
			`make a key with hbagent keygen, and write key_file = "/etc/hbagent/gossip.key"`)
	case !raw.KeyFile.written() && raw.Insecure.state != broken:
		v.refuse(raw.At, "the cluster has no key_file",
			`make one with hbagent keygen, copy it to every node and write key_file = "/etc/hbagent/gossip.key"; insecure = true does without`)
	}
}

func (v *validator) lease(raw *rawLease) {
	l := &v.cfg.Lease
	l.TTL = v.duration("ttl", &raw.TTL, defaultTTL, minTTL, maxTTL)
	l.Generation = uint64(v.number("generation", &raw.Generation, defaultGeneration, 1, 1<<53))
	l.Gate = v.gate(raw, l.TTL)
	voters := len(v.cfg.Voters())
	if raw.Witness.given() {
		l.Witness, _ = v.address("witness", &raw.Witness)
		if voters != 2 {
			v.refuse(raw.Witness.at, fmt.Sprintf("a witness decides between exactly two voters, and there are %d", voters),
				"delete witness: a majority of the voters decides")
		}
		for i, n := range v.cfg.Nodes {
			if n.Address == l.Witness && l.Witness.IsValid() {
				v.clash(raw.Witness.at, "the witness is node "+quote(n.Name)+" itself", "give the gateway's address: it must answer when a node is down",
					v.raw.Nodes[i].Address.at, "this node")
			}
		}
	}
	if len(v.raw.Nodes) == 0 {
		return // reported
	}
	at := v.raw.Nodes[0].At
	switch {
	case voters == 0:
		v.refuse(at, "no node votes, so no group can ever have an owner", "delete voter = false from an odd number of nodes")
	case voters == 1 && len(v.raw.Nodes) == 1:
		v.warn(at, "one node: nothing can take over from it", "add a second and a third [[node]]")
	case voters == 1:
		v.warn(at, fmt.Sprintf("only %s votes: when it is down, no address moves", quote(v.cfg.Voters()[0])), "let three nodes vote")
	case voters == 2 && !raw.Witness.written():
		v.warn(at, "two voters without a witness never fail over: one of two is no majority",
			`add a third [[node]] (it needs no group), or write witness = "10.0.0.1" (the gateway) below [lease]`)
	case voters > 2 && voters%2 == 0:
		v.warn(at, fmt.Sprintf("%d voters survive the loss of %d, no more than %d voters do", voters, (voters-1)/2, voters-1),
			"write voter = false at one node, or add one")
	}
}

// gate is what ends a lease in the kernel; the lifetimes of addresses alone can end only long ones.
func (v *validator) gate(raw *rawLease, ttl time.Duration) string {
	gate := raw.Gate.or(GateNFT)
	switch {
	case gate == GateAddress && ttl < minAddressTTL && raw.TTL.written():
		v.clash(raw.Gate.at, fmt.Sprintf("gate = \"address\" cannot end a lease of %s on time", quote(shortDuration(ttl))),
			`write ttl = "5s" or more, or gate = "nft"`, raw.TTL.at, "the lease")
	case gate == GateAddress && ttl < minAddressTTL:
		v.refuse(raw.Gate.at, fmt.Sprintf("gate = \"address\" cannot end a lease of %s, the default ttl, on time", quote(shortDuration(ttl))),
			`write ttl = "5s" or more below [lease], or gate = "nft"`)
	case gate != GateNFT && gate != GateAddress:
		hint := `write gate = "nft" or "address"`
		if near, ok := suggest(gate, []string{GateNFT, GateAddress}); ok {
			hint = "did you mean " + quote(near) + "?"
		}
		v.refuse(raw.Gate.at, "unknown gate "+quote(gate), hint)
		return GateNFT
	}
	return gate
}

func (v *validator) allNodes() {
	if len(v.raw.Nodes) == 0 && !v.raw.spoiled["node"] {
		v.whole("no [[node]]: a cluster is made of nodes", "write a [[node]] with name and address for each machine, the same file on every one")
	}
	byAddress := map[netip.Addr]declared{}
	family := declared{}
	for i := range v.raw.Nodes {
		raw := &v.raw.Nodes[i]
		n := Node{Voter: raw.Voter.or(true)}
		n.Name, _ = v.unique("node", &raw.Name, func(name string) (span, bool) { at, ok := v.nodes[name]; return at, ok })
		if !raw.Address.written() {
			v.refuse(raw.At, "node "+quote(n.Name)+" has no address", `write address = "10.0.0.11": where the other nodes reach this machine`)
		}
		if addr, ok := v.address("address", &raw.Address); ok {
			n.Address = addr
			here := declared{at: raw.Address.at, address: addr}
			if first, dup := byAddress[addr]; dup {
				v.clash(here.at, "two nodes have the address "+addr.String(), "each machine has its own address; the floating one belongs into a [[group]]", first.at, "first here")
			} else if byAddress[addr] = here; family.address.IsValid() && family.address.Is4() != addr.Is4() {
				v.clash(here.at, "the nodes' addresses mix IPv4 and IPv6", "give every node an address of the same family; floating addresses may have both", family.at, "the first node's")
			}
			if !family.address.IsValid() {
				family = here
			}
			if addr.IsLoopback() && len(v.raw.Nodes) > 1 {
				v.warn(here.at, "no other machine can reach the loopback address "+addr.String(), "give the address of this node on the network the nodes share")
			}
		}
		if raw.Name.given() {
			if _, dup := v.nodes[raw.Name.value]; !dup {
				v.nodes[raw.Name.value] = raw.Name.at
			}
		}
		v.cfg.Nodes = append(v.cfg.Nodes, n)
	}
}

// unique is name, and refuses one that first knows.
func (v *validator) unique(kind string, s *setting[string], first func(string) (span, bool)) (string, bool) {
	if !s.written() {
		v.refuse(s.at, header(kind)+" without a name", fmt.Sprintf(`write name = "..." below %s`, header(kind)))
		return "", false
	}
	name, ok := v.name(kind, s)
	if ok {
		if at, dup := first(name); dup {
			v.clash(s.at, kind+" "+quote(name)+" is defined twice", "give one of them another name, or delete it", at, "first defined here")
			return name, false
		}
	}
	return name, ok
}

func (v *validator) name(kind string, s *setting[string]) (string, bool) {
	if !s.given() {
		return "", false
	}
	switch {
	case s.value == "":
		v.refuse(s.at, "the "+kind+"'s name is empty", "write a short name, for example "+quote(kind+"1"))
	case len(s.value) > maxName:
		v.refuse(s.at, fmt.Sprintf("the %s's name has %d characters, at most %d are allowed", kind, len(s.value), maxName), "choose a shorter name")
	case !goodName.MatchString(s.value):
		v.refuse(s.at, quote(s.value)+" is not a name", `a name begins with a letter or digit and has only a-z, A-Z, 0-9, "." "_" "-"`)
	default:
		return s.value, true
	}
	return s.value, false
}

// refers finds name among the defined ones, or refuses it with the nearest.
func (v *validator) refers(kind string, s setting[string], defined []string) bool {
	if slices.Contains(defined, s.value) || v.raw.spoiled[kind] {
		return true
	}
	if v.full() {
		v.dropped++
		return false
	}
	hint := "define it in a " + header(kind) + " table, or delete it here"
	if near, ok := suggest(s.value, defined); ok {
		hint = "did you mean " + quote(near) + "?"
	} else if len(defined) > 0 {
		hint += "; defined are: " + strings.Join(defined[:min(len(defined), 10)], ", ")
	}
	v.refuse(s.at, fmt.Sprintf("%s %s is not defined", kind, quote(s.value)), hint)
	return false
}
