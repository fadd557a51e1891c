package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hbagent/hbagent/pkg/cluster"
)

const methodKeys = "keys" // keysRequest -> keysAnswer

// What a node that carries a rotation out asks of the others, and of itself.
const (
	keysLook    = "look"    // how far are you? Nobody but the asker goes on for now
	keysAccept  = "accept"  // stage 1, with the key
	keysUse     = "use"     // stage 2
	keysOnly    = "only"    // the end; waits until the node has heard the others with the key
	keysForget  = "forget"  // back from stage 1
	keysFetch   = "fetch"   // the key itself, for a node that goes on with a rotation whose key it has not got
	keysRelease = "release" // the asker has ended
)

// Chosen by us.
const (
	keyHeardWait = 10 * time.Second // each peer sends every few seconds at the least, and one packet a second is looked at
	keyHeardPoll = 100 * time.Millisecond
)

type keysRequest struct {
	Op          string   `json:"op"`
	Fingerprint string   `json:"fingerprint,omitempty"`
	Key         []byte   `json:"key,omitempty"`
	Without     []string `json:"without,omitempty"` // nodes that need not be heard
}

type keysAnswer struct {
	cluster.KeyState
	Key []byte `json:"key,omitempty"`
}

// keysStep does what a node asks that carries a rotation out.
func (a *api) keysStep(ctx context.Context, from string, req keysRequest) (ans keysAnswer, err error) {
	k := a.loop.keys
	if k.state() == nil {
		return ans, errors.New("there is no key here: [cluster] insecure is set")
	}
	// A peer may ask as soon as the port is open; the loop runs when everything is connected.
	if err := a.loop.do(ctx, func() {}); err != nil {
		return ans, err
	}
	if req.Op == keysRelease {
		k.release(from)
		ans.KeyState = *k.state()
		return ans, nil
	}
	if err := k.hold(from); err != nil {
		return ans, err
	}
	why := "rotation, asked for on " + from
	switch req.Op {
	case keysLook:
		err = k.meetFile()
	case keysAccept:
		if cluster.KeyFingerprint(req.Key) != req.Fingerprint {
			return ans, errors.New("the key is not the one that was named")
		}
		err = k.change(func(r keyring) (keyring, error) { return r.accept(req.Key) }, why)
	case keysUse:
		err = k.change(func(r keyring) (keyring, error) { return r.use(req.Fingerprint) }, why)
	case keysOnly:
		if err = a.heardWith(ctx, req.Fingerprint, req.Without); err == nil {
			err = k.change(func(r keyring) (keyring, error) { return r.only(req.Fingerprint) }, why)
		}
	case keysForget:
		err = k.change(func(r keyring) (keyring, error) { return r.forget(req.Fingerprint) }, why)
	case keysFetch:
		r := k.now().ring
		i := r.find(req.Fingerprint)
		if i < 0 {
			return ans, fmt.Errorf("key %s is not known here", req.Fingerprint)
		}
		ans.Key = r.keys[i]
	default:
		return ans, fmt.Errorf("this agent does not know the step %q of a rotation: it may be older than %s's", req.Op, from)
	}
	ans.KeyState = *k.state()
	return ans, err
}

// heardWith waits until this node itself has heard every other one send with a key: only then can it do without the old ones.
func (a *api) heardWith(ctx context.Context, fingerprint string, without []string) error {
	ctx, cancel := context.WithTimeout(ctx, keyHeardWait)
	defer cancel()
	poll := time.NewTicker(keyHeardPoll)
	defer poll.Stop()
	var nodes []string
	if err := a.loop.do(ctx, func() { nodes, _ = a.loop.others() }); err != nil {
		return err
	}
	for {
		late := ""
		sights := a.loop.keys.net.KeySights()
		for _, n := range nodes {
			if s := sights[n]; !slices.Contains(without, n) && s.Fingerprint != fingerprint {
				if late = n + " has not been heard to send with it"; s.Fingerprint != "" {
					late = n + " still sends with key " + s.Fingerprint
				}
				break
			}
		}
		if late == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s still needs the old key: %s", a.loop.node, late)
		case <-poll.C:
		}
	}
}
