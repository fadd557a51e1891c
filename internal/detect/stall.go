package detect

import (
	"context"
	"time"
)

// Chosen by us: how often a measurement of stalls wants to be woken. A holder renews every ttl/5.
const wakeEvery = time.Millisecond

// Stall sleeps in short naps for d, or until ctx ends, and returns by how much the latest of them was late. That is what
// a lease has to outlive: an agent that is not woken cannot renew it.
func Stall(ctx context.Context, d time.Duration) time.Duration {
	var longest time.Duration
	end := time.Now().Add(d)
	for now := time.Now(); now.Before(end) && ctx.Err() == nil; {
		time.Sleep(wakeEvery)
		woken := time.Now()
		longest = max(longest, woken.Sub(now)-wakeEvery)
		now = woken
	}
	return longest
}
