package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/cluster"
)

// Chosen by us.
const (
	keyWatch  = time.Second
	keyRecent = 30 * time.Second // an observation of a peer's key that is older says nothing of now
)

// watchKeys finishes, on this node alone, a rotation that it was away from, until ctx ends.
func (a *api) watchKeys(ctx context.Context) error {
	tick := time.NewTicker(keyWatch)
	defer tick.Stop()
	for {
		next := tick.C
		if a.loop.keys.now().ring.fresh == "" {
			next = nil // no rotation is under way: there is nothing to finish
		}
		select {
		case <-ctx.Done():
			return nil
		case <-a.loop.keys.turned:
			continue
		case <-next:
		}
		r := a.loop.keys.now().ring
		states := make(map[string]*cluster.KeyState)
		if a.loop.do(ctx, func() { states = a.loop.peerKeys() }) != nil {
			return nil
		}
		step, why := catchUp(r, a.loop.keys.net.KeySights(), states, time.Now())
		if step == nil {
			continue
		}
		if err := a.loop.keys.change(step, why); err != nil {
			a.log.Warn("gossip key: cannot catch up with a rotation", "error", err)
		}
	}
}

// peerKeys are what the other configured nodes tell of their keys; nil where one has told nothing. It runs in the loop.
func (l *loop) peerKeys() map[string]*cluster.KeyState {
	states := make(map[string]*cluster.KeyState, len(l.peers))
	for n, p := range l.peers {
		states[n] = p.state.Keys // zero while it is not known
	}
	return states
}

// catchUp says which step of a rotation a node may take without being asked. It is pure.
//
// A peer that encrypts with the new key shows that every node that takes part understands it: so this one may encrypt with it, too. And
// where every other node understands nothing else, the old keys are of no use here either.
func catchUp(r keyring, sights map[string]cluster.KeySight, states map[string]*cluster.KeyState, now time.Time) (step func(keyring) (keyring, error), why string) {
	switch r.stage {
	case keyAccepted:
		for n, s := range sights {
			if s.Fingerprint == r.fresh && now.Sub(s.At) < keyRecent {
				return func(r keyring) (keyring, error) { return r.use(s.Fingerprint) }, n + " encrypts with it already"
			}
		}
	case keyFirst:
		for _, s := range states {
			if s == nil || s.First != r.fresh || len(s.Others) > 0 || s.Fresh != "" {
				return nil, ""
			}
		}
		fresh := r.fresh
		return func(r keyring) (keyring, error) { return r.only(fresh) }, "every other node has ended the rotation"
	}
	return nil, ""
}

// keyWarnings say what is wrong with the keys of the cluster, as far as this node knows. It runs in the loop.
func (l *loop) keyWarnings() (out []string) {
	v := l.keys.now()
	if v.trouble != "" {
		out = append(out, v.trouble)
	}
	own := l.keys.state()
	if own == nil {
		return out
	}
	half := make(map[string][]string) // nodes by the key of a rotation that is under way there
	note := func(node string, s *cluster.KeyState) {
		if s.Fresh != "" {
			half[s.Fresh] = append(half[s.Fresh], fmt.Sprintf("%s at stage %d", node, s.Stage))
		}
	}
	sights := l.net.KeySights()
	for _, n := range l.cfg.Nodes {
		p := l.peers[n.Name]
		switch {
		case p == nil:
			note(n.Name, own)
		case p.alive && p.state.Keys != nil:
			note(n.Name, p.state.Keys)
			if s := p.state.Keys; s.First != own.First && s.Fresh == "" && own.Fresh == "" {
				out = append(out, fmt.Sprintf("%s encrypts with key %s, and %s with %s: `hbagent key rotate` makes one of them", n.Name, s.First, l.node, own.First))
			}
		case !p.alive:
			if s := sights[n.Name]; s.Unreadable > 0 && time.Since(s.UnreadableAt) < keyRecent {
				out = append(out, fmt.Sprintf("%s sends with a key that is not ours (%d packets could not be read): "+
					"was it off while the key was rotated? See docs/keys.md", n.Name, s.Unreadable))
			}
		}
	}
	for key, nodes := range half {
		out = append(out, fmt.Sprintf("a rotation of the gossip key to %s is half done (%s): `hbagent key rotate` goes on", key, strings.Join(nodes, ", ")))
	}
	slices.Sort(out)
	return out
}

// nodeKeys are a node's keys for the status; nil: it has told nothing of them.
func nodeKeys(s *cluster.KeyState) *control.NodeKeys {
	if s == nil {
		return nil
	}
	return &control.NodeKeys{First: s.First, Others: s.Others, Rotating: s.Fresh, Stage: s.Stage, Learnt: s.Learnt}
}

// keyStatus is what `hbagent key status` shows. It runs in the loop and only reads.
func (l *loop) keyStatus() control.KeyStatus {
	out := control.KeyStatus{Cluster: l.cfg.Cluster.Name, Node: l.node, At: time.Now(), Encrypted: l.keys.state() != nil}
	sights := l.net.KeySights()
	agree := true
	var first string
	for _, n := range l.cfg.Nodes {
		k := control.KeyNode{Node: n.Name, Alive: n.Name == l.node}
		if p := l.peers[n.Name]; p == nil {
			k.Keys = nodeKeys(l.keys.state())
		} else {
			s := sights[n.Name]
			k.Alive, k.Keys, k.HeardWith, k.Unreadable = p.alive, nodeKeys(p.state.Keys), s.Fingerprint, s.Unreadable
			if s.Unreadable > 0 {
				k.UnreadableAt = s.UnreadableAt
			}
		}
		if first == "" && k.Keys != nil {
			first = k.Keys.First
		}
		agree = agree && k.Keys != nil && k.Keys.First == first && len(k.Keys.Others) == 0 && k.Keys.Rotating == ""
		out.Nodes = append(out.Nodes, k)
	}
	out.Warnings = l.keyWarnings()
	out.Agree = agree && len(out.Warnings) == 0 // what one told last may be of before it was off
	return out
}

// KeyStatus implements control.Agent.
func (a *api) KeyStatus(ctx context.Context) (s control.KeyStatus, err error) {
	err = a.loop.do(ctx, func() { s = a.loop.keyStatus() })
	return s, err
}
