package lab

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
)

// clockTicks is USER_HZ, which is 100 on every architecture Go runs on (proc(5)).
const clockTicks = 100

// A Usage is what a node's agent has taken since its start, and what its machine's card has carried since the machine
// was switched on.
type Usage struct {
	At      time.Time
	Memory  int64 // bytes, resident
	CPU     time.Duration
	Packets uint64 // in and out
	Bytes   uint64
}

// Usage reads it, from proc(5) and from the card.
func (n *Node) Usage() (u Usage, err error) {
	pid, ok := n.AgentPID()
	if !ok {
		return u, fmt.Errorf("usage of %s: %w", n.Name, ErrNoAgentRuns)
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	// After the command in parentheses, utime and stime are the 12th and 13th field, rss the 22nd.
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 22 {
		return u, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(f))
	}
	var v [3]int64
	for i, at := range []int{11, 12, 21} {
		if v[i], err = strconv.ParseInt(f[at], 10, 64); err != nil {
			return u, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
	}
	u.At = time.Now()
	u.CPU = time.Duration(v[0]+v[1]) * time.Second / clockTicks
	u.Memory = v[2] * int64(os.Getpagesize())
	err = n.Do(func() error {
		link, err := netlink.LinkByName(nic)
		if err != nil {
			return err
		}
		st := link.Attrs().Statistics
		u.Packets, u.Bytes = st.RxPackets+st.TxPackets, st.RxBytes+st.TxBytes
		return nil
	})
	return u, err
}
