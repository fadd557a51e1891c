package agent

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/lease"
	"github.com/hbagent/hbagent/pkg/vip"
)

// Chosen by us.
const (
	// The owner is suspected when its promise has less than half a ttl left: it
	// is renewed when it has two thirds left. Then the candidate looks who answers for the
	// addresses, so that the answer is there when the group is free.
	suspectDivisor = 2
	probeDivisor   = 4               // one look lasts ttl/4
	slowestLook    = 5 * time.Second // at a group that nobody has owned for long: see lookGap
)

// vipEvent takes what the address manager has seen.
func (l *loop) vipEvent(e vip.Event) {
	l.metrics.NetworkEvent(e.Kind)
	kind := kindAddress
	switch e.Kind {
	case vip.Conflict:
		kind = kindConflict
		l.metrics.Conflict(e.Group)
		l.conflict(e.Group)
	case vip.LinkUp, vip.LinkDown:
		kind = kindLink
		if l.linkDown[e.Interface] == (e.Kind == vip.LinkDown) {
			return
		}
		l.linkDown[e.Interface] = e.Kind == vip.LinkDown
		l.dirty = true
	case vip.Lapsed:
		l.lookAtLapsed(e.Group)
	}
	l.log.Warn("network", "reason", e.Kind.String(), "group", e.Group, "addr", e.Addr, "interface", e.Interface, "detail", e.Detail)
	ev := control.Event{Group: e.Group, Kind: kind, Reason: e.Kind.String(), Detail: e.Detail}
	if e.Addr.IsValid() { // a group may have a hundred
		ev.Detail = e.Addr.String() + ": " + e.Detail
	}
	if e.MAC != nil {
		ev.From = e.MAC.String()
	}
	l.history.add(ev)
}

// conflict notes a foreign claim: it is answered when a round that was sent
// after it has confirmed the lease, never before.
func (l *loop) conflict(name string) {
	g := l.groups[name]
	if g == nil || !g.open {
		return
	}
	g.claimedAt = l.boot()
	lower := len(g.cfg.Nodes) > 0 && g.cfg.Nodes[0] != l.node
	l.machine.AddressConflict(l.now(), name, lower)
}

// lookAtLapsed lets the lease machine notice what the address manager noticed
// first; a group that it still holds is opened again.
func (l *loop) lookAtLapsed(name string) {
	now := l.now()
	l.machine.Tick(now)
	g := l.groups[name]
	if v, ok := l.machine.Group(now.Boot, name); ok && g != nil && g.open && l.machine.Valid(now.Boot, name) {
		l.openWhenReady(g, lease.Open{Group: name, Epoch: v.Epoch, Until: v.Until, Cause: lease.CauseConfirmed})
	}
}

// prober looks at the wire on behalf of the loop: who answers for the addresses
// of a group that may soon be taken, and, with two machines, whether the
// witness answers.
type prober struct {
	loop  *loop
	every time.Duration
	probe func(ctx context.Context, groups []string, claimed func(group string, c vip.Claim)) (silent []string)
	host  func(ctx context.Context, iface string) (time.Duration, error) // nil: no witness
}

// Run looks every ttl/4 while there is something to look at, until ctx ends. With a witness there always is. Otherwise the
// loop says when: at rest nothing wakes this goroutine.
func (p *prober) Run(ctx context.Context) error {
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	for {
		var groups []string
		var iface string
		var again bool
		if err := p.loop.do(ctx, func() { groups, iface, again = p.loop.wantsProbes() }); err != nil {
			return nil // the loop has ended
		}
		p.look(ctx, groups, iface)
		next := tick.C
		if p.host == nil && !again {
			next = nil // a ticker that nobody waits for wakes nobody
		}
		select {
		case <-ctx.Done():
			return nil
		case <-next:
		case <-p.loop.suspicion:
		}
	}
}

// look asks for all groups at once, and for the witness beside them: an answer about the last group must not be older
// than that about the first.
func (p *prober) look(ctx context.Context, groups []string, iface string) {
	var wg sync.WaitGroup
	if p.host != nil && iface != "" {
		wg.Go(func() { p.askWitness(ctx, iface) })
	}
	if len(groups) > 0 {
		wg.Go(func() { p.lookAt(ctx, groups) })
	}
	wg.Wait() // the answers go to the loop
}

func (p *prober) askWitness(ctx context.Context, iface string) {
	sent := p.loop.boot()
	ctx, cancel := context.WithTimeout(ctx, p.every)
	defer cancel()
	if _, err := p.host(ctx, iface); err == nil {
		p.loop.post(context.WithoutCancel(ctx), func() { p.loop.machine.WitnessAnswered(p.loop.now(), lease.Instant(sent)) })
	}
}

// lookAt tells the loop of each answer when it comes, and of all groups for which there was none in the end. One that could
// not be asked for is told nothing of: no answer to no question is no answer.
func (p *prober) lookAt(ctx context.Context, groups []string) {
	sent := p.loop.boot()
	asking, cancel := context.WithTimeout(ctx, p.every)
	defer cancel()
	silent := p.probe(asking, groups, func(name string, c vip.Claim) {
		p.loop.post(ctx, func() { p.loop.probed(name, c.MAC, sent) })
	})
	p.loop.post(ctx, func() {
		for _, name := range silent {
			p.loop.probed(name, nil, sent)
		}
	})
}

// wantsProbes returns the groups to look at now, an interface on which the
// witness can be asked, and whether to come again without being woken.
func (l *loop) wantsProbes() (groups []string, iface string, again bool) {
	now := l.now().Boot
	for _, name := range l.order {
		g := l.groups[name]
		if g.iface == "" {
			continue
		}
		if iface == "" || onNetwork(g.cfg.Addresses, l.cfg.Lease.Witness) {
			iface = g.iface
		}
		if !g.mayBeTaken() {
			continue
		}
		at, suspect := l.suspectAt(now, name, g)
		if suspect && at <= now || l.machine.WantsAddressProbe(now, name) {
			again = true
			if at := l.boot(); g.lookedAt == 0 || at-g.lookedAt >= l.lookGap(g) {
				g.lookedAt = at
				groups = append(groups, name)
			}
		}
	}
	l.probing = again
	return groups, iface, again
}

// lookGap is how long after a look at a group the next one comes at the earliest; 0: whenever the prober comes, every ttl/4.
// The question goes to the whole segment, and every candidate asks it, so where a majority stays away for an hour it must become
// rare: while there is no owner, a quarter of the time that there has been none. With a witness the looks are proofs, and
// are needed in a row (lease.Machine.AddressSilent).
func (l *loop) lookGap(g *groupRun) time.Duration {
	if g.owner != "" || g.pending != nil || l.cfg.Lease.Witness.IsValid() {
		return 0
	}
	return min(time.Since(g.ownerSince)/4, slowestLook)
}

// mayBeTaken reports whether this node might open the group one day, and so looks who has it.
func (g *groupRun) mayBeTaken() bool { return g.iface != "" && !g.open && g.fitness.Eligible }

// suspectAt returns when the owner of a group that this node might take is suspected, if nothing is heard until then; false:
// not by the passing of time.
func (l *loop) suspectAt(now lease.Instant, name string, g *groupRun) (lease.Instant, bool) {
	if g.pending != nil || g.owner == "" {
		return now, true
	}
	// A node without a vote has no promise to look at, only what peers tell.
	v, _ := l.machine.Group(now, name)
	return now.Add(v.HolderLeft - l.ttl/suspectDivisor + 1), v.HolderLeft != 0
}

// suspect wakes the prober when there is something for it to look at, and returns when there will be, if nothing is heard
// until then.
func (l *loop) suspect(now lease.Instant) (next lease.Instant, ok bool) {
	if l.probing {
		return 0, false // it looks again by itself
	}
	for _, name := range l.order {
		g := l.groups[name]
		if !g.mayBeTaken() {
			continue
		}
		at, suspect := l.suspectAt(now, name, g)
		switch {
		case suspect && at <= now:
			select {
			case l.suspicion <- struct{}{}:
			default: // it is awake already
			}
			return 0, false
		case suspect && (!ok || at < next):
			next, ok = at, true
		}
	}
	return next, ok
}

// onNetwork reports whether an address is on the network of one of these: the
// witness is asked on the segment of the floating addresses.
func onNetwork(addresses []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(addresses, func(p netip.Prefix) bool { return a.IsValid() && p.Masked().Contains(a) })
}

// probed takes the answer to a look.
func (l *loop) probed(name string, mac net.HardwareAddr, sent time.Duration) {
	g := l.groups[name]
	if g == nil || g.open {
		return
	}
	if mac == nil {
		g.squatter = ""
		l.machine.AddressSilent(l.now(), name, lease.Instant(sent))
		return
	}
	g.squatter, g.squatterAt = mac.String(), l.boot()
}
