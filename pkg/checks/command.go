package checks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Chosen by us.
const (
	// maxOutput is how much of a program's output is kept, in bytes, as the
	// Nagios plugin guidelines have it (4 KiB). The rest is read and dropped,
	// since a program whose pipe is closed dies of it.
	maxOutput = 4 << 10
	// killDelay is how long the pipes of a dead program may be held open by
	// its children. Shorter than hangGrace.
	killDelay = 100 * time.Millisecond
)

// commandEnv is all the environment a program gets: nothing of the agent's.
var commandEnv = []string{
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"LANG=C.UTF-8",
}

// An outcome is how a program ended.
type outcome struct {
	code           int // exit status; -1 if it was killed
	end            string
	stdout, stderr []byte // the first maxOutput bytes
}

// runCommand runs argv in a process group of its own, which is killed when ctx
// ends. It returns within killDelay of that. An error means that the program
// did not start or that ctx ended.
func runCommand(ctx context.Context, argv []string) (outcome, error) {
	var stdout, stderr head
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = commandEnv
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = killDelay
	killGroup := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = killGroup

	if err := Start(cmd); err != nil {
		return outcome{}, startFailure(argv[0], err)
	}
	err := cmd.Wait()
	if ctx.Err() != nil {
		return outcome{}, ctx.Err()
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		// The program is done; something it left behind holds its output.
		_ = killGroup() // gone already, or out of reach in a session of its own
	}
	if cmd.ProcessState == nil {
		return outcome{}, fmt.Errorf("%s: %w", argv[0], err)
	}
	return outcome{
		code:   cmd.ProcessState.ExitCode(),
		end:    cmd.ProcessState.String(),
		stdout: stdout.b,
		stderr: stderr.b,
	}, nil
}

// startFailure tells the three reasons apart that look alike to execve(2).
func startFailure(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, statErr := os.Stat(path); statErr == nil {
			return fmt.Errorf("%s: its interpreter (first line) or loader does not exist", path)
		}
		return fmt.Errorf("%s does not exist", path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s is not executable for the agent: chmod +x, and look at noexec mounts", path)
	case errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("%s is not a program: does its first line name an interpreter (#!/bin/sh)?", path)
	}
	return fmt.Errorf("%s did not start: %w", path, err)
}

// head keeps the beginning of what is written to it.
type head struct{ b []byte }

func (h *head) Write(p []byte) (int, error) {
	h.b = append(h.b, p[:min(len(p), maxOutput-len(h.b))]...)
	return len(p), nil
}

func firstLine(b []byte) []byte {
	line, _, _ := bytes.Cut(bytes.TrimLeft(b, "\r\n"), []byte("\n"))
	return bytes.TrimSpace(line)
}
