package vip

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// carried is a live group that stays so over a rebuild.
type carried struct {
	member
	until time.Duration
	old   map[family][]nftElement // its elements in the tables that go
}

// SetGroups makes groups the ones that are gated, in one transaction: old tables go, new ones come, and no
// packet of a group that stays live is dropped in between. Live groups stay live if keep says so (nil: all),
// until the deadline they have; every other one is shut. At the first call that is what a predecessor left
// in the kernel. ErrGateForeign: another process owns the tables.
func (g *NFTGate) SetGroups(groups []Group, keep func(group string) bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.rebuild(groups, keep)
}

func (g *NFTGate) rebuild(groups []Group, keep func(group string) bool) error {
	var err error
	for began := g.now(); ; {
		if err = g.tryRebuild(groups, keep); !errors.Is(err, unix.EPERM) || g.built || g.now()-began > foreignWait {
			break
		}
		<-time.After(foreignPause)
	}
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: %w", ErrGateForeign, err)
	}
	return err
}

// tryRebuild builds the tables anew; when something changed under it, it looks again.
func (g *NFTGate) tryRebuild(groups []Group, keep func(group string) bool) (err error) {
	for range gateTries {
		next := layoutOf(g.layout.features, groups, interfaceExists)
		next.flags = g.flags
		var have []family
		if have, err = tablesOf(g.socket, g.table); err != nil {
			return err
		}
		var stay map[string]carried
		if stay, err = g.carry(next, have, keep); err != nil {
			return err
		}
		if err = g.replace(next, have, stay); err == nil {
			// Read after the transaction: what others did in between must not become what is wanted.
			g.builds++
			if g.want, err = settledSnapshot(g.socket, g.table); err != nil {
				return err // and the next Verify finds a difference
			}
			if err = next.missing(g.want); err == nil {
				return nil
			}
			g.log.Warn("gate: changed by others while it was built", "error", err)
			g.lost = g.lost || errors.Is(err, ErrGateLost)
			continue
		}
		if errors.Is(err, ErrGateLost) { // nothing there that could hold a token
			g.lost = true
			continue
		}
		if r := new(refusal); !errors.As(err, &r) || !errors.Is(err, unix.ENOENT) && !errors.Is(err, ErrDeadline) {
			return err
		}
		// A table, an interface or a live element went in between.
	}
	return err
}

// carry finds the groups that stay live, with what is in the kernel of them now.
func (g *NFTGate) carry(next layout, have []family, keep func(group string) bool) (map[string]carried, error) {
	out := make(map[string]carried)
	if !slices.Contains(have, familyINet) || g.lost {
		return out, nil
	}
	for _, m := range next.members {
		if keep != nil && !keep(m.group.Name) {
			continue
		}
		c := carried{member: m, old: make(map[family][]nftElement)}
		before := g.now()
		left := maxLeaseLeft
		for _, f := range have {
			elements, err := liveElements(g.socket, g.table, f, m.liveSet())
			if err != nil {
				return nil, err
			}
			for _, e := range elements {
				left = min(left, e.expires)
				c.old[f] = append(c.old[f], nftElement{key: e.key})
			}
		}
		if len(c.old[familyINet]) == 0 {
			continue
		}
		c.until = before + left
		if until, known := g.live[m.group.Name]; known {
			c.until = until // as the lease has it, without the roundings of the kernel
		}
		if g.timeout(c.until-g.now()) > 0 { // else it is over, or nearly
			out[m.group.Name] = c
		}
	}
	return out, nil
}

// replace is the transaction. Where groups stay live it is guarded as a renewal is: the old elements must be
// there still, and a stall must not lengthen them.
func (g *NFTGate) replace(next layout, have []family, stay map[string]carried) error {
	fill := func(b *batch) {
		names := slices.Sorted(maps.Keys(stay))
		for _, name := range names {
			for _, f := range have {
				if c := stay[name]; len(c.old[f]) > 0 {
					b.delElements(f, c.liveSet(), c.old[f])
				}
			}
		}
		for _, f := range have {
			b.delTable(f)
		}
		next.build(b)
		g.keepDrains(b, next, g.now())
		was := g.layout
		g.layout = next // speak looks at it
		for _, name := range names {
			g.speak(b, stay[name].member, false, stay[name].until)
		}
		g.layout = was
	}
	done := func() {
		g.layout, g.built, g.lost = next, true, false
		g.live = make(map[string]time.Duration, len(stay))
		for name, c := range stay {
			g.live[name] = c.until
		}
	}
	if len(stay) == 0 {
		b := &batch{table: g.table}
		fill(b)
		if err := g.socket.commit(b); err != nil {
			return err
		}
		done()
		return nil
	}
	replaced := false
	err := g.guarded(guardedBatch{undo: slices.Sorted(maps.Keys(stay)), fill: func(b *batch) {
		if !replaced {
			fill(b)
			return
		}
		for _, name := range slices.Sorted(maps.Keys(stay)) { // the kernel was slow: set the timeouts right
			g.speak(b, stay[name].member, true, stay[name].until)
		}
	}, done: func() { replaced = true; done() }})
	if errors.Is(err, ErrGateExpired) {
		// The tables stand, with these groups shut. Whoever renews one hears that it is not open.
		g.log.Warn("gate: shut while it was built anew", "error", err)
		return nil
	}
	return err
}
