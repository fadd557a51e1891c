package vip

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Chosen by us.
const (
	// tokenLength is how long a process may stall between reading the clock and the transaction. Shorter
	// ones happen all the time on a busy machine, longer ones cost a repeat.
	tokenLength = 30 * time.Millisecond
	// tokenShare bounds it for short leases.
	tokenShare = 5
	// marginShare is the part of the lease that the gate may be late: half of the margin of ttl/10 that a
	// holder takes off its lease for that.
	marginShare = 20
	// usefulShare: at least so much of a lease must be left by the gate.
	usefulShare = 2
)

// timing is how long elements live.
//
// The kernel counts timeouts in clock ticks (CONFIG_HZ: 1, 4 or 10 ms). nf_msecs_to_jiffies64 cuts the timeout
// to whole ticks and adds it to the number of the present tick, which began in the past: an element ends up to
// two ticks early by that, and never late. It is late by the time that the tick itself is late, one tick on a
// machine that runs; that is taken off beforehand, and so is what the token may be longer than the gate's
// share of the lease's margin (nothing for a ttl of 600 ms or more).
type timing struct {
	tick    time.Duration // of the kernel
	token   time.Duration // length of a token
	shorter time.Duration // what is taken off what is left of a lease
}

// clockTick is the length of the kernel's tick: the resolution of the coarse clocks (clock_getres(2)).
func clockTick() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &ts); err != nil {
		panic("vip: clock_getres(CLOCK_MONOTONIC_COARSE): " + err.Error()) // since Linux 2.6.32 it cannot fail
	}
	return time.Duration(ts.Nano())
}

func timingOf(ttl, tick time.Duration) (timing, error) {
	t := timing{tick: tick, token: max(min(tokenLength, ttl/tokenShare), 2*tick).Truncate(time.Millisecond)}
	t.shorter = tick + max(0, t.token-ttl/marginShare)
	if left := ttl - ttl/10 - t.shorter; left < ttl/usefulShare {
		return t, fmt.Errorf("vip: %w: a ttl of %v is too short for this kernel, whose clock ticks every %v: "+
			"make it longer (200ms is enough for every kernel)", ErrNoGate, ttl, tick)
	}
	return t, nil
}

// timeout is the timeout of an element for a lease with left to run, 0 where it is too late for one.
func (t timing) timeout(left time.Duration) time.Duration {
	left = (left - t.shorter).Truncate(time.Millisecond)
	if left < t.tick || left > maxLeaseLeft {
		return 0 // the kernel rounds what is below a tick up
	}
	return left
}
