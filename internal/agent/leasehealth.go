package agent

import (
	"context"
	"time"

	"github.com/hbagent/hbagent/internal/web"
	"github.com/hbagent/hbagent/pkg/lease"
)

// Chosen by us: five minutes at the usual ttl, of which a person sees the shape
// at a glance.
const (
	healthSteps   = 150
	minHealthStep = 2 * time.Second
)

// healthRing is how close one group's lease came to its end, step by step: the
// least time that was left within each. It belongs to the loop. Values are
// milliseconds, or web.NotKnown.
type healthRing struct {
	step time.Duration
	last int64 // number of the newest step, counted from CLOCK_BOOTTIME 0
	low  [healthSteps]int32
}

func newHealthRing(ttl time.Duration) *healthRing {
	// At least two renewals, of which there is one every ttl/3, fall into a step.
	r := &healthRing{step: max(minHealthStep, 2*ttl/3), last: -1}
	for i := range r.low {
		r.low[i] = web.NotKnown
	}
	return r
}

// note takes what was left at now, on CLOCK_BOOTTIME.
func (r *healthRing) note(now, left time.Duration) {
	r.advance(now)
	low := &r.low[r.last%healthSteps]
	if ms := int32(max(left, 0).Milliseconds()); *low == web.NotKnown || ms < *low {
		*low = ms
	}
}

// advance begins the step of now, and leaves those empty in which nothing was noted.
func (r *healthRing) advance(now time.Duration) {
	number := int64(now / r.step)
	for n := max(r.last, number-healthSteps) + 1; n <= number; n++ {
		r.low[n%healthSteps] = web.NotKnown
	}
	r.last = max(r.last, number)
}

// lows returns the steps up to now, oldest first.
func (r *healthRing) lows(now time.Duration) []int32 {
	r.advance(now)
	out := make([]int32, 0, healthSteps)
	for n := r.last + 1; n <= r.last+healthSteps; n++ {
		out = append(out, r.low[n%healthSteps])
	}
	return out
}

// noteHealth looks at every group, at each pulse: what is not renewed shows by that.
func (l *loop) noteHealth() {
	now := l.boot()
	for _, name := range l.order {
		g := l.groups[name]
		if g.open {
			g.health.note(now, g.until-now)
			continue
		}
		v, _ := l.machine.Group(lease.Instant(now), name)
		switch {
		case v.Holder != "":
			g.health.note(now, v.HolderLeft)
		case g.owner == "":
			g.health.note(now, 0)
		} // else it has an owner, and this node has no vote that was asked
	}
}

// noteRequest looks at a promise just before another node has it renewed: never is
// less left of it. Nothing is, where somebody asks for what has run out.
func (l *loop) noteRequest(m lease.Message) {
	now := l.boot()
	if l.machine.Quarantine(lease.Instant(now)) > 0 {
		return // this node does not know what it has promised
	}
	for _, e := range m.Entries {
		g := l.groups[e.Group]
		if e.Kind != lease.KindRequest || g == nil || g.open {
			continue
		}
		if v, _ := l.machine.Group(lease.Instant(now), e.Group); v.Holder == m.From || v.Holder == "" {
			g.health.note(now, v.HolderLeft)
		}
	}
}

// Leases implements web.Agent.
func (a *api) Leases(ctx context.Context) (out []web.LeaseHealth, err error) {
	l := a.loop
	err = l.do(ctx, func() {
		for _, name := range l.order {
			r := l.groups[name].health
			out = append(out, web.LeaseHealth{Group: name, TTL: l.ttl, Step: r.step, LowMs: r.lows(l.boot())})
		}
	})
	return out, err
}
