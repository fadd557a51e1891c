package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
)

// Chosen by us: the site's addresses. RFC 1918 and RFC 4193 ranges; nothing routes out of the sandbox.
const (
	firstHost  = 11  // 10.77.0.11 and fd77::11 is the first node
	clientHost = 100 // the client
	askerHost  = 99  // sender of the ARP observer's questions; no machine has it
	maxNodes   = 39  // 10.77.0.11 to .49: .50 and up are for floating addresses
	maxWide    = 250 // of Options.Wide: 10.77.1.1 to 10.77.1.250

	switchName = "switch"
	bridgeName = "br0"
	clientName = "client"
)

// Floating addresses that no machine of a world has, for groups in tests and the demo.
var (
	Floating4 = netip.MustParsePrefix("10.77.0.50/24")
	Floating6 = netip.MustParsePrefix("fd77::50/64")
)

// Options describe a World.
type Options struct {
	Nodes   []string // names of the machines; default web1, web2, db1
	Wide    bool     // the segment is 10.77.0.0/16: room for 250 machines, and for the addresses of Floating
	Hbagent string   // program for agents and verbs; default this program, started with argv[0] "hbagent"
	// TimerSlack is how late the agents' timers may be; default: TimerSlackNSec= of hbagent.service.
	TimerSlack time.Duration
	Logger     *slog.Logger // what the lab does to the world; default: nowhere
}

// A World is a site: machines and a client on one switch. Its network namespaces end with Close, or with
// the sandbox.
type World struct {
	Client *Node
	Dir    string // holds config, key, and a directory for each node
	IPv6   bool   // false where the kernel has it switched off

	wide     bool
	machines int // without the client
	nodes    []*Node
	sw       *netspace
	program  string
	agentEnv []string
	slack    time.Duration // of agents
	log      *slog.Logger

	faultMu sync.Mutex
	faults  []fault // what the switch does to frames now

	templateMu sync.Mutex // guards the making of MariaDB's template directory
}

// nodeName also has to fit into an interface name (15 bytes) behind "p-".
var nodeName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,12}$`)

// ErrOutside is returned by [New] in a process that is not in a sandbox.
var ErrOutside = errors.New("the lab works only inside its sandbox (lab.Sandbox, labtest.Main)")

// New builds a world with every machine powered on and no process running. One world at a time in a
// sandbox. ctx bounds the building only.
func New(ctx context.Context, o Options) (*World, error) {
	if !Inside() {
		return nil, ErrOutside
	}
	names := o.Nodes
	if len(names) == 0 {
		names = []string{"web1", "web2", "db1"}
	}
	most := maxNodes
	if o.Wide {
		most = maxWide
	}
	if len(names) > most {
		return nil, fmt.Errorf("lab: %d nodes, at most %d fit", len(names), most)
	}
	_, err := os.Stat("/proc/sys/net/ipv6")
	w := &World{
		IPv6:    err == nil,
		wide:    o.Wide,
		program: cmp.Or(o.Hbagent, selfExe), slack: cmp.Or(o.TimerSlack, agentTimerSlack),
		log: cmp.Or(o.Logger, slog.New(slog.NewTextHandler(io.Discard, nil))),
	}
	if err := w.build(ctx, names); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

func (w *World) build(ctx context.Context, names []string) (err error) {
	w.machines = len(names)
	if w.Dir, err = os.MkdirTemp(Root, "site-"); err != nil {
		return err
	}
	if err := os.Chmod(w.Dir, 0o755); err != nil { // services run as another user
		return err
	}
	if err := w.buildSwitch(); err != nil {
		return err
	}
	for i, name := range slices.Concat(names, []string{clientName}) {
		place := w.placeOf(i)
		if i == len(names) {
			place = w.placeOfClient()
		}
		if !nodeName.MatchString(name) || name == switchName {
			return fmt.Errorf("lab: node name %q: want up to 13 of a-z, 0-9 and -, and not %q", name, switchName)
		}
		n := newNode(w, name, place)
		if err := os.MkdirAll(n.StateDir(), 0o755); err != nil {
			return err
		}
		if i == len(names) {
			w.Client = n
		} else {
			w.nodes = append(w.nodes, n)
		}
		if err := n.PowerOn(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (w *World) buildSwitch() (err error) {
	if w.sw, err = newNetspace(switchName); err != nil {
		return err
	}
	if w.IPv6 { // a switch has no addresses and says nothing
		if err := w.sw.sysctl("ipv6/conf/default/disable_ipv6", "1"); err != nil {
			return err
		}
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = bridgeName
	snooping := false // it would hold back neighbour solicitations until a querier appears
	if err := w.sw.nl.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}); err != nil {
		return fmt.Errorf("add the bridge: %w", err)
	}
	return w.sw.up(bridgeName) // STP is off in a new bridge: ports forward at once
}

// Nodes are the machines in the order of [Options], without the client.
func (w *World) Nodes() []*Node { return w.nodes }

// Node returns the machine (or the client) with this name and panics if there is none: a mistake in the
// calling code.
func (w *World) Node(name string) *Node {
	for _, n := range w.all() {
		if n.Name == name {
			return n
		}
	}
	panic("lab: no node " + name)
}

func (w *World) all() []*Node {
	all := append([]*Node(nil), w.nodes...)
	if w.Client != nil {
		all = append(all, w.Client)
	}
	return all
}

// nameOf says whose network card a hardware address is.
func (w *World) nameOf(mac net.HardwareAddr) string {
	for _, n := range w.all() {
		if n.MAC.String() == mac.String() {
			return n.Name
		}
	}
	return mac.String()
}

// Close kills every process of the world and removes its namespaces and files.
func (w *World) Close() error {
	var errs []error
	for _, n := range w.all() {
		errs = append(errs, n.PowerOff())
	}
	if w.sw != nil {
		errs = append(errs, w.sw.close())
	}
	if w.Dir != "" {
		errs = append(errs, os.RemoveAll(w.Dir))
	}
	return errors.Join(errs...)
}

// path is a file in the world's directory.
func (w *World) path(elem ...string) string {
	return filepath.Join(append([]string{w.Dir}, elem...)...)
}
