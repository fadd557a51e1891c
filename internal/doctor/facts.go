package doctor

import (
	"io/fs"
	"net/netip"
	"time"

	"github.com/hbagent/hbagent/internal/agent"
	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/control"
)

// Facts are what Collect saw, and all that Judge knows. A Why says why something could not be looked at; where it is
// empty, what stands beside it holds.
type Facts struct {
	At        time.Time
	Node      string // this one; empty: unknown
	NodeWhy   string // why it is unknown
	Named     bool   // told by --node, or by the running agent
	Hostname  string
	Config    *config.Config
	ConfigErr string // why there is none
	LocalAddr []netip.Addr

	Agent    AgentFacts
	User     User // under whom the agent runs, or would
	Self     ProcessCaps
	Gate     SelfTest
	Sample   Sample
	Machine  Machine
	Unit     Unit
	Files    Files
	Links    map[string]Link // interfaces of groups, by name
	Others   []Link          // all other interfaces but lo
	Lo       []Address
	Routes   Routes
	Wire     map[string]Wire // by interface
	VRRP     VRRP
	Managers []Manager
	Written  []Written
	Sockets  []Socket
	SockWhy  string
	NonLocal map[bool]bool         // ip_nonlocal_bind, by "is IPv6"
	Services []agent.ServiceReport // of groups with a role
	Peers    []control.PeerProbe
	PeersWhy string
	Witness  Witness
}

// AgentFacts are what the agent of this node says.
type AgentFacts struct {
	Running bool
	Why     string // it does not answer, and this is why
	NoAgent bool   // nobody listens
	Process control.AgentProcess
	Caps    uint64 // effective capabilities of its process
	CapsWhy string
	Status  control.Status // before the wire was asked
	After   control.Status // and after it
	Events  []control.Event
	Agents  []Process // all agents in this network namespace
	ProcWhy string
}

// Process is a program that runs in the same network namespace.
type Process struct {
	PID  int
	Name string
	Args []string
}

// User is an account.
type User struct {
	Name  string
	UID   int
	Known bool // false: there is no such user; Name is who it should be
	GIDs  []int
}

// ProcessCaps is what this command may do.
type ProcessCaps struct {
	Root     bool // uid 0
	NetAdmin bool
	NetRaw   bool
}

// SelfTest is that of the gate.
type SelfTest struct {
	Name string // "nft owner egress"
	Err  string
	Why  string
}

// Sample is what was measured on this machine.
type Sample struct {
	For        time.Duration
	WorstStall time.Duration // how late a thread woke up
	WallJump   time.Duration // the time of day against CLOCK_BOOTTIME, absolute
	Asleep     time.Duration // CLOCK_BOOTTIME gained on CLOCK_MONOTONIC
}

// Machine is what it runs on.
type Machine struct {
	Vendor, Product string // DMI
	Rivals          []Rival
}

// Rival is a program that manages addresses, too.
type Rival struct {
	Process
	Addresses []netip.Addr // of ours, that its command line or config names
	Source    string       // where
}

// Unit is hbagent.service.
type Unit struct {
	Systemd bool   // this machine was started by systemd
	File    string // empty: there is none
	Enabled bool
	// Settings of [Service], drop-ins included. Lists are joined by spaces.
	Settings map[string]string
}

// Files are those of hbagent.
type Files struct {
	Config   File
	Key      File
	KeyErr   string // not valid
	Secrets  []File
	Hooks    []File
	Commands []File
	RunDir   Dir
	StateDir Dir
	Insecure bool // no key is needed
}

// File is one file and the directories above it.
type File struct {
	Path    string
	What    string // who names it: "group web", "check disk"
	Err     string // it cannot be looked at
	Missing bool
	Mode    fs.FileMode
	UID     int
	GID     int
	Above   []Above
	// Interpreter of a script, and whether it exists.
	Interpreter        string
	InterpreterMissing bool
}

// Above is a directory on the way to a file.
type Above struct {
	Path     string
	Mode     fs.FileMode
	UID, GID int
}

// Dir is a directory, and the file system it is on.
type Dir struct {
	File
	FS          string // "tmpfs", "ext4", or a number
	Free, Total uint64 // bytes; 0, 0: unknown
}

// Link is an interface.
type Link struct {
	Name     string
	Exists   bool
	Up       bool // administratively
	Carrier  bool
	Ethernet bool
	Bridge   bool
	MAC      string
	Addrs    []Address
	ARP      ARP
	NoIPv6   bool // disable_ipv6
	BridgeNF bool // bridge-nf-call-iptables
}

// ARP are the sysctls that decide about ARP; the larger of "all" and the interface's own, as the kernel has it.
type ARP struct {
	Ignore, RPFilter int
	DropGratuitous   bool
}

// Address is one on an interface.
type Address struct {
	netip.Prefix
	Permanent bool // without a lifetime: those of the agent have one
}

// Routes are the interfaces of default routes.
type Routes struct {
	Default4 string // interface name; empty: none
}

// Wire is what a segment said.
type Wire struct {
	Why    string
	Claims []Claim
	Decoys []netip.Addr // that were asked for, and nobody has
	// Proxied are those of Decoys for which somebody answers a question that has a sender: Linux does proxy ARP for
	// no other.
	Proxied int
}

// Claim is a machine that says that it has an address.
type Claim struct {
	Addr netip.Addr
	MAC  string
	// Announced: it did not answer, it only announced the address while this command listened.
	Announced bool
}

// VRRP is what was heard of it.
type VRRP struct {
	Why     string
	For     time.Duration
	Adverts []Advert
}

// Advert is a VRRP advertisement.
type Advert struct {
	From      netip.Addr
	VRID      int
	Addresses []netip.Addr
}

// Manager is a network manager, and what it has to do with an interface.
type Manager struct {
	ID        string // networkd, networkmanager, ifupdown, cloud-init
	Interface string
	File      string // that makes it manage the interface
	Harm      string // what it does to floating addresses; empty: nothing
	Do        string // the exact setting
}

// Written is a floating address in the configuration of a network manager.
type Written struct {
	Addr netip.Addr
	File string
}

// Socket listens.
type Socket struct {
	Addr    netip.AddrPort
	Program string // empty: not for us to see
}

// Witness is how it answered.
type Witness struct {
	Addr      netip.Addr
	Interface string
	Why       string // could not be asked
	Err       string // did not answer
	RTT       time.Duration
}
