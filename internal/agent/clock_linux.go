package agent

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// EnvBootID replaces the kernel's boot id. The lab sets it to "boot" a node
// that is a network namespace and shares its kernel with the others.
const EnvBootID = "HBAGENT_BOOT_ID"

// bootTime reads CLOCK_BOOTTIME: it counts while the machine is suspended and
// nobody can set it (clock_gettime(2)).
func bootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("CLOCK_BOOTTIME: " + err.Error()) // since Linux 2.6.39
	}
	return time.Duration(ts.Nano())
}

// monotonicTime reads CLOCK_MONOTONIC, which stands still during a suspend.
func monotonicTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("CLOCK_MONOTONIC: " + err.Error())
	}
	return time.Duration(ts.Nano())
}

// bootID names this boot of the kernel (random(4)).
func bootID() (string, error) {
	if id := os.Getenv(EnvBootID); id != "" {
		return id, nil
	}
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("which boot is this: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
