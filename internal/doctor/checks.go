package doctor

import "slices"

// A Check is one thing that is looked at.
type Check struct {
	ID    string
	Looks string // what is looked at, one line
	Bad   string // what a problem or a warning means
}

// Checks is everything that is looked at, in the order in which findings of one level are printed. Identifiers are
// stable: programs compare them, and `--ignore` names them.
var Checks = []Check{
	{"config", "the config file", "it is not valid (problem), or says something that is probably not meant"},
	{"config-loaded", "the config that the agent has loaded", "the file has changed since: reload"},
	{"config-mode", "owner and mode of the config file", "others may change it (problem), or the agent's user may not read it"},
	{"key-file", "the gossip key: present, valid, owner, mode, readable for the agent", "the agent cannot use it, or others can read it"},
	{"secret-file", "files with passwords that checks and roles name", "others can read them, or the agent cannot"},
	{"node-name", "which node this machine is", "it is none, or its host name is that of another node"},
	{"agent", "the agent of this node", "it does not run, or does not answer"},
	{"agent-twice", "processes of agents", "two run on this machine"},
	{"agent-reports", "what the agent reports: unknown machines, name conflicts, overload, a history that is not written", "something a person should put right"},
	{"capabilities", "CAP_NET_ADMIN and CAP_NET_RAW", "the agent does not have them, or would not"},
	{"nf-tables", "the gate's self-test in scratch tables", "this kernel cannot hold the gate"},
	{"stalls", "how long this machine stood still: measured now, and by the agent in the last 24 hours", "longer than the lease allows: raise ttl"},
	{"clock-jumps", "the time of day against the monotonic clocks, now and by the agent in the last 24 hours", "it was set, or the machine was paused"},
	{"hypervisor", "on what the machine runs", "a network that ignores ARP"},
	{"unit", "hbagent.service with its drop-ins", "a setting is missing that a restart without a move needs"},
	{"unit-enabled", "whether the unit starts at boot", "it does not"},
	{"run-dir", "the run directory", "it does not empty at boot, so that promises outlive it"},
	{"state-dir", "the state directory", "the agent's user cannot write to it"},
	{"disk", "free space for the history", "the disk is full, or nearly"},
	{"hooks", "programs of on_active, on_standby, on_fault", "the agent's user cannot run one, or others can change it"},
	{"check-command", "programs of exec checks", "the agent's user cannot run one, or others can change it"},
	{"interface", "the interface of each group", "it does not exist, or carries no Ethernet"},
	{"interface-up", "it is up", "it is down"},
	{"carrier", "it has a carrier", "no cable, or a port that is off"},
	{"network-address", "an address of the same network on it", "there is none, so the floating address has no route to its neighbours"},
	{"arp-sysctl", "arp_ignore, and other interfaces in the same network", "the kernel does not answer for the address, or answers on two interfaces"},
	{"rp-filter", "rp_filter", "clients from elsewhere are dropped because their route back is another interface"},
	{"gratuitous-arp", "drop_gratuitous_arp", "this machine does not notice when an address moves"},
	{"ipv6-disabled", "disable_ipv6 where a floating address is IPv6", "the address cannot be added"},
	{"bridge-netfilter", "bridge-nf-call-iptables where the interface is a bridge", "the gate takes frames of other machines for routed ones"},
	{"node-address", "this node's own address", "it is not here, or another machine has it too"},
	{"address-in-use", "who answers for each floating address (ARP, neighbour discovery)", "a machine that is not its owner"},
	{"address-silent", "whether the owner's answers arrive here", "nobody answers: a switch, a hypervisor or arp_ignore is in the way"},
	{"address-permanent", "addresses on all interfaces", "a floating address was added by hand or by a network manager"},
	{"address-configured", "files of networkd, NetworkManager, netplan, ifupdown", "a floating address is written there: it comes back at boot, on every machine"},
	{"proxy-arp", "three addresses that nobody has", "somebody answers for all: probes and a witness prove nothing"},
	{"rival", "VRRP and CARP on the wire; keepalived, ucarp and their like as processes", "one of them manages a floating address"},
	{"networkd", "systemd-networkd and the interface", "it deletes the address when it restarts or reconfigures"},
	{"networkmanager", "NetworkManager and the interface", "it deletes the address when a connection is activated again"},
	{"ifupdown", "ifupdown and the interface", "`ifdown` deletes every address, and hotplug calls it"},
	{"cloud-init", "cloud-init and the network", "it writes the network's configuration anew"},
	{"service-address", "sockets of the services that a group's checks ask", "the service does not listen on the floating address"},
	{"nonlocal-bind", "services bound to a floating address itself", "they cannot start on a standby"},
	{"database", "the database server behind a group with the role mysql, and who may write to it", "transactions can be lost, or a takeover can fail"},
	{"peer-agent", "each peer's agent", "no agent runs there, or the machine cannot be reached"},
	{"peer-udp", "the gossip port, UDP, there and back", "a firewall drops it; leases need it"},
	{"peer-tcp", "the gossip port, TCP, towards the peer", "a firewall drops it"},
	{"peer-tcp-back", "the gossip port, TCP, from the peer to here", "a firewall drops it"},
	{"peer-key", "the gossip key of each peer", "it has another one"},
	{"peer-cluster", "the cluster of each peer", "it belongs to another one"},
	{"peer-version", "the version of each peer", "it differs"},
	{"peer-config", "the config of each peer", "it differs"},
	{"peer-loss", "datagrams lost", "more than a lease should have to bear"},
	{"peer-latency", "round trips against ttl", "the ttl is short for this network"},
	{"peer-size", "datagrams of 1400 bytes", "they do not arrive: MTU"},
	{"peer-clock", "the time of day of each peer", "it differs by seconds: histories cannot be compared"},
	{"witness", "the witness, by ARP or neighbour discovery", "it does not answer"},
	{"forwarding", "what the agent found when it last prepared a planned move", "a hypervisor or switch drops what a draining move needs"},
}

func position(id string) int {
	return slices.IndexFunc(Checks, func(c Check) bool { return c.ID == id })
}

func known(id string) bool { return position(id) >= 0 }
