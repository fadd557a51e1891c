// Package realtime puts this process before ordinary ones on the processor.
//
// A lease of 50 ms is over when the agent waits that long for a processor, which
// it does on a busy machine at any nice value. SCHED_RR with the lowest of its
// priorities does not wait for ordinary processes (sched(7)).
//
// Go moves goroutines between threads, so all threads are real-time or none;
// new ones inherit it from the one that makes them. Programs that are started
// inherit it, too: pkg/checks.Start makes them ordinary first.
package realtime

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Chosen by us.
const (
	// priority is the lowest real-time one: before what is ordinary, behind every
	// other real-time process and the kernel's own.
	priority = 1
	// passes bounds the search for threads that are not real-time yet: one may be
	// born while the others are told.
	passes = 20
)

// Variable of the environment that asks for it, with the value 1. docs/operations.md has what else a unit needs.
const Variable = "HBAGENT_REALTIME"

// Wanted reports whether the environment asks for a real-time priority.
func Wanted() bool { return os.Getenv(Variable) == "1" }

// Enter makes every thread of this process real-time, those to come included, and
// takes the right to do so away, so that no program that is started has it. After
// an error all threads are as they were: some kernels have no real-time for
// groups of processes (CONFIG_RT_GROUP_SCHED), or a container may not.
func Enter() error {
	return enter(func() error {
		// New threads inherit what they need no right for.
		if err := unix.Setrlimit(unix.RLIMIT_RTPRIO, &unix.Rlimit{}); err != nil {
			return fmt.Errorf("setrlimit(RLIMIT_RTPRIO): %w", err)
		}
		return nil
	})
}

// enter is Enter with what is done once all threads are real-time.
func enter(dropRight func() error) error {
	before, err := unix.SchedGetAttr(os.Getpid(), 0) // of the unit, and so of all threads
	if err != nil {
		return fmt.Errorf("sched_getattr: %w", err)
	}
	if err = setAll(unix.SCHED_RR, priority, before.Nice); err == nil {
		err = dropRight()
	}
	if err != nil {
		if back := setAll(before.Policy, before.Priority, before.Nice); back != nil {
			err = fmt.Errorf("%w, and going back: %w", err, back)
		}
	}
	return err
}

// setAll gives every thread a policy, until a look at all of them finds none without. nice is for one that is not real-time.
func setAll(policy, priority uint32, nice int32) error {
	for range passes {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		changed := false
		for _, t := range tasks {
			tid, err := strconv.Atoi(t.Name())
			if err != nil {
				return fmt.Errorf("/proc/self/task: %w", err)
			}
			did, err := set(tid, policy, priority, nice)
			if err != nil {
				return err
			}
			changed = changed || did
		}
		if !changed {
			return nil
		}
	}
	return fmt.Errorf("new threads without it after %d looks", passes)
}

// set reports whether there was something to change. A thread that has ended is none.
func set(tid int, policy, priority uint32, nice int32) (changed bool, err error) {
	attr, err := unix.SchedGetAttr(tid, 0)
	if err == unix.ESRCH || err == nil && attr.Policy == policy {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("sched_getattr: %w", err)
	}
	attr.Policy, attr.Priority, attr.Nice = policy, priority, nice
	attr.Runtime, attr.Deadline, attr.Period, attr.Flags = 0, 0, 0, 0
	err = unix.SchedSetAttr(tid, attr, 0)
	if err == unix.ESRCH {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("sched_setattr: %w", err)
	}
	return true, nil
}
