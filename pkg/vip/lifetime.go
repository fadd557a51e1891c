package vip

import (
	"fmt"
	"time"
)

// Given by the kernel (net/ipv4/devinet.c check_lifetime, net/ipv6/addrconf.c addrconf_verify_rtnl,
// include/net/addrconf.h).
const (
	// lifetimeUnit: valid_lft is in whole seconds.
	lifetimeUnit = time.Second
	// kernelLate: the sweep that removes addresses runs at most once a second (ADDRCONF_TIMER_FUZZ_MAX)
	// and is rounded to share a wake-up (ADDRCONF_TIMER_FUZZ, a quarter of a second).
	kernelLate = 1250 * time.Millisecond
	// kernelEarly: it takes along what would end within the next 20 ms (ADDRCONF_TIMER_FUZZ_MINUS, HZ/50).
	kernelEarly = 20 * time.Millisecond
)

// Chosen by us.
const (
	// refreshEvery is how often the lifetimes of a group are renewed at most. A thousand addresses take
	// some 30 ms, which nobody wants at every renewal; and between two refreshes the lease must stay covered.
	refreshEvery = time.Second
	// refreshSlack covers the refreshEvery in which a renewed deadline is not told to the kernel,
	// kernelEarly, and our own scheduling.
	refreshSlack = refreshEvery + 250*time.Millisecond
	// soleMargin is taken off where the lifetime is the only layer: kernelLate and 50 ms for the
	// request to reach the kernel; a request that took longer is repeated.
	soleMargin = kernelLate + 50*time.Millisecond
	// MinSoleTTL is the shortest lease with which Sole makes sense: 0.9 ttl - soleMargin, cut to whole
	// seconds, must outlast refreshEvery and a renewal interval of ttl/3.
	MinSoleTTL = 5 * time.Second
	// putTries bounds the repeats of an addition that a stall overtook.
	putTries = 3
)

// LifetimeRole says what the kernel's lifetime of an address is for.
type LifetimeRole uint8

const (
	// Backstop: a gate ends the group on time, the lifetime only tidies up after it. The address never
	// goes while the lease is renewed, and goes at most 3.5 s after the deadline when nobody renews.
	Backstop LifetimeRole = iota
	// Sole: there is no gate, the address itself must be gone when the deadline passes.
	Sole
)

// seconds is the valid_lft for a lease with left to run.
func (r LifetimeRole) seconds(left time.Duration) (int, error) {
	if left <= 0 || left > maxLeaseLeft {
		return 0, fmt.Errorf("%w: %v left", ErrDeadline, left)
	}
	if r == Backstop {
		return int((left + refreshSlack + lifetimeUnit - 1) / lifetimeUnit), nil
	}
	s := int((left - soleMargin) / lifetimeUnit)
	if left < soleMargin || s < 1 {
		return 0, fmt.Errorf("%w: %v left, and without a gate %v are needed (ttl of %v or more)",
			ErrDeadline, left, soleMargin+lifetimeUnit, MinSoleTTL)
	}
	return s, nil
}

// holds tells whether a lifetime of valid seconds, accepted by the kernel at after or earlier, keeps the
// promise of the role. It does not when this machine stalled between computing it and sending it.
func (r LifetimeRole) holds(valid int, after, deadline time.Duration) bool {
	if r == Backstop {
		return after < deadline
	}
	return after+time.Duration(valid)*lifetimeUnit+kernelLate <= deadline
}

// coverage is what the kernel was last told about a group's addresses.
type coverage struct {
	at    time.Duration // when
	until time.Duration // the earliest instant at which the first of them goes
}

// due tells whether the lifetimes should be refreshed: a second has passed, or (behind a gate, after a
// short first lease) the deadline has jumped beyond what the kernel knows.
func (c coverage) due(r LifetimeRole, now, deadline time.Duration) bool {
	return now-c.at >= refreshEvery || r == Backstop && deadline > c.until-kernelEarly
}
