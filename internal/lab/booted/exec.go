package booted

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
)

// killedAfter is how long the pipes of a command may stay open after its end. Chosen by us.
const killedAfter = 2 * time.Second

// children lists the processes whose parent is pid.
func children(pid int) []int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // a well-formed pattern
	var found []int
	for _, file := range stats {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it has just ended
		}
		if parentOf(b) == pid {
			child, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			found = append(found, child)
		}
	}
	slices.Sort(found)
	return found
}

// parentOf takes the parent out of proc_pid_stat(5): the second field behind the name, which is in brackets and may
// contain anything.
func parentOf(stat []byte) int {
	_, rest, _ := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" "))
	fields := bytes.Fields(rest)
	if len(fields) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(string(fields[1]))
	return parent
}

// Leader returns the process id of the machine's PID 1, as seen from here.
func (m *Machine) Leader() (int, error) {
	r := m.running()
	if r == nil {
		return 0, fmt.Errorf("%s: %w", m.Name, lab.ErrPoweredOff)
	}
	m.mu.Lock()
	nspawn := r.pid
	m.mu.Unlock()
	for _, pid := range children(nspawn) {
		// Until it is executed it is a fork of systemd-nspawn.
		if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil && string(comm) == "systemd\n" {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("%s has not booted yet", m.Name)
}

// Command prepares a command on the machine, as root logged in there.
func (m *Machine) Command(args ...string) (*exec.Cmd, error) {
	leader, err := m.Leader()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("nsenter", append([]string{"--target", strconv.Itoa(leader), "--all", "--root", "--wd", "--"}, args...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "USER=root", "LANG=C.UTF-8",
		"TERM=" + cmp.Or(os.Getenv("TERM"), "dumb"), "PAGER=cat", "DEBIAN_FRONTEND=noninteractive"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd, nil
}

// Output runs a command on the machine to its end, or kills it when ctx ends, and returns its stdout. The error holds
// what it said on stderr; errors.As finds the [*exec.ExitError].
func (m *Machine) Output(ctx context.Context, args ...string) (string, error) {
	cmd, err := m.Command(args...)
	if err != nil {
		return "", err
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = killedAfter
	if err := cmd.Start(); err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // fails only when it is gone
	})
	defer stop()
	if err := cmd.Wait(); err != nil {
		return stdout.String(), fmt.Errorf("%s on %s: %w: %s", strings.Join(args, " "), m.Name, errors.Join(err, ctx.Err()),
			bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}

// WaitBooted waits until the machine has started everything that it starts by itself, or has failed to.
func (m *Machine) WaitBooted(ctx context.Context) error {
	for {
		out, err := m.Output(ctx, "systemctl", "is-system-running")
		switch strings.TrimSpace(out) {
		case "running", "degraded":
			return nil
		}
		if r := m.running(); r == nil {
			return fmt.Errorf("%s went off while it booted: %s", m.Name, m.lastWords())
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%s has not booted: %w", m.Name, ctx.Err()), err, errors.New(m.lastWords()))
		case <-time.After(pollPause):
		}
	}
}

// lastWords are the last lines of the machine's console.
func (m *Machine) lastWords() string {
	b, err := os.ReadFile(m.Console())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}

// Write puts a file on the machine's disk, whether it is on or off. Missing directories are made.
func (m *Machine) Write(path, text string, mode os.FileMode) error {
	to := filepath.Join(m.Root(), path)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return errors.Join(os.WriteFile(to, []byte(text), mode), os.Chmod(to, mode))
}

// Put copies a file from here to the machine's disk.
func (m *Machine) Put(file, path string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return m.Write(path, string(b), 0o644)
}
