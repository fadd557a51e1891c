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

// Cut loses every frame from and to the node. Its link stays up: neither side is told. Faults add up
// until Heal.
func (n *Node) Cut(ctx context.Context) error {
	return n.w.addFaults(ctx, fault{n.Name, "", 100}, fault{"", n.Name, 100})
}

// CutOneWay loses what the node receives, or what it sends.
func (n *Node) CutOneWay(ctx context.Context, d Direction) error {
	if d == In {
		return n.w.addFaults(ctx, fault{"", n.Name, 100})
	}
	return n.w.addFaults(ctx, fault{n.Name, "", 100})
}

// Loss loses percent (1 to 100) of the frames in each direction, independently and at random.
func (n *Node) Loss(ctx context.Context, percent int) error {
	if percent < 1 || percent > 100 {
		return fmt.Errorf("loss of %d %%: want 1 to 100", percent)
	}
	return n.w.addFaults(ctx, fault{n.Name, "", percent}, fault{"", n.Name, percent})
}

// CutBetween loses every frame between two nodes; both still reach everybody else.
func (w *World) CutBetween(ctx context.Context, a, b *Node) error {
	return w.addFaults(ctx, fault{a.Name, b.Name, 100}, fault{b.Name, a.Name, 100})
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

func (w *World) addFaults(ctx context.Context, add ...fault) error {
	return w.setFaults(ctx, func(fs []fault) []fault { return append(fs, add...) })
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
		if f.percent < 100 {
			fmt.Fprintf(&b, "numgen random mod 100 < %d ", f.percent)
		}
		b.WriteString("drop\n")
	}
	b.WriteString("\t}\n}\n")
	return b.String()
}
