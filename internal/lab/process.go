package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Chosen by us.
const (
	// killWait is how long killed processes may take to be gone. They need milliseconds; but the kernel closes their
	// sockets first, and for one of nf_tables that was seen to take seconds on a busy machine.
	killWait    = 20 * time.Second
	tailBytes   = 8 << 10         // read from the end of a log to find its last lines
	logBytes    = 1 << 20         // read from the end of a log to find what was said at some time
	killedAfter = 2 * time.Second // a verb whose pipes stay open after its end
)

// A Process is one that was started on a node. It has its own process group and a log file.
type Process struct {
	Name string
	Log  string // file with stdout and stderr; grows over restarts under the same name

	cmd  *exec.Cmd
	done chan struct{}
	err  error // of Wait; read after done
}

// Start runs cmd on the node. Stdout and stderr go to the log NAME.log in the node's directory. The
// process ends with Kill, with PowerOff or with the World, not with a context.
func (n *Node) Start(name string, cmd *exec.Cmd) (*Process, error) {
	return n.start(name, cmd, 0)
}

// start is Start of a command whose timers may be that late, as with a unit's TimerSlackNSec=; 0: as the lab's own.
func (n *Node) start(name string, cmd *exec.Cmd, slack time.Duration) (*Process, error) {
	p := &Process{Name: name, Log: filepath.Join(n.Dir(), name+".log"), cmd: cmd, done: make(chan struct{})}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	n.prepare(cmd)
	if err := n.Do(func() error { return withTimerSlack(slack, cmd.Start) }); err != nil {
		return nil, fmt.Errorf("start %s on %s: %w", name, n.Name, err)
	}
	n.procMu.Lock()
	n.procs[p] = struct{}{}
	n.procMu.Unlock()
	go func() {
		p.err = cmd.Wait()
		n.procMu.Lock()
		delete(n.procs, p)
		n.procMu.Unlock()
		close(p.done)
	}()
	return p, nil
}

// withTimerSlack runs f, which may start a process, with a timer slack for this thread; the process inherits it
// (PR_SET_TIMERSLACK(2const)). The thread must be locked.
func withTimerSlack(slack time.Duration, f func() error) error {
	if slack == 0 {
		return f()
	}
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack.Nanoseconds()), 0, 0, 0); err != nil {
		return fmt.Errorf("prctl(PR_SET_TIMERSLACK): %w", err)
	}
	defer func() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) }() // 0: what the thread began with; what has started stays started
	return f()
}

// Output runs cmd on the node to its end, or kills it when ctx ends, and returns its stdout. The error
// holds what it said on stderr; errors.As finds the [*exec.ExitError].
func (n *Node) Output(ctx context.Context, cmd *exec.Cmd) ([]byte, error) {
	stdout, _, err := n.Outputs(ctx, cmd)
	return stdout, err
}

// Outputs is Output that also returns what the command said on stderr.
func (n *Node) Outputs(ctx context.Context, cmd *exec.Cmd) (out, said []byte, err error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = killedAfter
	n.prepare(cmd)
	if err := n.Do(cmd.Start); err != nil {
		return nil, nil, fmt.Errorf("run %s on %s: %w", cmd.Args[0], n.Name, err)
	}
	stop := context.AfterFunc(ctx, func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // fails only when it is gone
	})
	defer stop()
	if err := cmd.Wait(); err != nil {
		return stdout.Bytes(), stderr.Bytes(), fmt.Errorf("%s on %s: %w: %s", strings.Join(cmd.Args, " "), n.Name,
			errors.Join(err, ctx.Err()), bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.Bytes(), stderr.Bytes(), nil
}

// prepare gives a command its own process group and an environment without traces of the host's service
// manager and of the sandbox.
func (n *Node) prepare(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.Env = append(n.environ(), cmd.Env...)
}

// environ is what every process on the node finds in its environment.
func (n *Node) environ() []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case sandboxEnv, "NOTIFY_SOCKET", "INVOCATION_ID", "JOURNAL_STREAM", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_USEC":
			return true
		}
		return false
	})
	n.mu.RLock()
	defer n.mu.RUnlock()
	return append(env, "HBAGENT_RUN_DIR="+n.RunDir(), "HBAGENT_BOOT_ID="+n.bootID)
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Running reports whether the process has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// ending says how an ended process ended. Only after Done.
func (p *Process) ending() string {
	if p.err == nil {
		return "exit status 0"
	}
	return p.err.Error()
}

// Signal sends sig to the whole process group. A process that has ended is no error.
func (p *Process) Signal(sig syscall.Signal) error {
	if !p.Running() {
		return nil
	}
	err := syscall.Kill(-p.cmd.Process.Pid, sig)
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal %s: %w", p.Name, err)
	}
	return nil
}

// Kill sends SIGKILL to the process group and waits for the process to be gone.
func (p *Process) Kill() error {
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(killWait):
		return fmt.Errorf("%s is not gone %v after SIGKILL", p.Name, killWait)
	}
}

// Stop sends SIGTERM and waits until the process has ended, or kills it when ctx ends.
func (p *Process) Stop(ctx context.Context) error {
	if !p.Running() {
		return nil
	}
	// Only the process itself: it stops its children in its own order.
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.Name, err)
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("stop %s: %w", p.Name, ctx.Err()), p.Kill())
	}
}

// Tail returns up to lines last lines of the process's log.
func (p *Process) Tail(lines int) string { return tail(p.Log, lines) }

func tail(path string, lines int) string {
	all := strings.Split(strings.TrimRight(tailOf(path, tailBytes), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// tailOf reads up to the last size bytes of a file; in their place it says why it cannot.
func tailOf(path string, size int64) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size() > size {
		if _, err := f.Seek(-size, io.SeekEnd); err != nil {
			return err.Error()
		}
	}
	b, err := io.ReadAll(io.LimitReader(f, size))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Logs returns the last lines of the logs called name (AgentLog, or * for everything that was started) of all
// nodes, for a failed test or demo.
func (w *World) Logs(name string, lines int) string {
	var b strings.Builder
	for _, n := range w.all() {
		logs, _ := filepath.Glob(filepath.Join(n.Dir(), name+".log")) // names are well-formed patterns
		for _, log := range logs {
			if last := tail(log, lines); last != "" {
				fmt.Fprintf(&b, "--- %s on %s\n%s\n", strings.TrimSuffix(filepath.Base(log), ".log"), n.Name, last)
			}
		}
	}
	return b.String()
}

// PID is its process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Nice sets the nice value of every thread of the process group, as a unit's Nice= does. Who is not root may not lower
// it, and goes on without.
func (p *Process) Nice(nice int) error {
	err := syscall.Setpriority(syscall.PRIO_PGRP, p.PID(), nice)
	if errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}
