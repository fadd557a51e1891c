package vip

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Renew moves the deadlines of open groups, all in two transactions. The groups that are not renewed are
// returned, with the reason: ErrGateExpired where the kernel had shut the group already.
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
	for tries := gateTries; len(todo) > 0; tries-- {
		err := g.renewAll(deadlines, todo)
		if err == nil {
			break
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
			break
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return failed
}

// groupRefusal is a refusal that concerns some groups only, each for its reason.
type groupRefusal struct {
	error
	groups map[string]error
}

func (r *groupRefusal) Unwrap() error { return r.error }

// renewAll renews todo in one transaction.
func (g *NFTGate) renewAll(deadlines map[string]time.Duration, todo map[string]member) error {
	var of []string // group of each message
	names := slices.Sorted(maps.Keys(todo))
	err := g.guarded(guardedBatch{undo: names, fill: func(b *batch) {
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
