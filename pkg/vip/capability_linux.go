package vip

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// CheckCapabilities tells whether this process may change addresses (CAP_NET_ADMIN) and send and receive ARP
// and ND frames (CAP_NET_RAW). The error wraps ErrNoCapability, names what is missing and what to do.
// It may be called from any goroutine.
func CheckCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("vip: reading the capabilities of this process: %w", err)
	}
	return missing(data[0].Effective)
}

// missing names the capabilities that are not in the effective set (its low 32 bits).
func missing(effective uint32) error {
	var names []string
	for _, c := range []struct {
		bit  int
		name string
		why  string
	}{
		{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN", "to add and delete addresses"},
		{unix.CAP_NET_RAW, "CAP_NET_RAW", "to send and receive ARP and neighbour discovery"},
	} {
		if effective&(1<<c.bit) == 0 {
			names = append(names, c.name+" ("+c.why+")")
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("vip: %w: %s; run as root, or add AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW to the unit",
		ErrNoCapability, strings.Join(names, " and "))
}
