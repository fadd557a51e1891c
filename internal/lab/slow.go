package lab

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Chosen by us.
const (
	slowQueue = 4096    // frames under way in one direction; more are lost
	slowFrame = 1 << 16 // with the offloads of veth a frame is longer than the MTU
	slowPoll  = 100     // milliseconds until a reader looks whether it is over
)

// Slow puts a delay into the machine's cable, in each direction, without any qdisc of the kernel: the port leaves
// the switch, and a goroutine carries the frames between both, late. end undoes it.
func (n *Node) Slow(delay time.Duration) (end func() error, err error) {
	if _, err := n.alive(); err != nil {
		return nil, err
	}
	sw := n.w.sw
	port, err := sw.link(n.port())
	if err != nil {
		return nil, err
	}
	bridge, err := sw.link(bridgeName)
	if err != nil {
		return nil, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MasterIndex = "slow-a", bridge.Attrs().Index
	veth := netlink.NewVeth(attrs)
	veth.PeerName = "slow-b"
	undo := func() error {
		var errs []error
		if l, err := sw.link("slow-b"); err == nil {
			errs = append(errs, sw.nl.LinkDel(l))
		}
		return errors.Join(append(errs, sw.nl.LinkSetMaster(port, bridge))...)
	}
	if err := sw.nl.LinkAdd(veth); err != nil {
		return nil, fmt.Errorf("a slow cable for %s: %w", n.Name, err)
	}
	other, err := sw.link("slow-b")
	if err := errors.Join(err, sw.up("slow-a"), sw.up("slow-b"), sw.nl.LinkSetNoMaster(port)); err != nil {
		return nil, errors.Join(err, undo())
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	var near, far int
	err = sw.do(func() (err error) {
		if near, err = wholeFrames(port.Attrs().Index); err != nil {
			return err
		}
		if far, err = wholeFrames(other.Attrs().Index); err != nil {
			_ = unix.Close(near)
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("a slow cable for %s: %w", n.Name, err), undo())
	}
	wg.Go(func() { carry(near, far, delay, done) })
	wg.Go(func() { carry(far, near, delay, done) })
	n.w.log.Info("slow cable", "node", n.Name, "delay", delay)
	return sync.OnceValue(func() error {
		close(done)
		wg.Wait()
		return errors.Join(unix.Close(near), unix.Close(far), undo())
	}), nil
}

// wholeFrames is a packet(7) socket for all that comes in by an interface. With PACKET_VNET_HDR a frame keeps what its
// sender left for the card to do (checksums, segments), and the kernel does it at the other end.
func wholeFrames(index int) (int, error) {
	const all = unix.ETH_P_ALL>>8 | unix.ETH_P_ALL<<8&0xffff // in the order of the network
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index}))
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// carry moves frames from one socket to the other, each after the delay, until done.
func carry(from, to int, delay time.Duration, done <-chan struct{}) {
	type late struct {
		at    time.Time
		frame []byte
	}
	queue := make(chan late, slowQueue)
	var wg sync.WaitGroup
	wg.Go(func() {
		for l := range queue {
			select {
			case <-time.After(time.Until(l.at)):
				_, _ = unix.Write(to, l.frame) // a card that is down loses it
			case <-done:
			}
		}
	})
	defer wg.Wait()
	defer close(queue)
	buf := make([]byte, slowFrame)
	ready := []unix.PollFd{{Fd: int32(from), Events: unix.POLLIN}}
	for {
		select {
		case <-done:
			return
		default:
		}
		if n, err := unix.Poll(ready, slowPoll); n == 0 || err != nil {
			continue
		}
		n, err := unix.Read(from, buf)
		if err != nil {
			continue // the other end of the cable went down
		}
		select {
		case queue <- late{time.Now().Add(delay), append([]byte(nil), buf[:n]...)}:
		default:
		}
	}
}
