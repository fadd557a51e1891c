package sim

import (
	"fmt"
	"slices"
	"strings"
)

// Chosen by us: what a healed cluster is given.
const (
	ownerWithin = 6 // ttl, from the arrival of the last old message and the end of every hold to an owner
	reloadTTLs  = 4 // in which the last list of voters is loaded everywhere
	stableFor   = 5 // ttl without any change, after the policy has moved what it wants to move
)

// heal ends every fault, and asks for an owner that stays.
func (w *world) heal() {
	w.calm()
	start := max(w.now, w.net.last, w.quiet)
	wait := w.patience()
	w.run(start + wait + ownerWithin*w.o.TTL)
	for g, s := range w.groups {
		if w.err == nil && w.owner(g) < 0 {
			w.fail(fmt.Errorf("liveness: nobody owns %s %s after everything healed: %s", s.name, w.inTTLs(w.now-start), w.candidates(g)))
		}
		w.report.HealedTTLs = max(w.report.HealedTTLs, float64(s.at-start-wait)/float64(w.o.TTL))
	}
	// Failback waits for hold, twice at most: for this node's eligibility and for
	// the peer's having been up.
	w.run(w.now + wait + ownerWithin*w.o.TTL)
	before := slices.Clone(w.groups)
	w.run(w.now + stableFor*w.o.TTL)
	for g, s := range w.groups {
		if w.err == nil && (s != before[g] || w.owner(g) < 0) {
			w.fail(fmt.Errorf("liveness: %s does not come to rest: %d opened, then %d, now it is with %d", s.name, before[g].opens, s.opens, w.owner(g)))
		}
	}
}

// patience is for how long the policy may keep every node from standing: hold,
// and what follows an opening that the kernel refused twice.
func (w *world) patience() (longest instant) {
	for g := range w.configs {
		longest = max(longest, w.configs[g].Hold)
		for _, h := range w.hosts {
			if h.m != nil {
				longest = max(longest, h.claims[g].shutUntil.Sub(h.clockTime()))
			}
		}
	}
	if len(w.lists) > 1 {
		longest += reloadTTLs * w.o.TTL
	}
	return longest
}

// calm puts an end to everything bad, and lets the person finish.
func (w *world) calm() {
	w.note(-1, "everything heals", nil, -1)
	w.ended = true
	w.net.heal()
	w.stall, w.stallMax = 0, 0
	for _, h := range w.hosts {
		h.thaw()
		if h.paused {
			h.unpause()
		}
		if h.stopping {
			h.kill()
		}
		if h.m == nil {
			if w.rng.IntN(2) == 0 {
				h.boot()
			}
			h.start()
		}
		for g := range h.healthy {
			h.setHealth(g, true)
		}
	}
	for range 20 * len(w.hosts) {
		w.queue.add(w.now+w.below(reloadTTLs*w.o.TTL), w.changeVoters)
	}
}

// candidates says why nobody has a group.
func (w *world) candidates(g int) string {
	var all []string
	for _, name := range w.configs[g].Nodes {
		h := w.host(name)
		if h.m == nil {
			all = append(all, name+" is down")
			continue
		}
		v, _ := h.m.Group(h.now().Boot, w.groupNames[g])
		all = append(all, fmt.Sprintf("%s eligible=%v (%s), %v", name, h.claims[g].fitness.Eligible, h.claims[g].fitness.Reason, v))
	}
	return strings.Join(all, "; ")
}
