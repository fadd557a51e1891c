package sim

import (
	"time"

	"github.com/hbagent/hbagent/internal/agent"
	"github.com/hbagent/hbagent/pkg/lease"
)

// Chosen by us, as pkg/cluster's are in proportion.
const (
	gossipDivisor = 4 // each agent tells its state every ttl/4, and at once when it changes
	silentTTLs    = 2 // a peer that was not heard of for so long is down
)

// news is what an agent tells its peers about itself. It is never changed.
type news struct {
	run        lease.RunID
	generation uint64
	groups     []groupNews
}

type groupNews struct {
	active   bool
	eligible bool
	reason   string
	epoch    lease.Epoch
	cause    agent.Cause
}

// peer is what an agent knows of another node.
type peer struct {
	news  *news // nil: never heard of
	alive bool
	since time.Time
	fit   []agent.Fitness
	heard instant
}

func (p *peer) fitness(g int) agent.Fitness {
	if p.fit == nil {
		return agent.Fitness{}
	}
	return p.fit[g]
}

// publish makes news of what has changed, and spreads it soon.
func (h *host) publish() {
	if h.told != nil && !h.newsworthy() {
		return
	}
	n := &news{run: h.run, generation: h.list().generation, groups: make([]groupNews, h.w.o.Groups)}
	for g := range n.groups {
		n.groups[g] = h.groupNews(g)
	}
	h.told = n
	life := h.life
	h.w.queue.add(h.w.now+h.w.exp(h.w.o.TTL/50), func() {
		if h.life == life {
			h.spread()
		}
	})
}

func (h *host) groupNews(g int) groupNews {
	c := &h.claims[g]
	return groupNews{active: c.open, eligible: c.fitness.Eligible, reason: c.fitness.Reason, epoch: c.epoch, cause: c.cause}
}

func (h *host) newsworthy() bool {
	if h.told.generation != h.list().generation {
		return true
	}
	for g := range h.told.groups {
		if h.told.groups[g] != h.groupNews(g) {
			return true
		}
	}
	return false
}

// planGossip lets an agent tell its state, look at who has fallen silent, and
// look at what depends on the time of day.
func (w *world) planGossip(h *host) {
	w.queue.add(w.now+w.o.TTL/gossipDivisor, func() {
		w.planGossip(h)
		if h.m == nil || h.paused || h.frozen {
			return
		}
		h.spread()
		for i := range h.peers {
			if p := &h.peers[i]; p.alive && w.now-p.heard > silentTTLs*w.o.TTL {
				h.offer(input{what: "misses", do: func(*lease.Machine, lease.Time) any {
					p.alive, p.since, h.dirty = false, h.clockTime(), true
					return w.names[i]
				}})
			}
		}
		if h.m != nil && w.rng.IntN(2) == 0 {
			h.offer(input{do: func(*lease.Machine, lease.Time) any {
				h.dirty = true
				return nil
			}})
		}
	})
}

// spread tells every peer that can be reached, directly or by way of another one.
func (h *host) spread() {
	if h.told == nil || h.paused || h.frozen {
		return
	}
	for _, o := range h.w.hosts {
		if o == h || o.m == nil || o.frozen || !h.w.net.path(h.i, o.i) || h.w.chance(h.w.net.drop*h.w.net.drop) {
			continue
		}
		o.hears(h, h.told)
	}
}

// hears takes over what a peer tells of itself. Only what is new costs the agent
// anything.
func (h *host) hears(from *host, n *news) {
	p := &h.peers[from.i]
	p.heard = h.w.now
	if p.news == n && p.alive {
		return
	}
	h.offer(input{what: "hears of", do: func(*lease.Machine, lease.Time) any {
		h.learn(p, n)
		return from
	}})
}

func (h *host) learn(p *peer, n *news) {
	now := h.clockTime()
	if !p.alive || p.news != nil && p.news.run != n.run {
		p.since = now
	}
	if p.fit == nil {
		p.fit = make([]agent.Fitness, len(n.groups))
	}
	since := now
	if p.news == nil {
		since = h.started // what was so before this agent could hear of it is no news
	}
	for g := range n.groups {
		f := &p.fit[g]
		if f.Eligible != n.groups[g].eligible || f.Since.IsZero() {
			f.Since = since
		}
		f.Eligible, f.Reason = n.groups[g].eligible, n.groups[g].reason
	}
	p.news, p.alive, h.dirty = n, true, true
}
