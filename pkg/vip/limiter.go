package vip

import (
	"net/netip"
	"time"
)

// limiter lets one thing an interval through for each address. It is as large as the set of addresses it is
// asked about, which callers bound. One goroutine, or a lock around it.
type limiter struct {
	every time.Duration
	last  map[netip.Addr]time.Duration
}

func newLimiter(every time.Duration) limiter {
	return limiter{every: every, last: make(map[netip.Addr]time.Duration)}
}

func (l limiter) allow(now time.Duration, a netip.Addr) bool {
	if last, seen := l.last[a]; seen && now-last < l.every {
		return false
	}
	l.last[a] = now
	return true
}
