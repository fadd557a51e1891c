package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/control"
)

// hookTest has hooks that write into files of one directory.
type hookTest struct {
	*hooks
	dir string
}

func newHookTest(t *testing.T) *hookTest {
	t.Helper()
	dir := t.TempDir()
	log := testLogger(t)
	h := openHistory(filepath.Join(dir, "events"), "web1", false, log)
	t.Cleanup(h.close)
	ctx, cancel := context.WithCancel(context.Background())
	ht := &hookTest{hooks: newHooks(ctx, log, h), dir: dir}
	t.Cleanup(func() { cancel(); ht.done(t) })
	return ht
}

// script makes a hook. All are made before the first one runs: a process that is being started has the files
// that are open for writing open, too, and what is open for writing cannot be executed (ETXTBSY, execve(2)).
func (h *hookTest) script(t *testing.T, name, body string) string {
	t.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\ncd "+h.dir+"\n"+body), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func (h *hookTest) done(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	h.wait(ctx)
	if ctx.Err() != nil {
		t.Fatal("hooks are still running")
	}
}

func (h *hookTest) read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(h.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (h *hookTest) failures() (out []string) {
	for _, e := range h.history.since(time.Time{}, 0) {
		if e.Kind == kindHook {
			out = append(out, filepath.Base(e.Subject)+": "+e.Reason)
		}
	}
	return out
}

// gate is a hook that waits until the test opens it, so that others queue up behind it.
func (h *hookTest) gate(t *testing.T) (program string, open func()) {
	t.Helper()
	fifo := filepath.Join(h.dir, "gate")
	if err := mkfifo(fifo); err != nil {
		t.Fatal(err)
	}
	return h.script(t, "waits", "read x <gate"), func() {
		if err := os.WriteFile(fifo, []byte("go\n"), 0o600); err != nil {
			t.Error(err)
		}
	}
}

func TestHookEnvironment(t *testing.T) {
	h := newHookTest(t)
	t.Setenv("SECRET", "of the agent")
	h.run(hookCall{
		group: "web", state: control.StateActive, epoch: 7, addresses: []string{"10.0.0.50/24", "fd00::50/64"},
		reason: "nobody had it", programs: []string{h.script(t, "env", "env | grep -E 'HBAGENT|SECRET|^PATH|^LANG' | sort >out; pwd >>out")}, timeout: 10 * time.Second,
	})
	h.done(t)
	diff(t, "environment", h.read(t, "out"), `HBAGENT_ADDRESSES=10.0.0.50/24 fd00::50/64
HBAGENT_EPOCH=7
HBAGENT_GROUP=web
HBAGENT_REASON=nobody had it
HBAGENT_STATE=active
LANG=C.UTF-8
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
`+h.dir+"\n")
	diff(t, "failures", h.failures(), []string(nil))
}

func TestHooksOfAGroupRunInOrder(t *testing.T) {
	h := newHookTest(t)
	waits, open := h.gate(t)
	tell := h.script(t, "tell", "echo $HBAGENT_STATE $HBAGENT_GROUP >>out")
	fails := h.script(t, "fails", "echo told $HBAGENT_STATE; exit 3")
	other := h.script(t, "other", "echo $HBAGENT_GROUP >other.out")
	h.run(hookCall{group: "web", state: control.StateActive, programs: []string{waits, tell}, timeout: time.Minute})
	h.run(hookCall{group: "web", state: control.StateFault, programs: []string{fails, tell}, timeout: time.Minute})
	h.run(hookCall{group: "web", state: control.StateStandby, programs: []string{tell}, timeout: time.Minute})
	h.run(hookCall{group: "web", state: control.StateStandby, timeout: time.Minute}) // nothing to run
	// Another group does not wait.
	h.run(hookCall{group: "db", state: control.StateActive, programs: []string{other}, timeout: time.Minute})
	for deadline := time.Now().Add(30 * time.Second); ; {
		if _, err := os.Stat(filepath.Join(h.dir, "other.out")); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a group's hook waits for another group's")
		}
		time.Sleep(5 * time.Millisecond) // no event tells of a file
	}
	open()
	h.done(t)
	diff(t, "order", h.read(t, "out"), "active web\nfault web\nstandby web\n")
	diff(t, "failures", h.failures(), []string{"fails: exit status 3: told fault"})
}

func TestHookQueueIsBounded(t *testing.T) {
	h := newHookTest(t)
	waits, open := h.gate(t)
	tell := h.script(t, "tell", "echo $HBAGENT_EPOCH >>out")
	h.run(hookCall{group: "web", programs: []string{waits}, timeout: time.Minute})
	h.started(t, "web")
	for i := range hookQueue + 4 {
		h.run(hookCall{group: "web", epoch: uint64(i), programs: []string{tell}, timeout: time.Minute})
	}
	open()
	h.done(t)
	var want strings.Builder
	for i := 4; i < hookQueue+4; i++ {
		fmt.Fprintln(&want, i) // the oldest are gone, the newest never
	}
	diff(t, "told", h.read(t, "out"), want.String())
}

// started waits until the first call of a group has left the queue.
func (h *hookTest) started(t *testing.T, group string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		h.mu.Lock()
		queue, busy := h.waiting[group]
		h.mu.Unlock()
		if busy && len(queue) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the hook does not start")
		}
		time.Sleep(time.Millisecond) // no event tells of it
	}
}

func TestHookThatHangs(t *testing.T) {
	h := newHookTest(t)
	// The child holds the pipe and would outlive its parent: the whole process group is killed.
	hangs := h.script(t, "hangs", "echo on my way; sleep 600 & echo $! >child; wait")
	began := time.Now()
	h.run(hookCall{group: "web", programs: []string{hangs}, timeout: 300 * time.Millisecond})
	h.done(t)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	diff(t, "failures", h.failures(), []string{"hangs: not done within 300ms, killed: on my way"})
	child := strings.TrimSpace(h.read(t, "child"))
	for deadline := time.Now().Add(10 * time.Second); ; {
		stat, err := os.ReadFile("/proc/" + child + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the hook's child lives on: %s", stat)
		}
		time.Sleep(5 * time.Millisecond) // it is no child of ours: no event tells of its end
	}
}

func TestHookThatDoesNotExist(t *testing.T) {
	h := newHookTest(t)
	h.run(hookCall{group: "web", programs: []string{"/no/such/hook"}, timeout: time.Second})
	h.done(t)
	diff(t, "failures", h.failures(), []string{"hook: fork/exec /no/such/hook: no such file or directory"})
}

func TestHookOutputIsBounded(t *testing.T) {
	h := newHookTest(t)
	h.run(hookCall{group: "web", programs: []string{h.script(t, "talks", "head -c 1000000 /dev/zero | tr '\\0' x; exit 1")}, timeout: time.Minute})
	h.done(t)
	diff(t, "failures", h.failures(), []string{"talks: exit status 1: " + strings.Repeat("x", hookOutput)})
}

func TestHooksEndWithTheAgent(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	h := newHookTest(t)
	h.ctx = ctx
	hangs, late := h.script(t, "hangs", "sleep 600"), h.script(t, "late", "echo x >late.out")
	h.run(hookCall{group: "web", programs: []string{hangs}, timeout: time.Hour})
	h.started(t, "web")
	cancel()
	h.done(t)
	h.run(hookCall{group: "web", programs: []string{late}, timeout: time.Second})
	h.done(t)
	if _, err := os.Stat(filepath.Join(h.dir, "late.out")); err == nil {
		t.Error("a hook was run after the end")
	}
}
