package doctor

import (
	"context"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// sampleNap is how long a watching thread sleeps. Chosen by us: a stall of a few milliseconds shows.
const sampleNap = 2 * time.Millisecond

// sample watches how late threads of this machine wake up, and how its clocks run against each other. One thread
// for each processor, since one may be stolen while the others run.
func sample(ctx context.Context, d time.Duration) Sample {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	s := Sample{For: d}
	boot, mono, wall := clock(unix.CLOCK_BOOTTIME), clock(unix.CLOCK_MONOTONIC), clock(unix.CLOCK_REALTIME)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range min(runtime.NumCPU(), 4) {
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			var worst time.Duration
			nap := unix.NsecToTimespec(sampleNap.Nanoseconds())
			for ctx.Err() == nil {
				before := clock(unix.CLOCK_MONOTONIC)
				_ = unix.Nanosleep(&nap, nil) // shorter when a signal comes: no stall
				worst = max(worst, clock(unix.CLOCK_MONOTONIC)-before-sampleNap)
			}
			mu.Lock()
			defer mu.Unlock()
			s.WorstStall = max(s.WorstStall, worst)
		})
	}
	wg.Wait()
	gone := clock(unix.CLOCK_BOOTTIME) - boot
	s.Asleep = max(0, gone-(clock(unix.CLOCK_MONOTONIC)-mono))
	s.WallJump = (clock(unix.CLOCK_REALTIME) - wall - gone).Abs()
	return s
}

func clock(id int32) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		panic("clock_gettime: " + err.Error()) // these exist since Linux 2.6.39
	}
	return time.Duration(ts.Nano())
}
