package agent

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/cluster"
)

// Chosen by us.
const (
	newKeyBytes = 32 // AES-256, as `hbagent keygen` makes them
	keyStepWait = 5 * time.Second
	keyEndWait  = keyHeardWait + keyStepWait
	// keySettle lets what was sent with an old key arrive before anybody forgets that key.
	keySettle = time.Second
)

// rotation carries a rotation of the gossip key through, on the node where it was asked for.
type rotation struct {
	api      *api
	without  []string
	progress func(control.SwitchoverStep)
	res      control.KeyRotation
	nodes    []string                    // that take part, this one first
	states   map[string]cluster.KeyState // of these, as they answered last
}

// KeyRotate implements control.Agent.
func (a *api) KeyRotate(ctx context.Context, req control.KeyRotateRequest, progress func(control.SwitchoverStep)) (control.KeyRotation, error) {
	if !a.rotating.TryLock() {
		return control.KeyRotation{}, control.Errorf(control.CodeConflict, "a rotation is being carried out on %s already", a.loop.node)
	}
	defer a.rotating.Unlock()
	if a.loop.keys.state() == nil {
		return control.KeyRotation{}, control.Errorf(control.CodeBadRequest, "there is no key to rotate: [cluster] insecure is set")
	}
	r := &rotation{api: a, without: req.Without, progress: progress, states: make(map[string]cluster.KeyState)}
	r.res = control.KeyRotation{Without: req.Without, Steps: []control.SwitchoverStep{}}
	why, err := r.gather(ctx)
	if err != nil {
		return r.res, err
	}
	defer r.release()
	if why != "" {
		return r.refuse(why), nil
	}
	fresh, why := choose(r.states)
	switch {
	case why != "":
		return r.refuse(why), nil
	case req.Abort:
		return r.abort(ctx, fresh), nil
	}
	key, why := r.keyFor(ctx, fresh)
	if why != "" {
		return r.refuse(why), nil
	}
	return r.run(ctx, key), nil
}

// gather finds out who takes part, and asks each how far it is. Nothing changes; why says what is in the way.
func (r *rotation) gather(ctx context.Context) (why string, err error) {
	l := r.api.loop
	var others []string
	var down map[string]string
	if err := l.do(ctx, func() { others, down = l.others() }); err != nil {
		return "", err
	}
	for _, n := range r.without {
		switch {
		case n == l.node:
			return "", control.Errorf(control.CodeBadRequest, "%s carries the rotation out: it cannot be left out", n)
		case !slices.Contains(others, n):
			return "", control.Errorf(control.CodeNotFound, "no node %q in the config", n)
		case down[n] == "":
			return n + " is up: to leave it out would cut it off", nil
		}
	}
	r.nodes = []string{l.node}
	for _, n := range others {
		if slices.Contains(r.without, n) {
			continue
		}
		if down[n] != "" {
			return fmt.Sprintf("%s is down: a rotation needs every node. Start it, or leave it out with --without %s "+
				"(it then needs the new key by hand when it comes back: docs/keys.md)", n, n), nil
		}
		r.nodes = append(r.nodes, n)
	}
	if failed := r.all(ctx, keysRequest{Op: keysLook}, keyStepWait); len(failed) > 0 {
		return tellFailures(failed, keyStepWait), nil
	}
	return "", nil
}

// all asks every node that takes part for a step, side by side, and returns who did not take it and why.
func (r *rotation) all(ctx context.Context, req keysRequest, limit time.Duration) map[string]error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var mu sync.Mutex
	failed := make(map[string]error)
	var wg sync.WaitGroup
	for _, n := range r.nodes {
		wg.Go(func() {
			ans, err := r.ask(ctx, n, req)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed[n] = err
				return
			}
			r.states[n] = ans.KeyState
		})
	}
	wg.Wait()
	return failed
}

func (r *rotation) ask(ctx context.Context, node string, req keysRequest) (ans keysAnswer, err error) {
	if node == r.api.loop.node {
		return r.api.keysStep(ctx, node, req)
	}
	err = r.api.call(ctx, node, methodKeys, req, &ans)
	return ans, err
}

// tellFailures says who did not take a step within limit.
func tellFailures(failed map[string]error, limit time.Duration) string {
	var parts []string
	for _, n := range slices.Sorted(maps.Keys(failed)) {
		parts = append(parts, n+": "+callTrouble(failed[n], limit))
	}
	return strings.Join(parts, "; ")
}

// choose returns the key of a rotation that was begun before, empty if there is none. It is pure.
func choose(states map[string]cluster.KeyState) (fresh, why string) {
	count, stage := make(map[string]int), make(map[string]int)
	for _, s := range states {
		if s.Fresh != "" {
			count[s.Fresh]++
			stage[s.Fresh] = max(stage[s.Fresh], s.Stage)
		}
	}
	// A node that has ended it knows the key as its only one.
	for f := range count {
		for _, s := range states {
			if s.Fresh == "" && s.First == f {
				stage[f] = keyOnly
			}
		}
	}
	switch keys := slices.Sorted(maps.Keys(count)); len(keys) {
	case 0:
		return "", ""
	case 1:
		return keys[0], ""
	default:
		// Two were begun at once. The one that more nodes know goes on, unless one is further.
		best := slices.MaxFunc(keys, func(a, b string) int { return 1000*(stage[a]-stage[b]) + count[a] - count[b] })
		for _, k := range keys {
			if k != best && stage[k] > keyAccepted {
				return "", fmt.Sprintf("two rotations are half done, to keys %s and %s, and nodes encrypt with both: copy one key file to every node and restart (docs/keys.md)", best, k)
			}
		}
		return best, ""
	}
}

// keyFor returns the key to go on with, or a new one.
func (r *rotation) keyFor(ctx context.Context, fresh string) (key []byte, why string) {
	if fresh == "" {
		key = make([]byte, newKeyBytes)
		rand.Read(key) // never fails (crypto/rand)
		r.res.Key = cluster.KeyFingerprint(key)
		r.step("preflight", control.StepOK, fmt.Sprintf("%s answer; the new key is %s", strings.Join(r.nodes, ", "), r.res.Key))
		return key, ""
	}
	r.res.Key, r.res.Resumed = fresh, true
	r.step("preflight", control.StepOK, fmt.Sprintf("%s answer; the rotation to key %s goes on", strings.Join(r.nodes, ", "), fresh))
	for _, n := range r.nodes { // this one first
		if s := r.states[n]; s.First != fresh && !slices.Contains(s.Others, fresh) {
			continue
		}
		short, cancel := context.WithTimeout(ctx, keyStepWait)
		ans, err := r.ask(short, n, keysRequest{Op: keysFetch, Fingerprint: fresh})
		cancel()
		if err == nil && cluster.KeyFingerprint(ans.Key) == fresh {
			return ans.Key, ""
		}
	}
	return nil, "no node hands out key " + fresh
}

// run takes the nodes through the stages that are left. Each one is entered only when every node has told, now, that it is in the one before.
func (r *rotation) run(ctx context.Context, key []byte) control.KeyRotation {
	fresh := cluster.KeyFingerprint(key)
	for _, n := range r.nodes { // begun at the same time as the one that goes on
		if s := r.states[n]; s.Fresh != "" && s.Fresh != fresh {
			if failed := r.all(ctx, keysRequest{Op: keysForget, Fingerprint: s.Fresh}, keyStepWait); len(failed) > 0 {
				return r.wait(tellFailures(failed, keyStepWait))
			}
		}
	}
	// This node first: a key that only others had would be lost with them, and nobody could go on.
	if _, err := r.api.keysStep(ctx, r.api.loop.node, keysRequest{Op: keysAccept, Fingerprint: fresh, Key: key}); err != nil {
		return r.refuse(r.api.loop.node + ": " + err.Error())
	}
	stages := []struct {
		stage      int
		name, done string
		req        keysRequest
		limit      time.Duration
	}{
		{keyAccepted, "stage 1 of 3", "every node understands the new key", keysRequest{Op: keysAccept, Key: key}, keyStepWait},
		{keyFirst, "stage 2 of 3", "every node encrypts with it", keysRequest{Op: keysUse}, keyStepWait},
		{keyOnly, "stage 3 of 3", "no node understands another key", keysRequest{Op: keysOnly, Without: r.without}, keyEndWait},
	}
	for _, s := range stages {
		r.step(s.name, control.StepRunning, "")
		if s.stage == keyOnly && !letPass(ctx, keySettle) {
			return r.wait("there was no time left for it")
		}
		s.req.Fingerprint = fresh
		if failed := r.all(ctx, s.req, s.limit); len(failed) > 0 {
			why := tellFailures(failed, s.limit)
			r.step(s.name, control.StepFailed, why)
			return r.wait(why)
		}
		r.res.Stage = s.stage
		r.step(s.name, control.StepOK, s.done)
	}
	r.res.Outcome = control.KeyRotated
	return r.res
}

// abort gives up what nobody encrypts by yet.
func (r *rotation) abort(ctx context.Context, fresh string) control.KeyRotation {
	if fresh == "" {
		return r.refuse("no rotation is half done")
	}
	r.res.Key, r.res.Resumed = fresh, true
	for _, n := range r.nodes {
		if s := r.states[n]; s.First == fresh {
			return r.refuse(fmt.Sprintf("%s encrypts with key %s already: the rotation can only go on, `hbagent key rotate`", n, fresh))
		}
	}
	if failed := r.all(ctx, keysRequest{Op: keysForget, Fingerprint: fresh}, keyStepWait); len(failed) > 0 {
		return r.wait(tellFailures(failed, keyStepWait))
	}
	r.step("abort", control.StepOK, "no node knows key "+fresh+" any more")
	r.res.Outcome = control.KeyAborted
	return r.res
}

// release lets other nodes go on, within a bound; the hold of one that is not reached runs out.
func (r *rotation) release() {
	ctx, cancel := context.WithTimeout(context.Background(), keyStepWait)
	defer cancel()
	r.all(ctx, keysRequest{Op: keysRelease}, keyStepWait)
}

func (r *rotation) refuse(why string) control.KeyRotation {
	r.step("preflight", control.StepFailed, why)
	r.res.Outcome, r.res.Reason = control.KeyRefused, why
	return r.res
}

func (r *rotation) wait(why string) control.KeyRotation {
	r.res.Outcome, r.res.Reason = control.KeyWaiting, why
	return r.res
}

func (r *rotation) step(name string, state control.StepState, detail string) {
	s := control.SwitchoverStep{Step: name, State: state, Detail: detail, At: time.Now()}
	if state != control.StepRunning {
		r.res.Steps = append(r.res.Steps, s)
	}
	r.progress(s)
}

// letPass waits for d; false means ctx ended first.
func letPass(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
