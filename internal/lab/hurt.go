package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
)

// No fault of the lab touches a clock: CLOCK_REALTIME is the host's own (time_namespaces(7) has no offset for it),
// and the offsets of a time namespace are fixed before its first process starts.

// load is the log's name of the processes of [Node.Load].
const load = "load"

// HangAgent stops the node's agent (SIGSTOP) for d and lets it go on. When ctx ends first, it goes on at once.
func (n *Node) HangAgent(ctx context.Context, d time.Duration) error {
	if err := n.SignalAgent(syscall.SIGSTOP); err != nil {
		return err
	}
	return errors.Join(Pause(ctx, d), n.SignalAgent(syscall.SIGCONT))
}

// RestartAgent ends the node's agent as systemd does in a restart (SIGUSR2: it keeps what it has), and starts it.
// killed ends it with SIGKILL instead.
func (n *Node) RestartAgent(ctx context.Context, killed bool) error {
	sig := syscall.SIGUSR2
	if killed {
		sig = syscall.SIGKILL
	}
	if err := n.EndAgent(ctx, sig); err != nil {
		return err
	}
	return n.StartAgent(ctx)
}

// FlushRules deletes every nftables rule of the machine, whoever made it, as `systemctl restart nftables` does.
func (n *Node) FlushRules(ctx context.Context) error {
	nft, ok := lookProgram("nft")
	if !ok {
		return ErrNoNft
	}
	n.w.log.Info("flush rules", "node", n.Name)
	_, err := n.Output(ctx, exec.Command(nft, "flush", "ruleset"))
	return err
}

// LoseAddresses takes the addresses that are not the machine's own off its card, as a network manager does that
// was told of none.
func (n *Node) LoseAddresses() error {
	_, err := n.deleteAddresses(func(a netip.Addr) bool {
		return a != n.Addr4.Addr() && a != n.Addr6.Addr() && !a.IsLinkLocalUnicast()
	})
	return err
}

// FlushAddresses takes every address off the machine's card (`ip address flush dev eth0`), its own included: nobody
// reaches it until PutAddresses.
func (n *Node) FlushAddresses() error {
	_, err := n.deleteAddresses(func(netip.Addr) bool { return true })
	return err
}

// PutAddresses gives the machine's card its own addresses where they are missing: after FlushAddresses, and after
// SetCard, because the kernel drops the IPv6 addresses of a card that is set down.
func (n *Node) PutAddresses() error {
	has, err := n.Addresses()
	if err != nil {
		return err
	}
	own := []netip.Prefix{n.Addr4}
	if n.w.IPv6 {
		own = append(own, n.Addr6, linkLocal(n.MAC))
	}
	for _, a := range own {
		if !slices.Contains(has, a.Addr()) {
			err = errors.Join(err, n.AddAddress(a))
		}
	}
	return err
}

// deleteAddresses deletes the addresses that are like it, and returns them.
func (n *Node) deleteAddresses(like func(netip.Addr) bool) (gone []netip.Addr, err error) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.space == nil {
		return nil, fmt.Errorf("%s: %w", n.Name, ErrPoweredOff)
	}
	link, err := n.space.link(nic)
	if err != nil {
		return nil, err
	}
	list, err := n.space.nl.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return nil, err
	}
	for _, a := range list {
		addr, ok := netip.AddrFromSlice(a.IP)
		if !ok || !like(addr.Unmap()) {
			continue
		}
		// It may have run out, or its agent may have deleted it.
		if e := n.space.nl.AddrDel(link, &a); e != nil && !errors.Is(e, syscall.EADDRNOTAVAIL) {
			err = errors.Join(err, fmt.Errorf("delete %s from %s: %w", addr, n.Name, e))
			continue
		}
		gone = append(gone, addr.Unmap())
	}
	n.w.log.Info("addresses deleted", "node", n.Name, "addrs", fmt.Sprint(gone))
	return gone, err
}

// linkLocal is the address the kernel gives a card (RFC 4291 appendix A).
func linkLocal(mac []byte) netip.Prefix {
	b := [16]byte{0xfe, 0x80, 8: mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]}
	return netip.PrefixFrom(netip.AddrFrom16(b), 64)
}

// SetCard sets the machine's card up or down (`ip link set eth0 down`). Setting it up also gives it back its own
// addresses, and waits for the carrier.
func (n *Node) SetCard(ctx context.Context, up bool) error {
	space, err := n.alive()
	if err != nil {
		return err
	}
	n.w.log.Info("card", "node", n.Name, "up", up)
	if up {
		if err := space.up(nic); err != nil {
			return err
		}
		return errors.Join(space.waitCarrier(ctx, nic), n.w.sw.waitCarrier(ctx, n.port()), n.PutAddresses())
	}
	link, err := space.link(nic)
	if err != nil {
		return err
	}
	return space.nl.LinkSetDown(link)
}

// Load starts processes that keep busy processors on the machine, at nice 0. They end with end, and with the machine.
func (n *Node) Load(processes int) (end func() error, err error) {
	var busy []*Process
	end = func() error {
		var errs []error
		for _, p := range busy {
			errs = append(errs, p.Kill())
		}
		return errors.Join(errs...)
	}
	for range processes {
		p, err := n.Start(load, exec.Command("sh", "-c", "while :; do :; done"))
		if err != nil {
			return nil, errors.Join(err, end())
		}
		busy = append(busy, p)
	}
	return end, nil
}

// CachedAt reads where the machine's kernel believes an address to be: the node's name (the MAC, for a
// stranger's), or "" where it knows nothing, or is asking.
func (n *Node) CachedAt(addr netip.Addr) (string, error) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.space == nil {
		return "", fmt.Errorf("%s: %w", n.Name, ErrPoweredOff)
	}
	link, err := n.space.link(nic)
	if err != nil {
		return "", err
	}
	family := netlink.FAMILY_V4
	if addr.Is6() {
		family = netlink.FAMILY_V6
	}
	list, err := n.space.nl.NeighList(link.Attrs().Index, family)
	if err != nil {
		return "", fmt.Errorf("neighbours of %s: %w", n.Name, err)
	}
	const unknown = netlink.NUD_INCOMPLETE | netlink.NUD_FAILED | netlink.NUD_NONE
	for _, e := range list {
		if a, ok := netip.AddrFromSlice(e.IP); ok && a.Unmap() == addr && e.State&unknown == 0 && len(e.HardwareAddr) > 0 {
			return n.w.nameOf(e.HardwareAddr), nil
		}
	}
	return "", nil
}

// AgentLines returns the lines that the node's agents logged within [from, to], at most limit of them, without
// those that are not in the form of log/slog.
func (n *Node) AgentLines(from, to time.Time, limit int) []string {
	var found []string
	for line := range strings.Lines(tailOf(n.w.path(n.Name, AgentLog+".log"), logBytes)) {
		stamp, _, _ := strings.Cut(strings.TrimPrefix(line, "time="), " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if err == nil && !at.Before(from) && !at.After(to) && len(found) < limit {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}
