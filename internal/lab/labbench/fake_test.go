package main

import (
	"context"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/rivals"
)

// fake is a tool that does what a test wants it to do, and knows the truth about it: the test itself moves the address.
type fake struct {
	gap     time.Duration // nobody has the address so long in a planned move
	overlap time.Duration // two have it so long in a planned move
	dead    bool          // it never comes to rest
	starts  int
	w       *lab.World
}

func (f *fake) Name() string                            { return "fake" }
func (f *fake) Version(context.Context) (string, error) { return "0", nil }
func (f *fake) Settings() []rivals.Setting {
	return []rivals.Setting{{Name: "x", Pace: rivals.Default, Heartbeat: 10 * time.Millisecond}}
}

func (f *fake) Prepare(w *lab.World, _ rivals.Setting, _ rivals.Options) (rivals.Cluster, error) {
	f.w = w
	return f, nil
}

func (f *fake) Nodes() []string { return []string{"web1", "web2"} }

func (f *fake) Start(_ context.Context, node string) error {
	f.starts++
	if f.w.CheckOnlyAt(lab.Floating4.Addr(), "") == nil {
		return f.take(node)
	}
	return nil
}

func (f *fake) take(node string) error {
	if err := f.w.Node(node).AddAddress(lab.Floating4); err != nil {
		return err
	}
	return announce(f.w.Node(node), lab.Floating4.Addr())
}

func (f *fake) Stop(context.Context, string) error    { return nil }
func (f *fake) Restart(context.Context, string) error { return nil }
func (f *fake) Kill(context.Context, string) error    { return nil }
func (f *fake) Signal(string, syscall.Signal) error   { return nil }
func (f *fake) PIDs(string) []int                     { return nil }
func (f *fake) Configs() map[string]string            { return map[string]string{"conf": "x"} }

func (f *fake) Ready(context.Context, string) error {
	if f.dead {
		return context.DeadlineExceeded
	}
	return nil
}

func (f *fake) Switchover(ctx context.Context, from, to string) error {
	if f.overlap > 0 {
		if err := f.take(to); err != nil {
			return err
		}
		if err := lab.Pause(ctx, f.overlap); err != nil {
			return err
		}
		return f.w.Node(from).DelAddress(lab.Floating4)
	}
	if err := f.w.Node(from).DelAddress(lab.Floating4); err != nil {
		return err
	}
	if err := lab.Pause(ctx, f.gap); err != nil {
		return err
	}
	return f.take(to)
}

// announce tells the others that the machine has an address.
func announce(n *lab.Node, addr netip.Addr) error {
	return n.Do(func() error {
		card, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		p, err := arp.NewPacket(arp.OperationRequest, card.HardwareAddr, addr, ethernet.Broadcast, addr)
		if err != nil {
			return err
		}
		payload, err := p.MarshalBinary()
		if err != nil {
			return err
		}
		frame, err := (&ethernet.Frame{Destination: ethernet.Broadcast, Source: card.HardwareAddr, EtherType: ethernet.EtherTypeARP, Payload: payload}).MarshalBinary()
		if err != nil {
			return err
		}
		conn, err := packet.Listen(card, packet.Raw, unix.ETH_P_ARP, nil)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.WriteTo(frame, &packet.Addr{HardwareAddr: ethernet.Broadcast})
		return err
	})
}
