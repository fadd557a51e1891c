package lab

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// A fault is frames that the switch loses. An empty name stands for every port.
type fault struct {
	from, to string
	percent  int // 1 to 100
	// own, if not empty, spares IPv4 packets from these addresses, and all that is no IPv4.
	own string
}

// A Direction is seen from the node.
type Direction int

// In is what the node receives, Out what it sends.
const (
	In Direction = iota
	Out
)

// ErrNoNft is returned by the faults inside the switch where the nft program is missing.
var ErrNoNft = errors.New("faults in the switch need the nft program (package nftables)")

// A Break is a fault in the switch that comes and goes on its own, see [World.Impose]. None can change it.
type Break struct{ faults []fault }

// Isolated loses every frame from and to a node. Its link stays up: neither side is told.
func Isolated(n *Node) Break {
	return Break{[]fault{{from: n.Name, percent: 100}, {to: n.Name, percent: 100}}}
}

// OneWay loses what a node receives, or what it sends.
func OneWay(n *Node, d Direction) Break {
	if d == In {
		return Break{[]fault{{to: n.Name, percent: 100}}}
	}
	return Break{[]fault{{from: n.Name, percent: 100}}}
}

// Between loses every frame between two nodes; both still reach everybody else.
func Between(a, b *Node) Break {
	return Break{[]fault{{from: a.Name, to: b.Name, percent: 100}, {from: b.Name, to: a.Name, percent: 100}}}
}

// Lossy loses percent (1 to 100) of the frames of a node in each direction, each frame at random and on its own.
func Lossy(n *Node, percent int) Break {
	return Break{[]fault{{from: n.Name, percent: percent}, {to: n.Name, percent: percent}}}
}

// LossyEverywhere loses percent (1 to 100) of the frames on the way from any machine to any other, the client
// included, each frame at random and on its own.
func LossyEverywhere(percent int) Break { return Break{[]fault{{percent: percent}}} }

// NoSpoofing loses the IPv4 packets of a node that come from an address which is neither its own nor the floating
// one, as hypervisors and port security do.
func NoSpoofing(n *Node) Break {
	return Break{[]fault{{from: n.Name, percent: 100, own: n.Addr4.Addr().String() + ", " + Floating4.Addr().String()}}}
}

// Impose makes a fault in the switch. mend ends this one and leaves others alone; it does nothing once Heal has
// ended it. Faults add up.
func (w *World) Impose(ctx context.Context, b Break) (mend func(context.Context) error, err error) {
	for _, f := range b.faults {
		if f.percent < 1 || f.percent > 100 {
			return nil, fmt.Errorf("loss of %d %%: want 1 to 100", f.percent)
		}
	}
	if err := w.setFaults(ctx, func(fs []fault) []fault { return append(fs, b.faults...) }); err != nil {
		return nil, err
	}
	mended := false // guarded by faultMu, which setFaults holds
	return func(ctx context.Context) error {
		return w.setFaults(ctx, func(fs []fault) []fault {
			for _, f := range b.faults {
				// Equal faults of somebody else's are as good as ours: each mends one.
				if i := slices.Index(fs, f); i >= 0 && !mended {
					fs = slices.Delete(fs, i, i+1)
				}
			}
			mended = true
			return fs
		})
	}, nil
}

// Cut is [Isolated] until Heal.
func (n *Node) Cut(ctx context.Context) error { return n.w.impose(ctx, Isolated(n)) }

// CutOneWay is [OneWay] until Heal.
func (n *Node) CutOneWay(ctx context.Context, d Direction) error {
	return n.w.impose(ctx, OneWay(n, d))
}

// Loss is [Lossy] until Heal.
func (n *Node) Loss(ctx context.Context, percent int) error {
	return n.w.impose(ctx, Lossy(n, percent))
}

// Loss is [LossyEverywhere] until Heal.
func (w *World) Loss(ctx context.Context, percent int) error {
	return w.impose(ctx, LossyEverywhere(percent))
}

// CutBetween is [Between] until Heal.
func (w *World) CutBetween(ctx context.Context, a, b *Node) error {
	return w.impose(ctx, Between(a, b))
}

func (w *World) impose(ctx context.Context, b Break) error {
	_, err := w.Impose(ctx, b)
	return err
}

// Heal ends all faults that name the node, CutBetween included.
func (n *Node) Heal(ctx context.Context) error {
	return n.w.setFaults(ctx, func(fs []fault) []fault {
		return slices.DeleteFunc(fs, func(f fault) bool { return f.from == n.Name || f.to == n.Name })
	})
}

// Heal ends every fault in the switch.
func (w *World) Heal(ctx context.Context) error {
	return w.setFaults(ctx, func([]fault) []fault { return nil })
}

// setFaults changes the faults in one transaction of the kernel: there is no moment with half of them.
func (w *World) setFaults(ctx context.Context, change func([]fault) []fault) error {
	nft, ok := lookProgram("nft")
	if !ok {
		return ErrNoNft
	}
	w.faultMu.Lock()
	defer w.faultMu.Unlock()
	faults := change(slices.Clone(w.faults))
	cmd := exec.CommandContext(ctx, nft, "-f", "-")
	cmd.Stdin = strings.NewReader(ruleset(faults, w.portOf))
	var said strings.Builder
	cmd.Stderr = &said
	// Start under the switch's namespace, wait outside: the pipes are served by goroutines.
	if err := w.sw.do(cmd.Start); err != nil {
		return fmt.Errorf("nft: %w", err)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, strings.TrimSpace(said.String()))
	}
	w.faults = faults
	w.log.Info("faults in the switch", "faults", fmt.Sprint(faults))
	return nil
}

func (w *World) portOf(node string) string { return w.Node(node).port() }

// ruleset renders the faults for `nft -f`. The bridge family's forward hook sees every frame that crosses
// the switch, ARP and IPv6 included.
func ruleset(faults []fault, port func(node string) string) string {
	var b strings.Builder
	b.WriteString("table bridge lab\ndelete table bridge lab\n") // the first line makes the second succeed
	if len(faults) == 0 {
		return b.String()
	}
	b.WriteString("table bridge lab {\n\tchain forward {\n\t\ttype filter hook forward priority 0\n")
	for _, f := range faults {
		b.WriteString("\t\t")
		if f.from != "" {
			fmt.Fprintf(&b, "iifname %q ", port(f.from))
		}
		if f.to != "" {
			fmt.Fprintf(&b, "oifname %q ", port(f.to))
		}
		if f.own != "" {
			fmt.Fprintf(&b, "ip saddr != { %s } ", f.own)
		}
		if f.percent < 100 {
			fmt.Fprintf(&b, "numgen random mod 100 < %d ", f.percent)
		}
		b.WriteString("drop\n")
	}
	b.WriteString("\t}\n}\n")
	return b.String()
}
