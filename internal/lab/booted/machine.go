package booted

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
)

// Chosen by us.
const (
	// pollPause lies between two looks at something that sends no event.
	pollPause = 50 * time.Millisecond
	// goneWait is how long systemd-nspawn may take to end once its machine has.
	goneWait = 30 * time.Second
	// rebootCode is how systemd-nspawn --keep-unit ends when its machine reboots (EXIT_FORCE_RESTART in its source).
	rebootCode = 133
)

// A Machine is a node of the lab with a disk and an init of its own. It is off until PowerOn.
type Machine struct {
	*lab.Node
	s    *Site
	disk string // directory; on the sandbox's tmpfs

	power sync.Mutex // one power change at a time

	mu    sync.Mutex // guards the rest
	run   *run       // nil: off
	boots int        // how often it was started
}

// A run is one time between power on and power off; it lasts over reboots.
type run struct {
	off  chan struct{} // closed by PowerOff: do not boot again
	done chan struct{} // closed when systemd-nspawn has ended for good
	err  error         // why; read after done. nil: shut down, or cut off
	pid  int           // of systemd-nspawn; guarded by Machine.mu
}

func newMachine(s *Site, n *lab.Node) *Machine {
	return &Machine{Node: n, s: s, disk: filepath.Join(lab.Root, "disks", n.Name)}
}

// Root is the machine's file system as seen from here; without what is mounted there while it runs (/run, /tmp).
func (m *Machine) Root() string { return filepath.Join(m.disk, "root") }

// Console is the file with what the machine has said on its console.
func (m *Machine) Console() string { return filepath.Join(m.Dir(), "console.log") }

// PowerOn switches the machine on and waits until it has booted. One that is on stays as it is.
func (m *Machine) PowerOn(ctx context.Context) error {
	m.power.Lock()
	defer m.power.Unlock()
	if m.running() == nil {
		if err := m.Node.PowerOn(ctx); err != nil {
			return err
		}
		r := &run{off: make(chan struct{}), done: make(chan struct{})}
		cmd, err := m.start(r)
		if err != nil {
			return errors.Join(err, m.Node.PowerOff())
		}
		go m.supervise(r, cmd)
	}
	return m.WaitBooted(ctx)
}

// PowerOff takes the power away from the machine, whatever it is doing. Its disk stays.
func (m *Machine) PowerOff() error {
	m.power.Lock()
	defer m.power.Unlock()
	r := m.running()
	if r == nil {
		return nil
	}
	close(r.off)
	// The node first: the others hear nothing more from it.
	err := m.Node.PowerOff()
	return errors.Join(err, m.end(r))
}

// end kills what systemd-nspawn has started until it ends by itself: killed, it would leave its machine alone.
func (m *Machine) end(r *run) error {
	deadline := time.After(goneWait)
	for {
		m.mu.Lock()
		pid := r.pid
		m.mu.Unlock()
		for _, child := range children(pid) {
			_ = syscall.Kill(child, syscall.SIGKILL) // fails only when it has just ended
		}
		select {
		case <-r.done:
			return nil
		case <-deadline:
			return fmt.Errorf("%s: systemd-nspawn does not end", m.Name)
		case <-time.After(pollPause):
		}
	}
}

// Shutdown shuts the machine down as its administrator does, and waits for it.
func (m *Machine) Shutdown(ctx context.Context) error {
	r := m.running()
	if r == nil {
		return lab.ErrPoweredOff
	}
	// The connection to the machine may end before the command does.
	_, err := m.Output(ctx, "systemctl", "poweroff")
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("%s does not shut down: %w", m.Name, ctx.Err()), err)
	}
}

// Reboot does what its administrator does, and waits until the machine is up again.
func (m *Machine) Reboot(ctx context.Context) error {
	before := m.Boots()
	_, err := m.Output(ctx, "systemctl", "reboot")
	for m.Boots() == before {
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%s does not reboot: %w", m.Name, ctx.Err()), err)
		case <-time.After(pollPause):
		}
	}
	return m.WaitBooted(ctx)
}

// Boots is how often the machine was started, reboots included.
func (m *Machine) Boots() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.boots
}

// running returns the current run, or nil.
func (m *Machine) running() *run {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.run != nil {
		select {
		case <-m.run.done:
			m.run = nil
		default:
		}
	}
	return m.run
}

// start boots the machine once.
func (m *Machine) start(r *run) (*exec.Cmd, error) {
	group := filepath.Join(m.s.groups, m.Name)
	if err := errors.Join(removeGroup(group), os.MkdirAll(group, 0o755)); err != nil {
		return nil, err
	}
	dir, err := os.Open(group)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	console, err := os.OpenFile(m.Console(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer console.Close()
	cmd := exec.Command("systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit",
		"--machine="+m.Name, "--directory="+m.Root(), "--network-namespace-path="+m.NetNS(),
		"--capability=CAP_NET_ADMIN", "--link-journal=no", "--resolv-conf=off", "--timezone=off", "--console=read-only")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "SYSTEMD_NSPAWN_API_VFS_WRITABLE=network", "SYSTEMD_NSPAWN_LOCK=0"}
	cmd.Stdout, cmd.Stderr = console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("boot %s: %w", m.Name, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r.pid, m.run = cmd.Process.Pid, r
	m.boots++
	return cmd, nil
}

// supervise is the machine's firmware: it boots it again when it has rebooted, with the kernel's network as new.
func (m *Machine) supervise(r *run, cmd *exec.Cmd) {
	defer close(r.done)
	for {
		err := cmd.Wait()
		var exit *exec.ExitError
		reboot := errors.As(err, &exit) && exit.ExitCode() == rebootCode
		select {
		case <-r.off:
			return // killed, as was meant
		default:
		}
		if !reboot {
			r.err = errors.Join(err, m.Node.PowerOff())
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), goneWait)
		err = errors.Join(m.Node.PowerOff(), m.Node.PowerOn(ctx))
		cancel()
		if err == nil {
			cmd, err = m.start(r)
		}
		if err != nil {
			r.err = err
			return
		}
	}
}
