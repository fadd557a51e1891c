package doctor

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hbagent/hbagent/internal/detect"
)

// sample watches how late threads of this machine wake up, and how its clocks run against each other.
func sample(ctx context.Context, d time.Duration) Sample {
	boot, mono, wall := clock(unix.CLOCK_BOOTTIME), clock(unix.CLOCK_MONOTONIC), clock(unix.CLOCK_REALTIME)
	s := Sample{For: d, WorstStall: detect.Stall(ctx, d)}
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
