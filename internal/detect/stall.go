package detect

import (
	"context"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Chosen by us.
const (
	stallNap     = 2 * time.Millisecond // a stall of a few milliseconds shows
	stallThreads = 4
)

// Stall watches for d, or until ctx ends, and returns by how much a thread of this machine woke up late at the worst. That
// is what a lease has to outlive: an agent that is not woken cannot renew it. One thread watches for each processor, since
// one may be stolen while the others run.
func Stall(ctx context.Context, d time.Duration) (worst time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range min(runtime.NumCPU(), stallThreads) {
		wg.Go(func() {
			late := watchThread(ctx)
			mu.Lock()
			defer mu.Unlock()
			worst = max(worst, late)
		})
	}
	wg.Wait()
	return worst
}

// watchThread naps in a thread of its own. The kernel's nap, not Go's timers: those are late when this process is busy.
func watchThread(ctx context.Context) (worst time.Duration) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	nap := unix.NsecToTimespec(stallNap.Nanoseconds())
	for ctx.Err() == nil {
		before := time.Now()
		_ = unix.Nanosleep(&nap, nil) // shorter when a signal comes: no stall
		worst = max(worst, time.Since(before)-stallNap)
	}
	return worst
}
