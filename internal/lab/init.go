package lab

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vishvananda/netlink"
)

// initMain is PID 1 of a sandbox: it builds the mounts, starts the worker, passes signals on, reaps what
// loses its parent, and exits with the worker, which ends every other process.
//
// The worker is a process of its own because a reaper (wait for any child) and os/exec (wait for my
// child) cannot live in the same one.
func initMain(args []string) int {
	report := os.NewFile(3, "report")
	syscall.CloseOnExec(3)
	if err := buildSandbox(); err != nil {
		fmt.Fprint(report, err)
		return setupFailed
	}

	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	worker, err := syscall.ForkExec(selfExe, args, &syscall.ProcAttr{
		Env:   append(os.Environ(), sandboxEnv+"=1"),
		Files: []uintptr{0, 1, 2},
	})
	if err != nil {
		fmt.Fprintf(report, "start the worker: %v", err)
		return setupFailed
	}
	report.Close()
	go func() {
		for sig := range signals {
			_ = syscall.Kill(worker, sig.(syscall.Signal)) // fails only when it has ended: so do we, below
		}
	}()
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			fmt.Fprintln(os.Stderr, "hbagent: sandbox lost its worker:", err)
			return setupFailed
		case pid == worker:
			return exitCode(ws)
		}
	}
}

// buildSandbox runs in the new namespaces, before anything else does.
func buildSandbox() error {
	// Nothing we mount may travel to the host, nothing the host mounts may appear here.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	const calm = unix.MS_NOSUID | unix.MS_NODEV
	if err := unix.Mount("proc", "/proc", "proc", calm|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	// /run as a whole: agents here must find neither the host's systemd nor its hbagent, and
	// /run/netns gets our names, so that `ip netns exec web1 ...` works.
	if err := unix.Mount("tmpfs", "/run", "tmpfs", calm, "mode=0755"); err != nil {
		return fmt.Errorf("mount a tmpfs on /run: %w", err)
	}
	if err := os.Mkdir(Root, 0o755); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}
