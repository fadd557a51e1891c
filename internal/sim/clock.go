package sim

import (
	"time"

	"github.com/hbagent/hbagent/pkg/lease"
)

// world time counts from the start of the run; nobody inside can read it.
type instant = time.Duration

// clock is one machine's, for one boot.
type clock struct {
	booted instant
	base   lease.Instant // what it said then
	ppm    int64         // rate error, parts per million
	unix   int64         // wall clock at the start of the world, seconds
}

const million = 1_000_000

// local returns what the clock says at world time w.
func (c clock) local(w instant) lease.Instant {
	d := int64(w - c.booted)
	return c.base + lease.Instant(d+d*c.ppm/million)
}

func (c clock) time(w instant) lease.Time {
	return lease.Time{Boot: c.local(w), Unix: c.unix + int64(w/time.Second)}
}

// world returns the first instant at which the clock says l or later.
func (c clock) world(l lease.Instant) instant {
	x := int64(l - c.base)
	w := c.booted + instant(x-x*c.ppm/(million+c.ppm))
	for c.local(w) < l {
		w++
	}
	for w > c.booted && c.local(w-1) >= l {
		w--
	}
	return w
}
