package rivals

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/hbagent/hbagent/internal/lab"
)

// daemons are one daemon on each machine of a pair, under one name.
type daemons struct {
	w    *lab.World
	name string

	mu      sync.Mutex // guards running
	running map[string]*lab.Process
}

func newDaemons(w *lab.World, name string) *daemons {
	return &daemons{w: w, name: name, running: make(map[string]*lab.Process)}
}

// pair is where tools without a third voter run.
func pair() []string { return []string{"web1", "web2"} }

func (d *daemons) Nodes() []string { return pair() }

// start starts a machine's daemon, with a log of its own: the states of the one before are not its.
func (d *daemons) start(node string, cmd *exec.Cmd) error {
	if err := os.RemoveAll(filepath.Join(d.w.Node(node).Dir(), d.name+".log")); err != nil {
		return err
	}
	p, err := d.w.Node(node).Start(d.name, cmd)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running[node] = p
	return nil
}

// process is the running one of a machine.
func (d *daemons) process(node string) (*lab.Process, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.running[node]
	if p == nil || !p.Running() {
		return nil, fmt.Errorf("%s does not run on %s", d.name, node)
	}
	return p, nil
}

// Stop sends SIGTERM to the process that was started, as systemd does, and waits for its end.
func (d *daemons) Stop(ctx context.Context, node string) error {
	p, err := d.process(node)
	if err != nil {
		return err
	}
	return p.Stop(ctx)
}

// Kill kills the daemon and its children at once: of several processes one would say goodbye for another, or start it
// again.
func (d *daemons) Kill(_ context.Context, node string) error {
	p, err := d.process(node)
	if err != nil {
		return err
	}
	return errors.Join(d.Signal(node, syscall.SIGKILL), p.Kill())
}

// Signal sends a signal to the daemon and its children.
func (d *daemons) Signal(node string, sig syscall.Signal) error {
	if _, err := d.process(node); err != nil {
		return err
	}
	for _, pid := range d.PIDs(node) {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("signal %s on %s: %w", d.name, node, err)
		}
	}
	return nil
}

// PIDs are the daemon and its children.
func (d *daemons) PIDs(node string) []int {
	p, err := d.process(node)
	if err != nil {
		return nil
	}
	return family(p.PID())
}

// stateLines of its log are read for a daemon's state.
const stateLines = 60

// waitStates waits until each daemon's log names the state MASTER (the owner) or BACKUP (the other) last. before is
// what stands before the name of a state.
func (d *daemons) waitStates(ctx context.Context, owner, before string) error {
	return lab.Poll(ctx, func() error {
		for _, node := range pair() {
			want := "BACKUP"
			if node == owner {
				want = "MASTER"
			}
			p, err := d.process(node)
			if err != nil {
				return err
			}
			if got := lastState(p.Tail(stateLines), before); got != want {
				return fmt.Errorf("%s on %s is in state %q, want %s", d.name, node, got, want)
			}
		}
		return nil
	})
}

// lastState is the word behind the last `before` in a log.
func lastState(log, before string) string {
	i := strings.LastIndex(log, before)
	if i < 0 {
		return ""
	}
	words := strings.Fields(log[i+len(before):])
	if len(words) == 0 {
		return ""
	}
	return words[0]
}
