package realtime

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hbagent/hbagent/pkg/checks"
)

const childEnv = "HBAGENT_TEST_REALTIME"

// TestMain is the process under test, too: its threads become real-time, and those
// of the test itself must not.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	if err := child(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func child() error {
	if Wanted() {
		return fmt.Errorf("wanted without having been asked for")
	}
	if err := os.Setenv(Variable, "1"); err != nil || !Wanted() {
		return fmt.Errorf("not wanted: %v", err)
	}
	if err := goBack(); err != nil {
		return err
	}
	if err := Enter(); err != nil {
		return err
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_RTPRIO, &limit); err != nil || limit.Max != 0 {
		return fmt.Errorf("the right to be real-time is still there, and would be inherited: %+v, %v", limit, err)
	}
	// Threads that are born later.
	var born, end sync.WaitGroup
	hold := make(chan struct{})
	for range 8 {
		born.Add(1)
		end.Go(func() {
			runtime.LockOSThread()
			born.Done()
			<-hold
		})
	}
	born.Wait()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		tid, _ := strconv.Atoi(t.Name())
		if a, err := unix.SchedGetAttr(tid, 0); err != nil || a.Policy != unix.SCHED_RR || a.Priority != priority {
			return fmt.Errorf("thread %d: %+v %v", tid, a, err)
		}
	}
	close(hold)
	end.Wait()

	// What is started is ordinary, and what starts it is not changed by that.
	for range 3 {
		var out strings.Builder
		cmd := exec.Command("/bin/sh", "-c", "cat /proc/self/stat")
		cmd.Stdout = &out
		if err := checks.Run(cmd); err != nil {
			return err
		}
		line := out.String()
		fields := strings.Fields(line[strings.LastIndex(line, ")")+1:]) // proc(5): policy is field 41, the first here is 3
		if policy := fields[41-3]; policy != strconv.Itoa(unix.SCHED_NORMAL) {
			return fmt.Errorf("a program that was started has policy %s", policy)
		}
		if a, err := unix.SchedGetAttr(os.Getpid(), 0); err != nil || a.Policy != unix.SCHED_RR {
			return fmt.Errorf("after starting a program: %+v %v", a, err)
		}
	}
	return nil
}

// goBack fails to become real-time, and looks whether all is as before.
func goBack() error {
	const nice = -7
	failed := errors.New("failed")
	all := func(f func(tid int) error) error {
		tasks, err := os.ReadDir("/proc/self/task")
		for _, t := range tasks {
			tid, _ := strconv.Atoi(t.Name())
			err = errors.Join(err, f(tid))
		}
		return err
	}
	for range 3 { // a thread may be born meanwhile
		if err := all(func(tid int) error { return unix.Setpriority(unix.PRIO_PROCESS, tid, nice) }); err != nil {
			return err
		}
	}
	err := enter(func() error {
		if a, err := unix.SchedGetAttr(os.Getpid(), 0); err != nil || a.Policy != unix.SCHED_RR {
			return fmt.Errorf("not real-time: %+v %v", a, err)
		}
		return failed
	})
	if !errors.Is(err, failed) {
		return fmt.Errorf("entering: %w", err)
	}
	return all(func(tid int) error {
		if a, err := unix.SchedGetAttr(tid, 0); err != nil || a.Policy != unix.SCHED_NORMAL || a.Nice != nice {
			return fmt.Errorf("thread %d after going back: %+v %v", tid, a, err)
		}
		return nil
	})
}

func TestEnter(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("HBAGENT_TEST_NO_SKIP") == "1" {
			t.Fatal("HBAGENT_TEST_NO_SKIP=1 forbids to skip: run as root")
		}
		t.Skip("needs root, which may take a real-time priority")
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
