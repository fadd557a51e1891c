package lab

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// nic is the name of the network card in every machine.
const nic = "eth0"

// listTries bounds the repeats of a listing that changed while it was read (chosen by us).
const listTries = 10

// A Node is one machine of a World: a network namespace, a network card, processes, and directories.
type Node struct {
	Name  string
	Addr4 netip.Prefix     // 10.77.0.N/24; in a wide world 10.77.1.N/16
	Addr6 netip.Prefix     // fd77::N/64
	MAC   net.HardwareAddr // survives a power cut, as that of a real card

	w       *World
	machine bool // its agent finds the machine's directory at machineDir

	power  sync.Mutex   // one power change at a time
	mu     sync.RWMutex // guards space and bootID; held for reading while the namespace is in use
	space  *netspace    // nil while powered off
	bootID string       // new at each PowerOn

	procMu sync.Mutex // guards the rest
	procs  map[*Process]struct{}
	agent  *Process
}

func newNode(w *World, name string, p place) *Node {
	return &Node{Name: name, Addr4: p.addr4, Addr6: p.addr6, MAC: p.mac, w: w, procs: make(map[*Process]struct{})}
}

// ErrPoweredOff is returned by what needs a running machine.
var ErrPoweredOff = errors.New("the machine is powered off")

// Dir is the node's directory, RunDir its agent's --run-dir (lost with the power), StateDir its
// --state-dir (kept).
func (n *Node) Dir() string      { return n.w.path(n.Name) }
func (n *Node) RunDir() string   { return n.w.path(n.Name, "run") }
func (n *Node) StateDir() string { return n.w.path(n.Name, "state") }

// NetNS is the file that stands for the node's network namespace while it is on (ip-netns(8)).
func (n *Node) NetNS() string { return "/run/netns/" + n.Name }

func (n *Node) port() string { return "p-" + n.Name }

// alive returns the node's namespace, or ErrPoweredOff.
func (n *Node) alive() (*netspace, error) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.space == nil {
		return nil, fmt.Errorf("%s: %w", n.Name, ErrPoweredOff)
	}
	return n.space, nil
}

// Do runs fn on a thread in the node's network namespace and returns its error. Sockets made there may be
// used from anywhere afterwards. fn must return: it may not call t.Fatal.
func (n *Node) Do(fn func() error) error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.space == nil {
		return fmt.Errorf("%s: %w", n.Name, ErrPoweredOff)
	}
	return n.space.do(fn)
}

// PowerOn boots the machine: a fresh kernel network state, the card with its addresses, an empty run
// directory and a new boot id. Nothing is started. A machine that is on stays as it is.
func (n *Node) PowerOn(ctx context.Context) error {
	n.power.Lock()
	defer n.power.Unlock()
	if _, err := n.alive(); err == nil {
		return nil
	}
	if err := errors.Join(ctx.Err(), os.RemoveAll(n.RunDir()), os.MkdirAll(n.RunDir(), 0o755)); err != nil {
		return fmt.Errorf("power on %s: %w", n.Name, err)
	}
	space, err := newNetspace(n.Name)
	if err != nil {
		return fmt.Errorf("power on %s: %w", n.Name, err)
	}
	if err := n.wire(ctx, space); err != nil {
		return errors.Join(fmt.Errorf("power on %s: %w", n.Name, err), space.close())
	}
	n.mu.Lock()
	n.space, n.bootID = space, newBootID()
	n.mu.Unlock()
	n.w.log.Info("power on", "node", n.Name)
	return nil
}

// wire connects a fresh namespace with the switch and gives it its addresses.
func (n *Node) wire(ctx context.Context, space *netspace) error {
	sysctls := map[string]string{"ipv4/ip_unprivileged_port_start": "0"} // services run without root
	if n.w.IPv6 {
		sysctls["ipv6/conf/default/accept_dad"] = "0" // link-local address usable at once
	}
	for key, value := range sysctls {
		if err := space.sysctl(key, value); err != nil {
			return err
		}
	}
	br, err := n.w.sw.link(bridgeName)
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = n.port()
	attrs.MasterIndex = br.Attrs().Index
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerHardwareAddr = nic, n.MAC
	veth.PeerNamespace = netlink.NsFd(space.ns)
	if err := n.w.sw.nl.LinkAdd(veth); err != nil {
		return fmt.Errorf("add the cable: %w", err)
	}
	if err := errors.Join(n.w.sw.up(n.port()), space.up("lo"), space.up(nic)); err != nil {
		return err
	}
	addrs := []netip.Prefix{n.Addr4}
	if n.w.IPv6 {
		addrs = append(addrs, n.Addr6)
	}
	for _, a := range addrs {
		if err := addAddress(space, a); err != nil {
			return err
		}
	}
	if err := n.knowOthers(space); err != nil {
		return err
	}
	return errors.Join(space.waitCarrier(ctx, nic), n.w.sw.waitCarrier(ctx, n.port()))
}

// PowerOff takes the machine away as a power cut does: the others hear nothing more from it, every process is
// killed at once, and the kernel's state (addresses, rules, neighbours, sockets) is gone. What is on disk
// (StateDir) stays.
func (n *Node) PowerOff() error {
	n.power.Lock()
	defer n.power.Unlock()
	n.mu.Lock()
	space := n.space
	n.space = nil // nothing can start any more
	n.mu.Unlock()
	if space == nil {
		return nil
	}
	n.w.log.Info("power off", "node", n.Name)
	var errs []error
	port, err := n.w.sw.link(n.port())
	if err == nil {
		// Before the processes, so that nobody says goodbye (the kernel resets the connections of a killed
		// process). The port leaves the switch and keeps its carrier: a machine without power
		// does not see its link go down, and its agent must not either.
		errs = append(errs, n.w.sw.nl.LinkSetNoMaster(port))
	}
	errs = append(errs, err, n.killAll(space))
	if port != nil {
		errs = append(errs, n.w.sw.nl.LinkDel(port))
	}
	errs = append(errs, space.close())
	return errors.Join(errs...)
}

// Unplug pulls the cable: both ends lose the carrier.
func (n *Node) Unplug() error {
	if _, err := n.alive(); err != nil {
		return err
	}
	port, err := n.w.sw.link(n.port())
	if err != nil {
		return err
	}
	return n.w.sw.nl.LinkSetDown(port)
}

// Plug undoes Unplug, and waits until the card has its carrier.
func (n *Node) Plug(ctx context.Context) error {
	space, err := n.alive()
	if err != nil {
		return err
	}
	if err := n.w.sw.up(n.port()); err != nil {
		return err
	}
	return errors.Join(space.waitCarrier(ctx, nic), n.w.sw.waitCarrier(ctx, n.port()))
}

// Addresses reads which addresses the machine's network card has at this moment, straight from the kernel.
// A machine that is powered off has none. Addresses on lo (a draining owner) are not among them.
func (n *Node) Addresses() ([]netip.Addr, error) {
	n.mu.RLock()
	defer n.mu.RUnlock() // held over the read: PowerOff closes the handle
	if n.space == nil {
		return nil, nil
	}
	link, err := n.space.link(nic)
	if err != nil {
		return nil, err
	}
	var list []netlink.Addr
	for range listTries { // hundreds that move change the list while it is read
		if list, err = n.space.nl.AddrList(link, netlink.FAMILY_ALL); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("addresses of %s: %w", n.Name, err)
	}
	var addrs []netip.Addr
	for _, a := range list {
		if addr, ok := netip.AddrFromSlice(a.IP); ok {
			addrs = append(addrs, addr.Unmap())
		}
	}
	return addrs, nil
}

// AddAddress puts an address on the machine's card, behind the agent's back.
func (n *Node) AddAddress(p netip.Prefix) error {
	space, err := n.alive()
	if err != nil {
		return err
	}
	return addAddress(space, p)
}

// DelAddress takes an address off the machine's card, as a network manager may do.
func (n *Node) DelAddress(p netip.Prefix) error {
	space, err := n.alive()
	if err != nil {
		return err
	}
	link, err := space.link(nic)
	if err != nil {
		return err
	}
	if err := space.nl.AddrDel(link, netlinkAddr(p)); err != nil {
		return fmt.Errorf("delete %s from %s: %w", p, n.Name, err)
	}
	return nil
}

func addAddress(space *netspace, p netip.Prefix) error {
	link, err := space.link(nic)
	if err != nil {
		return err
	}
	if err := space.nl.AddrAdd(link, netlinkAddr(p)); err != nil {
		return fmt.Errorf("add %s to %s: %w", p, space.name, err)
	}
	return nil
}

func netlinkAddr(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: &net.IPNet{
		IP:   p.Addr().AsSlice(),
		Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
	}}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD // usable at once
	}
	return a
}

// newBootID has the form of /proc/sys/kernel/random/boot_id (RFC 9562, version 4).
func newBootID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Sysctl sets /proc/sys/net/KEY on the machine, and returns what it was.
func (n *Node) Sysctl(key, value string) (was string, err error) {
	err = n.Do(func() error {
		b, err := os.ReadFile("/proc/sys/net/" + key)
		if err != nil {
			return err
		}
		was = strings.TrimSpace(string(b))
		return os.WriteFile("/proc/sys/net/"+key, []byte(value), 0)
	})
	return was, err
}
