package rivals

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
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

func (d *daemons) start(node string, cmd *exec.Cmd) error {
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

// waitStates waits until the state of the owner is MASTER and that of the other BACKUP.
func (d *daemons) waitStates(ctx context.Context, owner string, state func(node string) string) error {
	return wait(ctx, func() error {
		for _, node := range pair() {
			want := "BACKUP"
			if node == owner {
				want = "MASTER"
			}
			if _, err := d.process(node); err != nil {
				return err
			}
			if got := state(node); got != want {
				return fmt.Errorf("%s on %s is in state %q, want %s", d.name, node, got, want)
			}
		}
		return nil
	})
}
