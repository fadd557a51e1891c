package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/memberlist"
)

// Limits of what is configured. Given by memberlist's formats.
const (
	maxClusterName = memberlist.LabelMaxSize // label.go: one length byte
)

// Limits of what is configured. Chosen by us.
const (
	maxPeers   = 128 // docs/scaling.md says which numbers were tried. All of their states are kept: at most maxPeers * maxState
	maxName    = 63  // of a node: a DNS label; keeps headers and logs short
	maxRunID   = 64  // run id and version share the 512 bytes of metadata
	maxVersion = 64
)

// Peer is a configured node.
type Peer struct {
	Name    string
	Address netip.Addr // of the machine itself, never a floating one
}

// Options configure a Cluster. They are read by Start and not changed after.
type Options struct {
	Cluster string // name of the cluster; packets of another are refused
	Node    string // which of Peers we are
	RunID   string // the agent's identity (see pkg/lease); shown to peers
	Version string // program version; shown to peers

	Peers []Peer // every configured node, Node itself included
	Port  int    // UDP and TCP, the same on every node

	// Keys are AES keys of 16, 24 or 32 bytes. The first encrypts, all decrypt.
	// None at all is accepted only together with Insecure.
	Keys     [][]byte
	Insecure bool // neither encryption nor authentication: tests and demos

	TTL       time.Duration // lease ttl; probe timings derive from it (see memberlistConfig)
	Forbidden []netip.Addr  // floating addresses: never bound, never accepted as a peer's
	Handler   Handler       // required
	Logger    *slog.Logger  // nil discards
}

// Handler receives what the cluster hears. Its methods are called without any
// lock held, may call back into the Cluster (except Close), and must not block.
//
// PeerState, PeerAlive and Problem are called from Run, one at a time.
// LeaseMessage is called from the read loop, and Call from a
// goroutine of its own. A call under way may end after Close has returned.
type Handler interface {
	// LeaseMessage takes a lease payload. The slice belongs to the callee. The
	// sender is somebody with the key: who, the payload must say itself.
	LeaseMessage(payload []byte)
	// PeerState takes a state of another node that is newer than the last one
	// given for it. If several came in between, only the newest is given.
	// Slices in it are shared and must not be changed.
	PeerState(s NodeState)
	// PeerAlive tells that a peer's liveness changed, or why it is not alive. All begin as not alive. The
	// reason is one of the Reason constants. Changes faster than the handler
	// takes them are folded into the last.
	PeerAlive(node string, alive bool, reason string)
	// Call answers another node's Cluster.Call. ctx ends with the caller's
	// deadline (60 s at most) or with Close. An error reaches the caller as a
	// RemoteError with the same text; an unknown method must be such an error.
	Call(ctx context.Context, from, method string, body []byte) ([]byte, error)
	// Problem reports something a person should put right, at most once a minute
	// per kind and peer.
	Problem(p Problem)
}

// normalize returns a checked copy, with addresses unmapped and keys cloned.
func (o Options) normalize() (Options, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if o.Handler == nil {
		bad("no handler")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Cluster == "" || len(o.Cluster) > maxClusterName {
		bad("cluster name %q: 1 to %d bytes are needed", o.Cluster, maxClusterName)
	}
	if o.RunID == "" || len(o.RunID) > maxRunID {
		bad("run id %q: 1 to %d bytes are needed", o.RunID, maxRunID)
	}
	if len(o.Version) > maxVersion {
		bad("version %q is longer than %d bytes", o.Version, maxVersion)
	}
	if o.Port < 1 || o.Port > 65535 {
		bad("port %d is not between 1 and 65535", o.Port)
	}
	if o.TTL <= 0 {
		bad("ttl %v is not positive", o.TTL)
	}
	if err := checkKeys(o.Keys, o.Insecure); err != nil {
		errs = append(errs, err)
	}

	o.Forbidden = slices.Clone(o.Forbidden)
	for i, a := range o.Forbidden {
		o.Forbidden[i] = a.Unmap()
	}
	o.Peers = slices.Clone(o.Peers)
	if len(o.Peers) > maxPeers {
		bad("%d nodes are more than the %d this package is made for", len(o.Peers), maxPeers)
	}
	names, addrs := map[string]bool{}, map[netip.Addr]string{}
	for i, p := range o.Peers {
		p.Address = p.Address.Unmap()
		o.Peers[i] = p
		if !validName(p.Name) {
			bad("node name %q: 1 to %d printable characters without space or slash are needed", p.Name, maxName)
		}
		if names[p.Name] {
			bad("node %s is listed twice", p.Name)
		}
		if other, ok := addrs[p.Address]; ok {
			bad("nodes %s and %s have the same address %s", other, p.Name, p.Address)
		}
		if err := checkPeerAddress(p.Address); err != nil {
			bad("node %s: %w", p.Name, err)
		}
		if slices.Contains(o.Forbidden, p.Address) {
			bad("node %s: address %s is a floating address: a node needs one that stays on its machine", p.Name, p.Address)
		}
		names[p.Name], addrs[p.Address] = true, p.Name
	}
	if !names[o.Node] {
		bad("this node, %q, is not among the configured nodes", o.Node)
	}
	return o, errors.Join(errs...)
}

// validName keeps slashes out because memberlist's join syntax is name/host:port,
// and everything that would confuse a log line.
func validName(s string) bool {
	return s != "" && len(s) <= maxName &&
		!strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' })
}

// checkPeerAddress refuses what cannot be one machine's address. Zones are lost
// in memberlist's messages, so link-local IPv6 cannot work.
func checkPeerAddress(a netip.Addr) error {
	switch {
	case !a.IsValid():
		return errors.New("no address")
	case a.IsUnspecified(), a.IsMulticast():
		return fmt.Errorf("address %s is not one machine's", a)
	case a.Is6() && (a.IsLinkLocalUnicast() || a.Zone() != ""):
		return fmt.Errorf("address %s: link-local addresses do not work here, use a global or fd00::/8 one", a)
	}
	return nil
}
