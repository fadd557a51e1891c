package booted

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hbagent/hbagent/internal/lab"
)

// baseEnv is the directory that scripts/hosts-base.sh prints.
const baseEnv = "HBAGENT_HOSTS_BASE"

// ErrNoBase is returned by [New] where nobody has said where the base is.
var ErrNoBase = errors.New("a base to boot machines from: make test-systemd makes it")

// Main is for programs and tests that boot machines: run starts this program again inside a sandbox, and Main leaves nothing
// behind when that has ended. It returns the exit code of run.
//
//	func TestMain(m *testing.M) {
//		os.Exit(booted.Main(func() int { return labtest.Main(m, nil) }))
//	}
func Main(run func() int) int {
	lab.Reexec()
	if lab.Inside() {
		return run()
	}
	if err := nameGroup(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := run()
	if err := sweepGroups(); err != nil {
		fmt.Fprintln(os.Stderr, "remove the control groups:", err)
		return 1
	}
	return code
}

// A Site is a world whose machines boot.
type Site struct {
	*lab.World
	machines []*Machine
	groups   string // control group of this run
}

// New gives every machine of a world a disk and switches all of them on. ctx bounds that. One at a time in a sandbox.
func New(ctx context.Context, w *lab.World) (*Site, error) {
	base := os.Getenv(baseEnv)
	if base == "" {
		return nil, ErrNoBase
	}
	s := &Site{World: w, groups: filepath.Join(cgroups, os.Getenv(groupEnv))}
	if err := s.build(ctx, base); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Site) build(ctx context.Context, base string) error {
	for _, program := range []string{"systemd-nspawn", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			return err
		}
	}
	if err := mountGroups(); err != nil {
		return err
	}
	for _, n := range s.Nodes() {
		m := newMachine(s, n)
		if err := m.makeDisk(base); err != nil {
			return err
		}
		s.machines = append(s.machines, m)
	}
	return s.Each(func(m *Machine) error { return m.PowerOn(ctx) })
}

// Machines are those of the world, in its order.
func (s *Site) Machines() []*Machine { return s.machines }

// Machine returns the one with this name and panics if there is none: a mistake in the calling code.
func (s *Site) Machine(name string) *Machine {
	for _, m := range s.machines {
		if m.Name == name {
			return m
		}
	}
	panic("booted: no machine " + name)
}

// Each does something to all machines at once.
func (s *Site) Each(do func(*Machine) error) error {
	errs := make(chan error, len(s.machines))
	for _, m := range s.machines {
		go func() { errs <- do(m) }()
	}
	var all []error
	for range s.machines {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// Close takes the power from all machines and throws their disks away. The world stays.
func (s *Site) Close() error {
	err := s.Each(func(m *Machine) error { return errors.Join(m.PowerOff(), m.scrapDisk()) })
	return errors.Join(err, removeGroup(s.groups), unix.Unmount(cgroups, unix.MNT_DETACH))
}

// makeDisk gives the machine its own root: what it writes lands beside the base.
func (m *Machine) makeDisk(base string) error {
	upper, work, root := filepath.Join(m.disk, "upper"), filepath.Join(m.disk, "work"), m.Root()
	for _, dir := range []string{upper, work, root} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	layers := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", base, upper, work)
	if err := unix.Mount("overlay", root, "overlay", 0, layers); err != nil {
		return fmt.Errorf("disk of %s: mount an overlay over %s: %w", m.Name, base, err)
	}
	id := sha256.Sum256([]byte(m.Name))
	return errors.Join(
		m.Write("/etc/hostname", m.Name+"\n", 0o644),
		m.Write("/etc/machine-id", hex.EncodeToString(id[:16])+"\n", 0o444),
		m.Write("/etc/hosts", m.s.hosts(), 0o644),
		m.Write("/etc/systemd/network/10-eth0.network", m.network(), 0o644),
	)
}

func (m *Machine) scrapDisk() error {
	if err := unix.Unmount(m.Root(), unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: not mounted
		return fmt.Errorf("disk of %s: %w", m.Name, err)
	}
	return os.RemoveAll(m.disk)
}

// hosts is /etc/hosts: the machines know each other by name.
func (s *Site) hosts() string {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n::1 localhost ip6-localhost\n")
	for _, n := range s.Nodes() {
		fmt.Fprintf(&b, "%s %s\n", n.Addr4.Addr(), n.Name)
	}
	return b.String()
}

// network is how the administrator of the machine has set its card up, for systemd-networkd.
func (m *Machine) network() string {
	text := "[Match]\nName=eth0\n[Network]\nIPv6AcceptRA=no\nAddress=" + m.Addr4.String() + "\n"
	if m.s.IPv6 {
		text += "Address=" + m.Addr6.String() + "\n"
	}
	return text
}
