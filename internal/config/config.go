package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"time"
)

// Handover modes of a group.
const (
	// HandoverStrict: never two machines serving; open connections are reset.
	HandoverStrict = "strict"
	// HandoverDrain: the old owner finishes the TCP connections it has.
	HandoverDrain = "drain"
)

// Gates: what ends a lease on an address when nobody renews it.
const (
	// GateNFT: rules of nf_tables, on time to some milliseconds.
	GateNFT = "nft"
	// GateAddress: the lifetime of the address, in whole seconds.
	GateAddress = "address"
)

// Roles of a group: what its owner does beside having the addresses.
const (
	// RoleMySQL: the owner's MySQL or MariaDB server is the master, those of the other
	// nodes are its replicas.
	RoleMySQL = "mysql"
)

// Config is a validated configuration. It is immutable: its slices and maps are
// shared by everyone who reads it, and nobody may write to them.
type Config struct {
	File      string     // the name given to Load or Parse
	Hash      string     // first 12 hex digits of the SHA-256 of the content (see canonical)
	Cluster   Cluster    // who we are
	Lease     Lease      // how long a promise holds, and who decides
	HTTP      HTTP       // the status page
	Nodes     []Node     // in the order of the file, at least one
	Checks    []Check    // in the order of the file
	Groups    []Group    // in the order of the file
	Templates []Template // in the order of the file
	Warnings  []Problem  // accepted, but probably not what was meant; in the order of the file
}

// Cluster is the [cluster] table.
type Cluster struct {
	Name     string
	KeyFile  string // absolute path; empty only with Insecure. See ReadKeys
	Insecure bool   // messages are neither encrypted nor authenticated
	Port     int    // UDP and TCP, on each node's Address
}

// Lease is the [lease] table.
type Lease struct {
	TTL        time.Duration
	Generation uint64     // of the list of voters; at least 1
	Witness    netip.Addr // invalid if there is none; only with exactly two voters
	Gate       string     // GateNFT or GateAddress
}

// HTTP is the [http] table: where the read-only status page is served.
type HTTP struct {
	Listen      []netip.AddrPort            // on every node; nil if ListenNodes is used, or for nowhere
	ListenNodes map[string][]netip.AddrPort // node -> its own; nil if Listen is used
	Hosts       []string                    // names, in lower case, by which a browser may ask beside those of the nodes
}

// ListenOn returns what node listens on.
func (h HTTP) ListenOn(node string) []netip.AddrPort {
	if h.ListenNodes != nil {
		return h.ListenNodes[node]
	}
	return h.Listen
}

// Node is a [[node]] table: one machine with an agent.
type Node struct {
	Name    string
	Address netip.Addr // without zone
	Voter   bool       // its vote counts towards the quorum
}

// Check is a [[check]] table. Fields that its Type does not use are zero.
type Check struct {
	Name       string
	Type       string        // one of CheckTypes
	URL        string        // apache, nginx, http
	Address    string        // memcached, tcp: host:port
	DSNFile    string        // mysql: absolute path
	Command    []string      // exec: program (absolute path) and its arguments
	Unit       string        // systemd
	Interface  string        // link; arp: empty means the interface of the route to Target
	Target     netip.Addr    // arp: invalid means the default gateway
	Body       string        // apache, nginx, http: regular expression (RE2); empty accepts every body
	Status     int           // apache, nginx, http: expected status; 0 means 200 to 399
	Saturated  time.Duration // apache: no idle worker for this long is a failure
	MaxBusy    int           // apache: more busy workers are a failure; 0: any number
	MaxActive  int           // nginx: more active connections are a failure; 0: any number
	MaxDropped int           // nginx: more connections dropped since the last probe are a failure; 0: any number
	MaxLag     time.Duration // mysql: a replica further behind, or broken, fails; 0: it is shown only
	MaxThreads int           // mysql: more threads running are a failure; 0: any number
	ReadOnly   string        // mysql: read_only must be "on" or "off"; empty: either
	Interval   time.Duration // from the start of one probe to the start of the next
	Timeout    time.Duration // of one probe
	Fall       int           // consecutive failures until it fails
	Rise       int           // consecutive successes until it passes again
	Required   bool          // false: shown and counted, moves nothing
	Nodes      []string      // where it runs; never nil, the default is filled in
}

// Budget is so many things in so much time.
type Budget struct {
	Count int
	Per   time.Duration
}

// String gives the form of the file, for example "4/10m".
func (b Budget) String() string { return fmt.Sprintf("%d/%s", b.Count, shortDuration(b.Per)) }

// Group is a [[group]] table: addresses that move together.
type Group struct {
	Name        string
	Addresses   []netip.Prefix    // the host's address with the length of its network; not masked
	Interface   string            // on every node; empty if Interfaces is used
	Interfaces  map[string]string // node -> interface; nil if Interface is used
	Nodes       []string          // may own it, in order of preference
	Checks      []string          // that the owner must pass
	Failback    bool              // return to the first healthy node after Hold
	Hold        time.Duration     // healthy this long before a node is eligible again
	Handover    string            // HandoverStrict or HandoverDrain
	Drain       time.Duration     // how long open connections may take, with HandoverDrain
	MaxMoves    Budget            // moves because of a check; a dead owner is always replaced
	OnActive    []string          // executables (absolute paths), run in this order
	OnStandby   []string
	OnFault     []string
	HookTimeout time.Duration // of each hook
	Role        string        // RoleMySQL, or empty
	MySQL       MySQL         // zero without that role
}

// MySQL is the [group.mysql] table of a group with RoleMySQL.
type MySQL struct {
	DSNFile            string        // absolute path: this node's server
	ReplicationDSNFile string        // absolute path: the account for following another node's server
	MaxLag             time.Duration // a replica further behind is not eligible
	ApplyTimeout       time.Duration // a takeover waits so long without progress
	DemoteTimeout      time.Duration // what is being written has so long to end
	WaitForLast        time.Duration // for the last owner, when this node has less than it had
}

// Template is a [[template]] table: a file that follows the cluster.
type Template struct {
	Name     string
	Source   string        // absolute path of the text/template
	File     string        // absolute path of what it makes
	Check    []string      // program (absolute path) and arguments; {{.Path}} stands for the file to look at
	Reload   []string      // the same
	AsRoot   bool          // root runs the two
	Nodes    []string      // where it is kept; never nil, the default is filled in
	Mode     fs.FileMode   // 0: as it is
	Owner    string        // user:group, one of them may be empty; empty: as it is
	Interval time.Duration // one change in so much time, in the long run
	Timeout  time.Duration // of each command
}

// InterfaceOn returns the interface that carries the group's addresses on node, or
// "" if node may not own the group and the file names no interface for it.
func (g Group) InterfaceOn(node string) string {
	if g.Interfaces != nil {
		return g.Interfaces[node]
	}
	return g.Interface
}

// Load reads and validates the file at path. Errors are Problems, or an error of
// the file system (errors.Is works on it).
func Load(path string) (*Config, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no config: %w; make one with `hbagent init`, or start from `hbagent config example`", err)
	}
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	defer f.Close()
	// One byte more than allowed, so that Parse sees that there is too much.
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	return Parse(path, data)
}

// Parse validates data, which came from file (a name for messages only). The error
// is always of type Problems and holds every problem found; a file that is not TOML
// has its first one only. Parse does not look at the machine: whether a key file, an interface or a hook exists is asked by those
// who use them.
func Parse(file string, data []byte) (*Config, error) {
	rep := newReport(file, data)
	doc := read(rep)
	if len(rep.problems) > 0 {
		return nil, rep.errors()
	}
	var raw rawFile
	decode(rep, doc, &raw)
	cfg := validate(rep, &raw)
	if len(rep.problems) > 0 {
		return nil, rep.errors()
	}
	cfg.File = file
	cfg.Warnings = rep.sortedWarnings()
	cfg.Hash = hash(cfg)
	return cfg, nil
}

// Node returns the node of that name.
func (c *Config) Node(name string) (Node, bool) {
	i := slices.IndexFunc(c.Nodes, func(n Node) bool { return n.Name == name })
	if i < 0 {
		return Node{}, false
	}
	return c.Nodes[i], true
}

// Voters returns the names of the nodes whose votes count, in the order of the file.
func (c *Config) Voters() []string {
	var names []string
	for _, n := range c.Nodes {
		if n.Voter {
			names = append(names, n.Name)
		}
	}
	return names
}

// TemplatesFor returns the templates that are kept on node, in the order of the file.
func (c *Config) TemplatesFor(node string) []Template {
	var templates []Template
	for _, t := range c.Templates {
		if slices.Contains(t.Nodes, node) {
			templates = append(templates, t)
		}
	}
	return templates
}

// ChecksFor returns the checks that run on node, in the order of the file.
func (c *Config) ChecksFor(node string) []Check {
	var checks []Check
	for _, ch := range c.Checks {
		if slices.Contains(ch.Nodes, node) {
			checks = append(checks, ch)
		}
	}
	return checks
}
