package cluster

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/hashicorp/memberlist"
)

// delegate is the Cluster as memberlist sees it. Membership callbacks come with
// memberlist's node lock held: they note what happened and wake somebody.
type delegate struct{ c *Cluster }

var (
	_ memberlist.Delegate         = delegate{}
	_ memberlist.EventDelegate    = delegate{}
	_ memberlist.PingDelegate     = delegate{}
	_ memberlist.AliveDelegate    = delegate{}
	_ memberlist.ConflictDelegate = delegate{}
)

// metadata describes one start of one agent, as JSON of at most
// memberlist.MetaMaxSize (512) bytes: the parts are limited by Options and maxName.
type metadata struct {
	RunID    string `json:"run"`
	Version  string `json:"version"`
	Protocol int    `json:"protocol"`
	Instance uint64 `json:"instance"` // differs with each start, also where the run id is resumed
}

// NodeMeta describes us to peers.
func (d delegate) NodeMeta(limit int) []byte {
	b := mustJSON(metadata{RunID: d.c.opts.RunID, Version: d.c.opts.Version, Protocol: protocolVersion, Instance: d.c.instance})
	if len(b) > limit {
		panic(fmt.Sprintf("cluster: metadata of %d bytes, at most %d: Options were not checked", len(b), limit))
	}
	return b
}

// NotifyMsg takes each of our messages, from the packet goroutine (datagrams) or
// a stream's own. The buffer is memberlist's.
func (d delegate) NotifyMsg(b []byte) {
	if len(b) > 0 && kind(b[0]) == kindLease && len(b) <= 1+maxLease { // in another form than leaseWire's; none sends that
		d.c.stats.leasesIn.Add(1)
		d.c.opts.Handler.LeaseMessage(bytes.Clone(b[1:]))
		return
	}
	if err := d.c.receive(bytes.Clone(b)); err != nil && !errors.Is(err, errStateOld) {
		d.c.logger.Debug("message dropped", "bytes", len(b), "reason", err)
	}
}

// GetBroadcasts has nothing to add: states are sent to each peer directly.
func (delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState is our part of a push/pull.
func (d delegate) LocalState(bool) []byte { return d.c.encodeExchange() }

// MergeRemoteState takes the other side's.
func (d delegate) MergeRemoteState(b []byte, join bool) {
	if err := d.c.takeExchange(b, join); err != nil {
		d.c.logger.Debug("message dropped", "bytes", len(b), "reason", err)
	}
}

// NotifyJoin: dead or unknown before, alive now.
func (d delegate) NotifyJoin(n *memberlist.Node) { d.c.memberAlive(n) }

// NotifyUpdate: alive before and now, with other metadata: it restarted unnoticed.
func (d delegate) NotifyUpdate(n *memberlist.Node) { d.c.memberAlive(n) }

// NotifyLeave: dead now, of whatever cause. (n.State says alive all the same.)
func (d delegate) NotifyLeave(n *memberlist.Node) {
	c := d.c
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peers[n.Name]
	if p == nil {
		return
	}
	reason := ReasonFailed
	if p.leftInstance == p.instance {
		reason = ReasonLeft
	}
	c.setAliveLocked(p, false, reason)
}

// NotifyAlive is asked before a member is taken in or changed, for ourselves too.
func (d delegate) NotifyAlive(n *memberlist.Node) error {
	verdict := d.c.admit(n)
	if verdict == admitted {
		return nil
	}
	d.c.problems.report(d.c.admissionProblem(n, verdict))
	return errors.New(verdict.String())
}

// NotifyConflict cannot happen as long as NotifyAlive pins each name to one address.
func (d delegate) NotifyConflict(existing, other *memberlist.Node) {
	d.c.problems.report(d.c.admissionProblem(other, otherAddress))
	d.c.logger.Error("memberlist reports a conflict that admission should have stopped", "peer", existing.Name)
}

// AckPayload tells whoever probes us which state of ours is the newest.
func (d delegate) AckPayload() []byte {
	d.c.mu.Lock()
	v := d.c.own.version()
	d.c.mu.Unlock()
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 16), v.incarnation)
	return binary.BigEndian.AppendUint64(b, v.seq)
}

// NotifyPingComplete measures, and pulls the peer's state if we missed the newest.
func (d delegate) NotifyPingComplete(n *memberlist.Node, rtt time.Duration, payload []byte) {
	p := d.c.peers[n.Name]
	if p == nil {
		return
	}
	p.sampleRTT(rtt)
	if len(payload) < 16 {
		return
	}
	theirs := version{binary.BigEndian.Uint64(payload), binary.BigEndian.Uint64(payload[8:])}
	d.c.mu.Lock()
	missed := theirs.newerThan(p.known.version())
	d.c.mu.Unlock()
	if missed {
		if err := d.c.ml.SendToAddress(p.dest, encodePull(pullMessage{From: d.c.opts.Node})); err != nil {
			d.c.logger.Debug("cannot pull a state", "peer", p.name, "err", err)
		}
	}
}

// memberAlive notes which instance of a peer is alive now.
func (c *Cluster) memberAlive(n *memberlist.Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peers[n.Name]
	if p == nil {
		return // ourselves
	}
	var meta metadata
	if err := json.Unmarshal(n.Meta, &meta); err != nil {
		return // admit has refused it
	}
	if meta.Instance == p.leftInstance {
		return // an echo of one that has said goodbye
	}
	if meta.RunID != p.runID {
		// A member's changes are ordered by memberlist. One return to the run id before
		// happens when a third node tells of the time before a restart; more only by
		// two agents that refute each other.
		if meta.RunID == p.runIDBefore {
			p.runIDReturns++
		}
		if p.runIDReturns > 1 {
			c.problems.report(Problem{Kind: NameConflict, Node: p.name, Addr: p.addr, Detail: fmt.Sprintf(
				"two agents take turns as %s (%s), run ids %s and %s: stop one of them; is the machine a clone?",
				p.name, p.addr.Addr(), p.runID, meta.RunID)})
		}
		p.runIDBefore, p.runID = p.runID, meta.RunID
	}
	if meta.Instance != p.instance {
		p.wakePush() // it knows nothing, also where nobody noticed that it was away
	}
	p.instance = meta.Instance
	p.incarnation = max(p.incarnation, meta.Instance)
	c.setAliveLocked(p, true, ReasonJoined)
}

// memberLeft takes a goodbye. memberlist learns of it a little later.
func (c *Cluster) memberLeft(m leaveMessage) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peers[m.Node]
	if p == nil {
		return errStateUnknown
	}
	// A newer one than we know has restarted a moment ago; an older one is an echo.
	if m.Instance < p.instance {
		return fmt.Errorf("goodbye of instance %d, running is %d", m.Instance, p.instance)
	}
	p.instance, p.leftInstance = m.Instance, m.Instance
	if !p.alive && p.reason == ReasonFailed {
		// memberlist's goodbye, which does not say that it is one, was here first.
		p.reason = ReasonLeft
		p.wantJoin.Store(false)
		c.wakeNews()
		return nil
	}
	c.setAliveLocked(p, false, ReasonLeft)
	return nil
}

// admission is the answer to "may this be a member?".
type admission int

const (
	admitted     admission = iota
	unknownName            // not configured
	otherAddress           // configured with another address
	floatingAddr           // never a member's
	otherMeta              // metadata missing, unreadable or of another protocol
)

func (a admission) String() string {
	return [...]string{"admitted", "name is not configured", "name is configured with another address",
		"address is a floating address", "metadata is of another protocol"}[a]
}

func (c *Cluster) admit(n *memberlist.Node) admission {
	addr, _ := netip.AddrFromSlice(n.Addr)
	addr = addr.Unmap()
	want, ok := c.addresses[n.Name]
	var meta metadata
	switch {
	case c.forbidden[addr]:
		return floatingAddr
	case !ok:
		return unknownName
	case netip.AddrPortFrom(addr, n.Port) != want:
		return otherAddress
	case json.Unmarshal(n.Meta, &meta) != nil, meta.Protocol != protocolVersion, meta.Instance == 0, meta.RunID == "":
		return otherMeta
	}
	return admitted
}

func (c *Cluster) admissionProblem(n *memberlist.Node, a admission) Problem {
	addr, _ := netip.AddrFromSlice(n.Addr)
	at := netip.AddrPortFrom(addr.Unmap(), n.Port)
	p := Problem{Node: n.Name, Addr: at}
	switch a {
	case floatingAddr:
		p.Kind = FloatingAddress
		p.Detail = fmt.Sprintf("node %q wants to be reached at the floating address %s: its [[node]] address must be the machine's own", n.Name, at.Addr())
	case otherAddress:
		p.Kind = NameConflict
		p.Detail = fmt.Sprintf("node %q is said to be at %s, and is configured here at %s: two machines use that name, or the configuration files differ",
			n.Name, at, c.addresses[n.Name])
	case otherMeta:
		p.Kind = VersionMismatch
		p.Detail = fmt.Sprintf("node %q (%s) does not describe itself as this version expects: bring hbagent to the same version on both", n.Name, at)
	default:
		p.Kind = UnknownNode
		p.Detail = fmt.Sprintf("a peer has a member %q at %s that is not configured here: the configuration files differ", n.Name, at)
	}
	return p
}

// receive handles every kind but leases. b is ours to keep.
func (c *Cluster) receive(b []byte) error {
	m, err := decode(b)
	if err != nil {
		return err
	}
	switch m := m.(type) {
	case stateMessage:
		return c.takeState(m.state, m.raw)
	case pullMessage:
		switch p := c.peers[m.From]; {
		case p == nil:
		case len(m.Of) > 0:
			c.relay(p, m.Of[:min(len(m.Of), maxPulled)])
		default:
			p.wakePush()
		}
	case leaveMessage:
		return c.memberLeft(m)
	case request:
		return c.serve(m)
	case answer:
		return c.takeAnswer(m)
	}
	return nil
}
