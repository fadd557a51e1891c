package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/metrics"
	"github.com/hbagent/hbagent/pkg/checks"
)

// Chosen by us.
const (
	hookQueue  = 16   // states waiting for a slow hook, per group; the oldest is dropped first
	hookOutput = 4096 // bytes of a hook's output that are kept for the log
	hookGrace  = time.Second
)

// errKilled: a hook took too long.
var errKilled = errors.New("killed")

// hookCall is one state that the outside is told of.
type hookCall struct {
	group     string
	state     control.State
	epoch     uint64
	addresses []string
	reason    string
	programs  []string
	timeout   time.Duration // of each program
}

// hooks runs the programs of on_active, on_standby and on_fault: for each group
// one after the other, in the order of the states; groups do not wait for each
// other. A hook never holds up a failover.
type hooks struct {
	log     *slog.Logger
	history *history
	metrics *metrics.Set // nil in some tests

	mu      sync.Mutex
	ctx     context.Context
	waiting map[string][]hookCall // a key exists while the group's worker runs
	wg      sync.WaitGroup
}

func newHooks(ctx context.Context, log *slog.Logger, h *history) *hooks {
	return &hooks{ctx: ctx, log: log, history: h, waiting: make(map[string][]hookCall)}
}

// run queues a call. It never blocks.
func (h *hooks) run(c hookCall) {
	if len(c.programs) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx.Err() != nil {
		return
	}
	queue, busy := h.waiting[c.group]
	if len(queue) == hookQueue {
		h.log.Warn("hook is too slow, a state is skipped", "group", c.group, "state", queue[0].state)
		h.metrics.HookRan(metrics.HookSkipped, 0)
		queue = queue[1:]
	}
	h.waiting[c.group] = append(queue, c)
	if !busy {
		h.wg.Go(func() { h.work(c.group) })
	}
}

func (h *hooks) work(group string) {
	for {
		h.mu.Lock()
		queue := h.waiting[group]
		if len(queue) == 0 {
			delete(h.waiting, group)
			h.mu.Unlock()
			return
		}
		c := queue[0]
		h.waiting[group] = queue[1:]
		h.mu.Unlock()
		for _, program := range c.programs {
			began := time.Now()
			err := h.exec(program, c)
			h.metrics.HookRan(hookResult(err), time.Since(began))
			if err != nil {
				h.log.Error("hook failed", "group", group, "state", c.state, "hook", program, "error", err)
				h.history.add(control.Event{Group: group, Kind: kindHook, Subject: program, Reason: err.Error()})
			}
		}
	}
}

// exec runs one program with a clean environment in a process group of its own,
// which is killed as a whole when the time is over.
func (h *hooks) exec(program string, c hookCall) error {
	ctx, cancel := context.WithTimeout(h.ctx, c.timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LANG=C.UTF-8",
		"HBAGENT_GROUP=" + c.group,
		"HBAGENT_STATE=" + string(c.state),
		"HBAGENT_EPOCH=" + strconv.FormatUint(c.epoch, 10),
		"HBAGENT_ADDRESSES=" + strings.Join(c.addresses, " "),
		"HBAGENT_REASON=" + c.reason,
	}
	out := &output{max: hookOutput}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = hookGrace
	err := checks.Run(cmd)
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay): // it left something running that has our pipe
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("not done within %v, %w%s", c.timeout, errKilled, out.suffix())
	}
	return fmt.Errorf("%w%s", err, out.suffix())
}

func hookResult(err error) metrics.HookResult {
	switch {
	case err == nil:
		return metrics.HookOK
	case errors.Is(err, errKilled):
		return metrics.HookTimeout
	}
	return metrics.HookFailed
}

// wait lets running hooks end, until ctx does.
func (h *hooks) wait(ctx context.Context) {
	done := make(chan struct{})
	go func() { h.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// output keeps the first max bytes and drops the rest. One process writes it.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
	max int
}

func (t *output) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if room := t.max - t.buf.Len(); room > 0 {
		t.buf.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}

func (t *output) suffix() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := strings.TrimSpace(t.buf.String()); s != "" {
		return ": " + strings.ToValidUTF8(s, "?")
	}
	return ""
}
