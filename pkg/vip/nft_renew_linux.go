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
		err := g.renewAll(deadlines, todo, failed)
		if err == nil {
			break
		}
		bad := 0
		if r := new(groupRefusal); errors.As(err, &r) && tries > 1 {
			for _, name := range r.groups {
				failed[name] = fmt.Errorf("%w: %s", ErrGateExpired, name)
				delete(g.live, name)
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

// groupRefusal is a refusal that concerns the old elements of some groups only.
type groupRefusal struct {
	error
	groups []string
}

func (r *groupRefusal) Unwrap() error { return r.error }

// renewAll renews todo in one transaction. Groups whose deadline is too close are taken out.
func (g *NFTGate) renewAll(deadlines map[string]time.Duration, todo map[string]member, failed map[string]error) error {
	var of []string // group of each message
	names := slices.Sorted(maps.Keys(todo))
	err := g.guarded(func(now time.Duration, b *batch) {
		of = []string{""}
		for _, name := range names {
			m, still := todo[name]
			if !still {
				continue
			}
			if err := g.speak(b, m, true, deadlines[name], now); err != nil {
				failed[name] = err
				delete(todo, name)
			}
			for len(of) < len(b.messages) {
				of = append(of, name)
			}
		}
	}, func() {
		for name := range todo {
			g.live[name] = deadlines[name]
		}
	})
	r := new(refusal)
	if !errors.As(err, &r) {
		return err
	}
	out := &groupRefusal{error: err}
	for i, e := range r.at {
		if i >= 0 && i < len(of) && of[i] != "" && errors.Is(e, unix.ENOENT) && !slices.Contains(out.groups, of[i]) {
			out.groups = append(out.groups, of[i])
		}
	}
	return out
}
