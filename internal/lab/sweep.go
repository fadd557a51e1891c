package lab

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// sweepPause lies between looks at /proc, which has no event for this. Chosen by us.
const sweepPause = time.Millisecond

// Freeze stops (SIGSTOP) every process on the node, as a hypervisor pauses a machine, except that the
// node's kernel goes on answering. It returns when all of them stand still.
func (n *Node) Freeze() error {
	space, err := n.alive()
	if err != nil {
		return err
	}
	deadline := time.Now().Add(killWait)
	for time.Now().Before(deadline) {
		moving := 0
		for _, p := range processesIn(space) {
			if p.state == 'T' {
				continue
			}
			moving++
			_ = syscall.Kill(p.pid, syscall.SIGSTOP) // fails only when it has just ended
		}
		if moving == 0 { // a child forked meanwhile would have been seen moving
			n.w.log.Info("freeze", "node", n.Name)
			return nil
		}
		time.Sleep(sweepPause)
	}
	return fmt.Errorf("freeze %s: processes still run after %v", n.Name, killWait)
}

// Thaw lets a frozen node's processes go on.
func (n *Node) Thaw() error {
	space, err := n.alive()
	if err != nil {
		return err
	}
	n.w.log.Info("thaw", "node", n.Name)
	for _, p := range processesIn(space) {
		_ = syscall.Kill(p.pid, syscall.SIGCONT) // fails only when it has just ended
	}
	return nil
}

// killAll kills every process in the namespace, whoever started it, and waits until all are gone.
func (n *Node) killAll(space *netspace) error {
	deadline := time.Now().Add(killWait)
	for time.Now().Before(deadline) {
		left := processesIn(space)
		for _, p := range left {
			_ = syscall.Kill(p.pid, syscall.SIGKILL) // fails only when it has just ended
		}
		if len(left) == 0 && n.tracked() == 0 {
			return nil
		}
		time.Sleep(sweepPause)
	}
	return fmt.Errorf("%s: processes survive SIGKILL for %v", n.Name, killWait)
}

func (n *Node) tracked() int {
	n.procMu.Lock()
	defer n.procMu.Unlock()
	return len(n.procs)
}

// proc is one process as /proc shows it.
type proc struct {
	pid   int
	state byte // proc(5): R, S, D, T, Z, ...
}

// processesIn lists the processes in a network namespace; also those that left their process group or
// were started by hand (ip netns exec). The lab's own process is never among them: its main thread
// stays at home. Zombies have no namespace and do not count.
func processesIn(space *netspace) []proc {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var found []proc
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		ns, err := os.Readlink(filepath.Join("/proc", e.Name(), "ns/net"))
		if err != nil || ns != space.id {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue // it has just ended
		}
		found = append(found, proc{pid: pid, state: processState(stat)})
	}
	return found
}

// processState takes the state out of /proc/PID/stat: the field behind the name, which is in brackets and may
// contain anything (proc(5)).
func processState(stat []byte) byte {
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 || i+2 >= len(stat) {
		return '?'
	}
	return stat[i+2]
}
