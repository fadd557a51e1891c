package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// exchange is the user part of memberlist's push/pull: the sender's own state, and which versions it has of those of the
// others. What the reader lacks it asks for: were all states in every exchange, its size would grow with nodes times groups,
// for news that nearly always came another way.
type exchange struct {
	From   string               `json:"from,omitempty"`
	States []json.RawMessage    `json:"states"`
	Known  map[string][2]uint64 `json:"known,omitempty"` // incarnation and sequence by node
}

func (c *Cluster) encodeExchange() []byte {
	c.mu.Lock()
	e := exchange{From: c.opts.Node, Known: make(map[string][2]uint64, len(c.peers))}
	if c.own.raw != nil {
		e.States = append(e.States, c.own.raw)
	}
	for name, p := range c.peers {
		if p.known.raw != nil {
			v := p.known.version()
			e.Known[name] = [2]uint64{v.incarnation, v.seq}
		}
	}
	c.mu.Unlock()
	return mustJSON(e)
}

// takeExchange takes the other side's. In a join the nodes that are alive tell of themselves as soon as they hear that we are
// there: only what is known of the others is asked for.
func (c *Cluster) takeExchange(buf []byte, join bool) error {
	var e exchange
	if err := json.Unmarshal(buf, &e); err != nil {
		return fmt.Errorf("exchange of states: %w: %w", errMalformed, err)
	}
	for _, raw := range e.States[:min(len(e.States), maxPeers)] {
		s, err := decodeState(raw)
		if err == nil {
			err = c.takeState(s, raw)
		}
		if err != nil && !errors.Is(err, errStateOld) && !errors.Is(err, errStateOwn) {
			c.logger.Debug("relayed state dropped", "node", s.Node, "reason", err)
		}
	}
	p := c.peers[e.From]
	if p == nil {
		return nil
	}
	for names := range slices.Chunk(c.lacking(e.Known, join), maxPulled) {
		if err := c.ml.SendToAddress(p.dest, encodePull(pullMessage{From: c.opts.Node, Of: names})); err != nil {
			return fmt.Errorf("pull states from %s: %w", p.name, err)
		}
	}
	return nil
}

// lacking names the nodes of which somebody knows a newer state than we do.
func (c *Cluster) lacking(known map[string][2]uint64, join bool) (names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok := known[c.opts.Node]; ok && v[0]>>63 == 0 && (version{v[0], v[1]}).newerThan(version{c.incarnation, c.seq}) {
		c.raiseIncarnationLocked(v[0])
	}
	for name, v := range known {
		p := c.peers[name]
		if p != nil && (version{v[0], v[1]}).newerThan(p.known.version()) && !(join && p.alive) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// relay sends p what it has asked for of what we know of others: in datagrams where they fit, one state after the other. What is
// asked for meanwhile joins what is left.
func (c *Cluster) relay(p *peer, names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		if c.peers[name] != nil && name != p.name {
			p.wanted[name] = true
		}
	}
	if p.relaying || len(p.wanted) == 0 {
		return
	}
	p.relaying = c.spawn(func() {
		for {
			name, raw := c.nextWanted(p)
			if name == "" {
				return
			}
			var err error
			switch {
			case raw == nil:
			case len(raw) <= maxStateDatagram:
				err = c.ml.SendToAddress(p.dest, encodeRawState(raw))
			default:
				err = c.ml.SendReliable(&p.node, encodeRawState(raw))
			}
			if err != nil {
				c.logger.Debug("cannot relay a state", "peer", p.name, "node", name, "err", err)
			}
		}
	})
}

// nextWanted takes one out of what p wants; no name: that was all, and the relay ends.
func (c *Cluster) nextWanted(p *peer) (name string, raw []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range p.wanted {
		delete(p.wanted, name)
		return name, c.peers[name].known.raw
	}
	p.relaying = false
	return "", nil
}
