package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/metrics"
	"github.com/hbagent/hbagent/pkg/lease"
	"github.com/hbagent/hbagent/pkg/vip"
)

// Chosen by us.
const (
	// drainIdle is how long a draining group must have had no connection before it
	// is done: clients that have not heard of the new owner may still knock.
	drainIdle = time.Second
	// steerUnused is how long a target steers for a group that it does not get.
	steerUnused = 10 * time.Second
	// drainSlack is how long the kernel lets the connections of a drain pass beyond
	// its end: the resets of those that are left must get out.
	drainSlack = 2 * time.Second
	// steerLonger is how long the target steers beyond the old owner's drain, which
	// begins later: after the target's answer and the probe.
	steerLonger = drainSlack + prepareTimeout + forwardProbeWait + 2*time.Second
)

// drainRun is a group that this node has handed over, and whose open connections
// it finishes. It belongs to the loop.
type drainRun struct {
	to    string        // who has the group
	hop   vip.NextHop   // how it is reached
	began time.Duration // CLOCK_BOOTTIME
	until time.Duration // CLOCK_BOOTTIME; what is open then is reset
	ends  bool          // EndDrain is under way, in another goroutine
	open  int           // connections when they were last counted, -1: not yet
	idle  time.Duration // CLOCK_BOOTTIME since when none is open, 0: some are
	left  time.Duration // until `until`, when they were last counted
}

// steerRun is a group on its new owner, which sends what belongs to connections
// of the old one there. It belongs to the loop.
type steerRun struct {
	to    string        // the old owner
	until time.Duration // CLOCK_BOOTTIME; the kernel ends it by itself
	armed time.Duration
	won   bool // this node has opened the group since
}

// letGo ends a claim in the kernel, before anybody is told: the group's addresses
// fall silent, and with a drain only their connections go on.
func (l *loop) letGo(e lease.Shut, g *groupRun) error {
	if g != nil && g.willDrain != nil {
		plan := g.willDrain
		g.willDrain = nil
		if e.Reason != lease.ReasonTransferred {
			return l.addrs.Shut(e.Group, e.Reason.String())
		}
		err := l.addrs.Drain(e.Group, plan.hop, plan.until+drainSlack)
		if err == nil {
			g.drain, plan.began, plan.left = plan, l.boot(), plan.until-l.boot()
			l.countConnections()
			return nil
		}
		l.log.Error("cannot drain: open connections are reset", "group", e.Group, "error", err)
	}
	return l.addrs.Shut(e.Group, e.Reason.String())
}

// lookAfterDrains is called with each pulse.
func (l *loop) lookAfterDrains() {
	l.countConnections()
	for _, name := range l.order {
		g := l.groups[name]
		if s := g.steer; s != nil {
			s.won = s.won || g.open
			if l.boot() >= s.until || !s.won && l.boot()-s.armed >= steerUnused {
				l.endSteering(name, g)
			}
		}
		if d := g.drain; d != nil && l.boot() >= d.until { // also when counting hangs
			l.endDrain(name, g)
		}
	}
}

// countConnections counts those of draining groups, outside the loop: with many
// thousands it takes a while. One count is under way at a time.
func (l *loop) countConnections() {
	names := l.draining()
	if len(names) == 0 || l.counting {
		return
	}
	l.counting = true
	go func() {
		counts := make(map[string]int, len(names))
		for _, name := range names {
			n, err := l.addrs.Connections(name)
			if err != nil {
				l.log.Warn("cannot count the open connections", "group", name, "error", err)
				n = -1
			}
			counts[name] = n
		}
		l.post(context.Background(), func() {
			l.counting = false
			for name, n := range counts {
				l.counted(name, n)
			}
		})
	}()
}

// draining are the groups that this node has handed over and not finished.
func (l *loop) draining() (names []string) {
	for _, name := range l.order {
		if l.groups[name].drain != nil {
			names = append(names, name)
		}
	}
	return names
}

// counted takes a count, -1 for one that failed, and ends the drain when nothing is
// left to finish, or no time.
func (l *loop) counted(name string, n int) {
	g := l.groups[name]
	if g == nil || g.drain == nil {
		return
	}
	d := g.drain
	l.dirty = true
	d.open, d.left = n, max(d.until-l.boot(), 0)
	switch {
	case n != 0:
		d.idle = 0
	case d.idle == 0:
		d.idle = l.boot()
	}
	if l.boot() >= d.until || d.idle != 0 && l.boot()-d.idle >= drainIdle {
		l.endDrain(name, g)
	}
}

// endDrain resets what is left, so that clients learn at once, and cleans up: in a
// goroutine of its own, because many connections take a while, and leases are to be
// renewed meanwhile.
func (l *loop) endDrain(name string, g *groupRun) {
	d := g.drain
	if d.ends {
		return
	}
	d.ends = true
	go func() {
		reset, err := l.addrs.EndDrain(name)
		l.post(context.Background(), func() {
			if g.drain == d { // else the group is back, with its connections
				l.drainEnded(name, g, reset, err)
			}
		})
	}()
}

func (l *loop) drainEnded(name string, g *groupRun, reset int, err error) {
	d := g.drain
	g.drain, l.dirty = nil, true
	end := metrics.DrainFinished
	switch {
	case err != nil:
		end = metrics.DrainFailed
		l.log.Error("cannot end the drain; the kernel ends it by itself", "group", name, "error", err)
		g.lost = "drained: ended by the kernel: " + err.Error()
	case reset > 0:
		end = metrics.DrainReset
		g.lost = fmt.Sprintf("drained: %s still open after %v, reset", connections(reset), (l.boot() - d.began).Round(time.Second))
	case d.open != 0: // the kernel's part of it was gone, or the kernel cannot end connections of others
		end = metrics.DrainFailed
		g.lost = fmt.Sprintf("drained: over after %v; %s, and none was reset here", (l.boot() - d.began).Round(time.Second), lastCount(d.open))
	default:
		g.lost = "drained: every connection has finished"
	}
	l.metrics.Drained(end, reset)
	l.history.add(control.Event{Group: name, Kind: kindDrain, From: l.node, To: d.to, Reason: g.lost})
	l.log.Info("drained", "group", name, "holder", d.to, "reset", reset)
}

// reopened is called when this node has opened the group. transferred tells that its
// old owner handed it over; otherwise nobody finishes what would be steered there.
func (l *loop) reopened(name string, g *groupRun, transferred bool) {
	g.drain = nil // vip.Open has taken the connections along
	switch {
	case g.steer == nil:
	case g.steer.won || transferred:
		g.steer.won = true
	default:
		l.endSteering(name, g)
	}
}

func (l *loop) endSteering(name string, g *groupRun) {
	g.steer = nil
	if err := l.addrs.Unsteer(name); err != nil {
		l.log.Error("cannot end the steering; the kernel ends it by itself", "group", name, "error", err)
	}
}

// text says how far a drain is, for people.
func (d *drainRun) text() string {
	left := d.left.Round(time.Second)
	if d.open < 0 {
		return fmt.Sprintf("handed over to %s, finishes its open connections, %v at most", d.to, left)
	}
	return fmt.Sprintf("handed over to %s, %s left, %v at most", d.to, connections(d.open), left)
}

// lastCount says how many connections were open when somebody looked last.
func lastCount(n int) string {
	if n < 0 {
		return "its connections could not be counted"
	}
	return connections(n) + " open when last counted"
}

func connections(n int) string {
	if n == 1 {
		return "1 connection"
	}
	return fmt.Sprintf("%d connections", n)
}
