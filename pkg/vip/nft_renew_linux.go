package vip

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// renewAtOnce bounds the groups of a transaction (chosen by us). What the kernel needs for each grows with the number
// of all groups (BenchmarkGateRenew), and the transaction has to end before its token does, on a busy machine too, or all that is in it is shut.
const renewAtOnce = 64

// stalledTries is how often a transaction is tried once a machine was too slow for an earlier one of the same call: its caller
// waits, and has others to look after. A second one mends what the first did late.
const stalledTries = 2

// Renew moves the deadlines of open groups, in two transactions for every renewAtOnce of them. The groups that are not
// renewed are returned, with the reason: ErrGateExpired where the kernel had shut the group already.
func (g *NFTGate) Renew(deadlines map[string]time.Duration) map[string]error {
	g.mu.Lock()
	defer g.mu.Unlock()
	failed := make(map[string]error)
	todo := make(map[string]member, len(deadlines))
	for name := range deadlines {
		m, known := g.member(name)
		if _, live := g.live[name]; !live || !known {
			failed[name] = fmt.Errorf("%w: %s", ErrNotOpen, name)
			if g.lost {
				failed[name] = ErrGateLost
			}
			continue
		}
		todo[name] = m
	}
	tries := gateTries
	for names := range slices.Chunk(slices.Sorted(maps.Keys(todo)), renewAtOnce) {
		some := make(map[string]member, len(names))
		for _, name := range names {
			some[name] = todo[name]
		}
		if stalled := g.renewSome(deadlines, some, tries, failed); stalled {
			tries = stalledTries
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return failed
}

// renewSome renews the groups of todo, and notes those that it could not; stalled tells that this machine was too slow for
// it, each time of so many.
func (g *NFTGate) renewSome(deadlines map[string]time.Duration, todo map[string]member, guards int, failed map[string]error) (stalled bool) {
	for tries := gateTries; len(todo) > 0; tries-- {
		err := g.renewAll(deadlines, todo, guards)
		if err == nil {
			return false
		}
		bad := 0
		if r := new(groupRefusal); errors.As(err, &r) && tries > 1 {
			for name, why := range r.groups {
				failed[name] = why
				if errors.Is(why, ErrGateExpired) {
					delete(g.live, name)
				}
				delete(todo, name)
				bad++
			}
		}
		if bad == 0 { // nothing to take out of the transaction
			err = g.explain(err)
			for name := range todo {
				failed[name] = err
			}
			return errors.Is(err, ErrStalled) || errors.Is(err, ErrGateExpired)
		}
	}
	return false
}

// groupRefusal is a refusal that concerns some groups only, each for its reason.
type groupRefusal struct {
	error
	groups map[string]error
}

func (r *groupRefusal) Unwrap() error { return r.error }

// renewAll renews todo in one transaction.
func (g *NFTGate) renewAll(deadlines map[string]time.Duration, todo map[string]member, guards int) error {
	var of []string // group of each message
	names := slices.Sorted(maps.Keys(todo))
	err := g.guarded(guardedBatch{undo: names, tries: guards, fill: func(b *batch) {
		of = of[:0]
		of = append(of, "") // the token
		for _, name := range names {
			g.speak(b, todo[name], true, deadlines[name])
			for len(of) < len(b.starts) {
				of = append(of, name)
			}
		}
	}, done: func() {
		for name := range todo {
			g.live[name] = deadlines[name]
		}
	}})
	r := new(refusal)
	if !errors.As(err, &r) {
		return err
	}
	out := &groupRefusal{error: err, groups: make(map[string]error)}
	for i, e := range r.at {
		switch {
		case i <= 0 || i >= len(of):
		case errors.Is(e, ErrDeadline):
			out.groups[of[i]] = e
		case errors.Is(e, unix.ENOENT):
			out.groups[of[i]] = fmt.Errorf("%w: %s", ErrGateExpired, of[i])
		}
	}
	return out
}
