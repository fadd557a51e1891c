package cluster

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode/utf8"
)

// maxCheckMessage is the length of CheckState.Message, and of TemplateState.Message, in bytes. Chosen by us: one
// line for people, and a node with a dozen checks still fits a few datagrams.
const maxCheckMessage = 200

// NodeState is what a node tells all others of itself. It travels as JSON; a
// field that the reader does not know is ignored and relayed.
type NodeState struct {
	Node    string `json:"node"`
	RunID   string `json:"run_id"`
	Version string `json:"version"` // of the program
	// Incarnation and Seq order the states of one node. Set by Publish.
	Incarnation uint64 `json:"incarnation"`
	Seq         uint64 `json:"seq"`

	ConfigHash  string        `json:"config_hash"`
	Generation  uint64        `json:"generation"` // of the voter list
	TTL         time.Duration `json:"ttl"`        // nanoseconds
	At          time.Time     `json:"at"`         // the node's wall clock when published
	Started     time.Time     `json:"started"`
	Maintenance string        `json:"maintenance,omitempty"` // reason; empty: not in maintenance

	Keys   *KeyState    `json:"keys,omitempty"` // nil: of an older agent, or without encryption
	Checks []CheckState `json:"checks,omitempty"`
	Groups []GroupState `json:"groups,omitempty"`
	Roles  []RoleState  `json:"roles,omitempty"` // of groups with a role only

	Templates []TemplateState `json:"templates,omitempty"`
}

// KeyState names the gossip keys of one node by their fingerprints.
type KeyState struct {
	First  string   `json:"first"`            // encrypts
	Others []string `json:"others,omitempty"` // decrypt, too
	// Fresh is the key of a rotation that is under way there, at Stage 1 (it is understood) or 2 (it encrypts).
	Fresh  string `json:"new,omitempty"`
	Stage  int    `json:"stage,omitempty"`
	Learnt bool   `json:"learnt,omitempty"` // by a rotation: the node's key file has others
}

// Equal reports whether two are the same; nil is equal to nil only.
func (k *KeyState) Equal(o *KeyState) bool {
	if k == nil || o == nil {
		return k == o
	}
	return k.First == o.First && slices.Equal(k.Others, o.Others) && k.Fresh == o.Fresh && k.Stage == o.Stage && k.Learnt == o.Learnt
}

// TemplateState is one file that follows the cluster on one node.
type TemplateState struct {
	Name    string    `json:"name"`
	File    string    `json:"file"`
	Status  string    `json:"status"`            // pending, current, held, failing
	Message string    `json:"message,omitempty"` // at most 200 bytes; Publish cuts it
	Since   time.Time `json:"since"`
	Changed time.Time `json:"changed,omitzero"` // the file, by this run of the agent
}

// CheckState is one check on one node.
type CheckState struct {
	Name     string    `json:"name"`
	Type     string    `json:"type"`
	Status   string    `json:"status"` // pending, passing, failing
	Required bool      `json:"required"`
	Message  string    `json:"message,omitempty"` // at most 200 bytes; Publish cuts it
	Since    time.Time `json:"since"`
}

// GroupState is one group as one node sees it.
type GroupState struct {
	Name        string    `json:"name"`
	State       string    `json:"state"` // active, standby, acquiring, draining, fault, maintenance
	Epoch       uint64    `json:"epoch"`
	Since       time.Time `json:"since"`
	Eligible    bool      `json:"eligible"`
	Reason      string    `json:"reason,omitempty"`
	Cause       string    `json:"cause,omitempty"` // of the last change of owner to this node
	LeaseLeftMs int64     `json:"lease_left_ms"`
	Moves       int64     `json:"moves"`
	// While State is draining: the connections that are left (-1: not counted
	// yet), and for how long at most.
	Connections int   `json:"connections,omitempty"`
	DrainLeftMs int64 `json:"drain_left_ms,omitempty"`
}

// RoleState is what a node knows of the service behind a group with a role. What is in
// it is the affair of the agent and the role.
type RoleState struct {
	Group string          `json:"group"`
	Seen  json.RawMessage `json:"seen,omitempty"` // of the node's own service; absent on a node that has none
	Last  json.RawMessage `json:"last,omitempty"` // the newest that it knows of an owner's
}

// version orders the states of one node. The zero version is older than any.
type version struct{ incarnation, seq uint64 }

func (s *NodeState) version() version { return version{s.Incarnation, s.Seq} }

func (v version) compare(w version) int {
	return cmp.Or(cmp.Compare(v.incarnation, w.incarnation), cmp.Compare(v.seq, w.seq))
}

func (v version) newerThan(w version) bool { return v.compare(w) > 0 }

// Publish replaces this node's state and sends it to every peer. Node,
// Incarnation and Seq are set here, RunID, Version and At where they are empty. It
// only encodes and wakes the senders: it does not wait for the network. Safe for
// concurrent use.
func (c *Cluster) Publish(s NodeState) error {
	if s.Node != "" && s.Node != c.opts.Node {
		return fmt.Errorf("cluster: publish: state is of node %q, this is %q", s.Node, c.opts.Node)
	}
	s.Node = c.opts.Node
	s.RunID = cmp.Or(s.RunID, c.opts.RunID)
	s.Version = cmp.Or(s.Version, c.opts.Version)
	if s.At.IsZero() {
		s.At = time.Now().Round(0) // as peers will see it: without the monotonic part
	}
	s.Checks = slices.Clone(s.Checks)
	s.Groups = slices.Clone(s.Groups)
	s.Roles = slices.Clone(s.Roles)
	s.Templates = slices.Clone(s.Templates)
	for i := range s.Checks {
		s.Checks[i].Message = cutText(s.Checks[i].Message, maxCheckMessage)
	}
	for i := range s.Templates {
		s.Templates[i].Message = cutText(s.Templates[i].Message, maxCheckMessage)
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.publishLocked(s); err != nil {
		return fmt.Errorf("cluster: publish: %w", err)
	}
	return nil
}

// publishLocked gives s the next version and wakes the senders.
func (c *Cluster) publishLocked(s NodeState) error {
	s.Incarnation, s.Seq = c.incarnation, c.seq+1
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if len(raw) > maxState {
		return fmt.Errorf("state of %d bytes, at most %d: %w", len(raw), maxState, errTooLarge)
	}
	c.seq++
	c.own = known{state: s, raw: raw}
	for _, p := range c.peers {
		p.wakePush()
	}
	return nil
}

// raiseIncarnationLocked makes our versions newer than seen, which somebody
// remembers of us: the wall clock was set back between two starts.
func (c *Cluster) raiseIncarnationLocked(seen uint64) {
	if seen < c.incarnation {
		return
	}
	c.logger.Warn("a peer knows a newer state of this node than its own: the wall clock went back; counting on from there",
		"seen", seen, "incarnation", c.incarnation)
	c.incarnation = seen + 1
	if c.own.raw != nil {
		// It was encoded before, and has grown by no more than a digit or two.
		if err := c.publishLocked(c.own.state); err != nil {
			c.logger.Error("cannot publish own state again", "err", err)
		}
	}
}

// known is the newest state of a node that we have. raw is nil where there is none.
type known struct {
	state NodeState
	raw   []byte // as received, immutable
}

func (k *known) version() version { return k.state.version() }

// Reasons for not taking a state.
var (
	errStateOld     = errors.New("not newer than the known one")
	errStateUnknown = errors.New("of a node that is not configured")
	errStateOwn     = errors.New("of this node itself")
)

// takeState merges one state from the wire, direct or relayed. raw must be
// immutable from here on.
func (c *Cluster) takeState(s NodeState, raw []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.Node == c.opts.Node {
		if s.version().newerThan(version{c.incarnation, c.seq}) {
			c.raiseIncarnationLocked(s.Incarnation)
		}
		return errStateOwn
	}
	p := c.peers[s.Node]
	if p == nil {
		return errStateUnknown
	}
	if !s.version().newerThan(p.known.version()) {
		return errStateOld
	}
	if s.Incarnation > p.known.version().incarnation {
		// It has just started, and knows no state of ours: it joined another node, and that we are told of it by
		// gossip takes up to a second.
		p.wakePush()
	}
	p.known = known{state: s, raw: raw}
	p.incarnation = max(p.incarnation, s.Incarnation)
	c.wakeNews()
	return nil
}

// States returns the newest known state of each node that has published one, own
// included, by name. Slices in them are shared and must not be changed. Safe for
// concurrent use.
func (c *Cluster) States() []NodeState {
	c.mu.Lock()
	defer c.mu.Unlock()
	states := map[string]NodeState{}
	if c.own.raw != nil {
		states[c.opts.Node] = c.own.state
	}
	for name, p := range c.peers {
		if p.known.raw != nil {
			states[name] = p.known.state
		}
	}
	list := make([]NodeState, 0, len(states))
	for _, name := range slices.Sorted(maps.Keys(states)) {
		list = append(list, states[name])
	}
	return list
}

// cutText shortens s to at most limit bytes without splitting a character.
func cutText(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
