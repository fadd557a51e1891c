package checks

import (
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// Start starts a program as an ordinary process, also where this one has a
// real-time priority: a program that runs wild must not take the processor from the
// machine. It is for whatever an agent runs: checks, hooks, commands of templates.
// A program inherits from the thread that starts it, so that is a thread of its own,
// which ends with it: Go keeps no thread whose goroutine ended without unlocking it.
func Start(cmd *exec.Cmd) error {
	if a, err := unix.SchedGetAttr(0, 0); err != nil || a.Policy == unix.SCHED_NORMAL {
		return cmd.Start()
	}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		a, err := unix.SchedGetAttr(0, 0)
		if err == nil {
			a.Policy, a.Priority = unix.SCHED_NORMAL, 0
			err = unix.SchedSetAttr(0, a, 0)
		}
		if err == nil {
			err = cmd.Start()
		}
		started <- err
	}()
	return <-started
}

// Run is Start and the wait for its end.
func Run(cmd *exec.Cmd) error {
	if err := Start(cmd); err != nil {
		return err
	}
	return cmd.Wait()
}
