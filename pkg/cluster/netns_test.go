package cluster

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
)

// inNamespaceEnv marks the copy of this test program that runs in a network
// namespace of its own.
const inNamespaceEnv = "HBAGENT_CLUSTER_TEST_NETNS"

// inNamespace runs the calling test once more as a child process in a new network
// namespace (every thread of it: our sockets are opened by many goroutines), with
// addrs on its loopback interface. It returns true in the child.
func inNamespace(t *testing.T, addrs ...string) bool {
	t.Helper()
	if os.Getenv(inNamespaceEnv) != "" {
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		for _, a := range addrs {
			ip := net.ParseIP(a)
			bits := 32
			if ip.To4() == nil {
				bits = 128
			}
			err = errors.Join(err, netlink.AddrAdd(lo, &netlink.Addr{
				IPNet: &net.IPNet{IP: ip, Mask: net.CIDRMask(bits, bits)}, Flags: syscall.IFA_F_NODAD}))
		}
		if err != nil {
			t.Fatal(err)
		}
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespaceEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		if os.Getenv("HBAGENT_TEST_NO_SKIP") == "1" {
			t.Fatalf("cannot make a network namespace: %v", err)
		}
		t.Skipf("needs root, or user namespaces for ordinary users (sysctl kernel.unprivileged_userns_clone, apparmor_restrict_unprivileged_userns): %v", err)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("in the namespace: %v\n%s", err, out)
	}
	return false
}

// IPv6, and several addresses on one machine, of which the kernel would choose
// another as the source of streams.
func TestIPv6(t *testing.T) {
	if !inNamespace(t, "fd00:1::99", "fd00:1::1", "fd00:1::2", "fd00:1::3") {
		return
	}
	nw := newNetwork(t, "web1", "web2", "db1")
	for i, a := range []string{"fd00:1::1", "fd00:1::2", "fd00:1::3"} {
		nw.peers[i].Address = netip.MustParseAddr(a)
	}
	a, b, c := nw.start("web1"), nw.start("web2"), nw.start("db1")
	nw.awaitMesh(a, b, c)
	mustPublish(t, a, NodeState{Generation: 4})
	nw.await("the state spreads", func() bool { return b.state("web1").Generation == 4 && c.state("web1").Generation == 4 })
	nw.await("a lease arrives", func() bool {
		if err := a.SendLease("web2", []byte("x")); err != nil {
			t.Fatal(err)
		}
		return b.hasLease("x") || waitRing(nw)
	})
	for _, n := range []*node{a, b, c} {
		if s := n.Stats(); s.Strangers != 0 {
			t.Errorf("%s took a peer for a stranger: %+v", n.opts.Node, s)
		}
	}
}

// With ip_nonlocal_bind, which many set for floating addresses, the kernel binds
// anything; the check must be ours.
func TestNonlocalBindDoesNotHideAWrongAddress(t *testing.T) {
	if !inNamespace(t, "192.0.2.1") {
		return
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_nonlocal_bind", []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	if l, err := net.Listen("tcp", "192.0.2.77:0"); err != nil {
		t.Fatalf("the sysctl does nothing, this test shows nothing: %v", err)
	} else {
		_ = l.Close()
	}
	nw := newNetwork(t, "web1", "web2")
	nw.peers[0].Address = netip.MustParseAddr("192.0.2.77")
	_, err := nw.tryStart("web1")
	if err == nil || !strings.Contains(err.Error(), "not on this machine") || !strings.Contains(err.Error(), "192.0.2.1") {
		t.Errorf("error %v", err)
	}
}
