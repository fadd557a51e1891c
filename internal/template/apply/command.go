package apply

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hbagent/hbagent/pkg/checks"
)

// Chosen by us.
const (
	maxOutput = 4 << 10 // bytes of a command's output that are kept
	killGrace = time.Second
)

// commandEnv is all the environment a command gets: nothing of the agent's.
var commandEnv = []string{
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"LANG=C.UTF-8",
}

// Commands runs the commands of templates. It returns when the command has ended
// or ctx has; the error is nil if it succeeded, and holds the command's output
// otherwise.
type Commands interface {
	Run(ctx context.Context, s Spec, kind Kind) error
}

// Direct runs commands as the agent's user.
type Direct struct{}

// Run implements Commands: in a process group of its own, which is killed as a
// whole when the template's timeout is over.
func (Direct) Run(ctx context.Context, s Spec, kind Kind) error {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	argv := s.argv(kind)
	out := &head{}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Dir = commandEnv, "/"
	cmd.Stdout, cmd.Stderr = out, out // the same writer: one goroutine writes it
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = killGrace
	err := checks.Run(cmd)
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay): // it left something running that has our pipe
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%s: not done within %v, killed%s", filepath.Base(argv[0]), s.Timeout, out.suffix())
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return fmt.Errorf("%s: %w%s", filepath.Base(argv[0]), err, out.suffix())
}

// head keeps the beginning of what is written to it.
type head struct{ b []byte }

func (h *head) Write(p []byte) (int, error) {
	h.b = append(h.b, p[:min(len(p), maxOutput-len(h.b))]...)
	return len(p), nil
}

func (h *head) suffix() string {
	if s := strings.TrimSpace(string(h.b)); s != "" {
		return ": " + strings.ToValidUTF8(s, "?")
	}
	return ""
}
