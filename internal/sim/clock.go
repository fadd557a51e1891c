package sim

import (
	"time"

	"github.com/hbagent/hbagent/pkg/lease"
)

// world time counts from the start of the run; nobody inside can read it.
type instant = time.Duration

// clock is one machine's, for one boot. It is three clocks in one: BOOTTIME,
// which pkg/lease counts in; MONOTONIC, in which the kernel's timers and those
// of the agent run, and which stands while the machine is suspended; and the
// wall clock. A machine that is paused from outside has none of them: all stand.
type clock struct {
	since instant       // world time at which boot was said
	boot  lease.Instant // CLOCK_BOOTTIME then
	ppm   int64         // rate error, parts per million
	slept lease.Instant // CLOCK_BOOTTIME minus CLOCK_MONOTONIC
	still bool          // all clocks stand
	wall  int64         // wall clock minus world time, seconds
}

const million = 1_000_000

// local returns what CLOCK_BOOTTIME says at world time w.
func (c clock) local(w instant) lease.Instant {
	if c.still {
		return c.boot
	}
	d := int64(w - c.since)
	return c.boot + lease.Instant(d+d*c.ppm/million)
}

// mono returns what CLOCK_MONOTONIC says. It is not asked of a machine that is
// suspended: nobody is there to ask.
func (c clock) mono(w instant) lease.Instant { return c.local(w) - c.slept }

func (c clock) time(w instant) lease.Time {
	return lease.Time{Boot: c.local(w), Unix: c.wall + int64(w/time.Second)}
}

// world returns the first instant at which CLOCK_BOOTTIME says l or later.
func (c clock) world(l lease.Instant) instant {
	x := int64(l - c.boot)
	w := c.since + instant(x-x*c.ppm/(million+c.ppm))
	for c.local(w) < l {
		w++
	}
	for w > c.since && c.local(w-1) >= l {
		w--
	}
	return w
}

// stand stops all clocks.
func (c *clock) stand(w instant) { c.boot, c.since, c.still = c.local(w), w, true }

// goOn lets them run again from where they stood.
func (c *clock) goOn(w instant) {
	c.wall -= int64((w - c.since) / time.Second)
	c.since, c.still = w, false
}

// wake ends a suspend: CLOCK_BOOTTIME has counted it, CLOCK_MONOTONIC has not.
func (c *clock) wake(since, w instant) { c.slept += c.local(w) - c.local(since) }
