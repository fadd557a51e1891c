package vip

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// inside marks the process that runs in a network namespace of its own.
const inside = "HBAGENT_VIP_TEST_NAMESPACE"

// noNamespace says why the tests of the real kernel cannot run; empty: they can.
var noNamespace string

// TestMain runs the whole test binary again in a new network namespace (as an ordinary user in a new user
// namespace too). All goroutines and sockets of the Manager are so inside it, whatever thread they land on,
// and no production code has to know about namespaces.
func TestMain(m *testing.M) {
	if os.Getenv(nodeRole) != "" {
		os.Exit(nodeMain())
	}
	if os.Getenv(inside) == "" {
		code, err := again()
		if err == nil {
			os.Exit(code)
		}
		noNamespace = fmt.Sprintf("needs root, CAP_SYS_ADMIN or unprivileged user namespaces "+
			"(sysctl kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu): %v", err)
		os.Exit(m.Run())
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "loopback in the test namespace:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// again runs this binary inside. The error says that no namespace can be had.
func again() (int, error) {
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = attr
	runtime.LockOSThread() // Pdeathsig looks at the thread that started the child
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// needKernel is for tests of the real kernel.
func needKernel(t testing.TB) {
	t.Helper()
	if noNamespace != "" {
		skip(t, "%s", noNamespace)
	}
}

// skip skips a test that lacks something, or fails it where nothing may lack.
func skip(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("HBAGENT_TEST_NO_SKIP") == "1" {
		t.Fatalf("HBAGENT_TEST_NO_SKIP=1 forbids to skip: "+format, args...)
	}
	t.Skipf(format, args...)
}

// newNamespace makes a network namespace that lives as long as its handle.
func newNamespace(t testing.TB) netns.NsHandle {
	t.Helper()
	var ns netns.NsHandle
	inNamespace(t, netns.None(), func() (err error) {
		ns, err = netns.New()
		return err
	})
	return ns
}

// inNamespace runs f on a thread of its own, which ends with it.
func inNamespace(t testing.TB, ns netns.NsHandle, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- onThread(ns, f) }()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// onThread makes the calling goroutine's thread one of the namespace for good, and runs f. The goroutine must end
// after it.
func onThread(ns netns.NsHandle, f func() error) error {
	runtime.LockOSThread() // never unlocked: the thread is thrown away
	if ns.IsOpen() {
		if err := netns.Set(ns); err != nil {
			return err
		}
	}
	return f()
}
