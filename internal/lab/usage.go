package lab

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
)

// clockTicks is USER_HZ, which is 100 on every architecture Go runs on (proc(5)).
const clockTicks = 100

// A Usage is what processes on a node have taken since their start, and what its machine's card has carried since the
// machine was switched on.
type Usage struct {
	At      time.Time
	Memory  int64 // bytes, resident, of all of them: what they share counts in each
	CPU     time.Duration
	Packets uint64 // in and out
	Bytes   uint64
}

// Usage reads that of the node's agent.
func (n *Node) Usage() (Usage, error) {
	pid, ok := n.AgentPID()
	if !ok {
		return Usage{}, fmt.Errorf("usage of %s: %w", n.Name, ErrNoAgentRuns)
	}
	return n.UsageOf(pid)
}

// UsageOf reads that of processes, from proc(5) and from the card.
func (n *Node) UsageOf(pids ...int) (u Usage, err error) {
	u.At = time.Now()
	read := 0
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if errors.Is(err, os.ErrNotExist) {
			continue // a child that has just ended counts in its parent
		}
		if err != nil {
			return u, err
		}
		cpu, memory, err := processUsage(string(text))
		if err != nil {
			return u, fmt.Errorf("process %d: %w", pid, err)
		}
		u.CPU, u.Memory = u.CPU+cpu, u.Memory+memory
		read++
	}
	if read == 0 {
		return u, fmt.Errorf("usage: none of the processes %v runs on %s", pids, n.Name)
	}
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

// processUsage takes /proc/PID/stat apart. proc(5): after the command in parentheses, utime, stime and those of the
// children that were waited for are the 12th to 15th field, rss the 22nd.
func processUsage(stat string) (cpu time.Duration, memory int64, err error) {
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(f) < 22 {
		return 0, 0, fmt.Errorf("stat has %d fields", len(f))
	}
	var ticks int64
	for _, at := range []int{11, 12, 13, 14} {
		n, err := strconv.ParseInt(f[at], 10, 64)
		if err != nil {
			return 0, 0, err
		}
		ticks += n
	}
	pages, err := strconv.ParseInt(f[21], 10, 64)
	return time.Duration(ticks) * time.Second / clockTicks, pages * int64(os.Getpagesize()), err
}
