package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Chosen by us.
const (
	// rolePrefix marks argv[0] of a process that this binary started from itself. The name stays visible in
	// ps, and unlike an environment variable it is not inherited by accident.
	rolePrefix = "hbagent-lab:"

	// sandboxEnv tells the worker that its parent is the sandbox's init.
	sandboxEnv = "HBAGENT_LAB_SANDBOX"

	// Root is the directory for everything a lab writes: a tmpfs that exists inside the sandbox only.
	Root = "/run/hbagent-lab"

	// selfExe is this program even when its file was replaced or lies under a hidden directory.
	selfExe = "/proc/self/exe"

	// endGrace is how long a worker may take to end after it was asked to, before all are killed.
	endGrace = 5 * time.Second

	// setupFailed is the exit code of an init that could not build the sandbox.
	setupFailed = 125
)

// Reexec runs the role this process was started for by the lab, if any, and then exits. Programs that use
// the lab call it first in main. In all other processes it does nothing.
func Reexec() {
	role, ok := strings.CutPrefix(os.Args[0], rolePrefix)
	if !ok {
		return
	}
	args := os.Args[1:]
	switch role {
	case "init":
		os.Exit(initMain(args))
	case "demo":
		os.Exit(demoMain(args))
	case "web":
		os.Exit(webMain(args))
	case "echo":
		os.Exit(echoMain(args))
	case "memcached":
		os.Exit(memcachedMain(args))
	}
	fmt.Fprintf(os.Stderr, "hbagent: unknown lab role %q\n", role)
	os.Exit(2)
}

// Inside reports whether this process is the worker of a sandbox.
func Inside() bool {
	if os.Getenv(sandboxEnv) == "" || os.Getppid() != 1 {
		return false
	}
	_, err := os.Stat(Root)
	return err == nil
}

// An UnavailableError says why this machine gives us no sandbox, and what would help.
type UnavailableError struct {
	Err    error  // what the kernel answered
	Remedy string // what to do, in plain words
}

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("no throw-away namespaces on this machine: %v\n%s", e.Err, e.Remedy)
}

func (e *UnavailableError) Unwrap() error { return e.Err }

// A Sandbox is one run of this same binary in namespaces of its own.
type Sandbox struct {
	Args           []string // the worker's whole argv; the program is this binary, whatever Args[0] says
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Run starts the sandbox and waits for the worker's end. It returns the worker's exit code (128 + number
// when a signal ended it). SIGINT, SIGTERM, SIGHUP and SIGQUIT are passed on to the worker for as long as
// it runs. When ctx ends the worker gets SIGTERM and, [endGrace] later, everything is killed.
// The error is an [*UnavailableError] when the machine refuses the namespaces.
func (s Sandbox) Run(ctx context.Context) (int, error) {
	report, reportW, err := os.Pipe()
	if err != nil {
		return setupFailed, fmt.Errorf("sandbox: %w", err)
	}
	defer report.Close()

	cmd := exec.Command(selfExe)
	cmd.Args = append([]string{rolePrefix + "init"}, s.Args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.Stdin, s.Stdout, s.Stderr
	cmd.ExtraFiles = []*os.File{reportW} // descriptor 3: init says there why it failed, or closes it
	cmd.SysProcAttr = sandboxAttr(os.Geteuid(), os.Getegid())
	cmd.WaitDelay = endGrace

	// PR_SET_PDEATHSIG follows the thread that forked, not the process: keep the thread alive.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	signals := make(chan os.Signal, 8) // a full channel drops repeats of signals already on their way
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)

	err = cmd.Start()
	reportW.Close()
	if err != nil {
		return setupFailed, startError(err)
	}
	done := make(chan struct{})
	forwarded := make(chan struct{})
	go func() {
		defer close(forwarded)
		forward(ctx, cmd.Process, signals, done)
	}()
	reason, readErr := io.ReadAll(io.LimitReader(report, 4096)) // ends when init closes its side
	err = cmd.Wait()
	close(done)
	<-forwarded

	var exit *exec.ExitError
	switch {
	case len(reason) > 0:
		return setupFailed, unavailable(errors.New(string(reason)))
	case readErr != nil:
		return setupFailed, fmt.Errorf("sandbox: %w", readErr)
	case errors.As(err, &exit):
		return exitCode(exit.Sys().(syscall.WaitStatus)), nil
	case err != nil:
		return setupFailed, fmt.Errorf("sandbox: %w", err)
	}
	return 0, nil
}

// forward passes signals on to the sandbox's init until done, and ends it when ctx does.
func forward(ctx context.Context, init *os.Process, signals <-chan os.Signal, done <-chan struct{}) {
	ended := ctx.Done()
	var kill <-chan time.Time
	for {
		select {
		case <-done:
			return
		case sig := <-signals:
			_ = init.Signal(sig) // an error means that it has just ended: done follows
		case <-ended:
			ended = nil
			_ = init.Signal(syscall.SIGTERM)
			kill = time.After(endGrace)
		case <-kill:
			_ = init.Kill() // the kernel then kills the whole PID namespace
		}
	}
}

// startError tells a machine that refuses namespaces (clone(2)) from other troubles.
func startError(err error) error {
	for _, refusal := range []syscall.Errno{
		syscall.EPERM, syscall.EACCES, // not allowed
		syscall.ENOSPC, syscall.EUSERS, // user.max_*_namespaces
		syscall.EINVAL, syscall.ENOSYS, // kernel built without
	} {
		if errors.Is(err, refusal) {
			return unavailable(fmt.Errorf("clone: %w", refusal))
		}
	}
	return fmt.Errorf("sandbox: %w", err)
}

// sandboxAttr asks for the namespaces. Root needs no user namespace, and without one the services' own
// users exist inside.
func sandboxAttr(uid, gid int) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	if uid != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}}
	}
	return attr
}

// exitCode is the shell's convention for the end of a process.
func exitCode(ws syscall.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}
