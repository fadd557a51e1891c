package lab_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

const patience = 20 * time.Second

// link carries numbered datagrams from one node to another.
type link struct {
	from net.Conn
	to   net.PacketConn
}

func newLink(t *testing.T, from, to *lab.Node) link {
	t.Helper()
	var l link
	addr := netip.AddrPortFrom(to.Addr4.Addr(), 0).String()
	err := to.Do(func() (err error) { l.to, err = net.ListenPacket("udp4", addr); return err })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.to.Close() })
	err = from.Do(func() (err error) { l.from, err = net.Dial("udp4", l.to.LocalAddr().String()); return err })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.from.Close() })
	if got := l.arrived(t, 1); got != 1 { // also fills the neighbour tables of both
		t.Fatalf("%s to %s: a healthy link carried %d of 1", from.Name, to.Name, got)
	}
	return l
}

// newLinkTo makes a machine's kernel look for an address.
func newLinkTo(t *testing.T, from *lab.Node, to netip.Addr) (c net.Conn) {
	t.Helper()
	err := from.Do(func() (err error) { c, err = net.Dial("udp", netip.AddrPortFrom(to, 9).String()); return err })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	return c
}

// arrived sends n datagrams and counts those that arrive. Within a machine a datagram is there before Write
// returns, or never; the deadline is for a busy one, and ends the counting.
func (l link) arrived(t *testing.T, n int) int {
	t.Helper()
	for range n {
		if _, err := l.from.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.to.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	got := 0
	for buf := make([]byte, 16); got < n; got++ {
		if _, _, err := l.to.ReadFrom(buf); errors.Is(err, os.ErrDeadlineExceeded) {
			return got
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return got
}

func needNft(t *testing.T, w *lab.World) {
	t.Helper()
	if err := w.Heal(t.Context()); errors.Is(err, lab.ErrNoNft) {
		labtest.Skip(t, "the nft program: apt install nftables")
	} else if err != nil {
		t.Fatal(err)
	}
}

func TestFaults(t *testing.T) {
	w := labtest.New(t, lab.Options{Nodes: []string{"a", "b", "c"}})
	needNft(t, w)
	a, b, c := w.Node("a"), w.Node("b"), w.Node("c")
	paths := []struct {
		name string
		link link
	}{
		{"a>b", newLink(t, a, b)}, {"b>a", newLink(t, b, a)},
		{"a>c", newLink(t, a, c)}, {"c>a", newLink(t, c, a)},
		{"b>c", newLink(t, b, c)},
	}
	tests := []struct {
		name  string
		fault func(context.Context) error
		open  []string
	}{
		{"none", func(context.Context) error { return nil }, []string{"a>b", "b>a", "a>c", "c>a", "b>c"}},
		{"cut", a.Cut, []string{"b>c"}},
		{"in", func(ctx context.Context) error { return a.CutOneWay(ctx, lab.In) }, []string{"a>b", "a>c", "b>c"}},
		{"out", func(ctx context.Context) error { return a.CutOneWay(ctx, lab.Out) }, []string{"b>a", "c>a", "b>c"}},
		{"between", func(ctx context.Context) error { return w.CutBetween(ctx, a, b) }, []string{"a>c", "c>a", "b>c"}},
		{"healed node", func(ctx context.Context) error {
			return errors.Join(w.CutBetween(ctx, a, b), c.Cut(ctx), a.Heal(ctx))
		}, []string{"a>b", "b>a"}},
		{"unplugged", func(context.Context) error { return a.Unplug() }, []string{"b>c"}},
		{"plugged", a.Plug, []string{"a>b", "b>a", "a>c", "c>a", "b>c"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx := labtest.Within(t, patience)
			if err := tt.fault(ctx); err != nil {
				t.Fatal(err)
			}
			var open []string
			for _, p := range paths {
				// An open path may need a moment: the neighbour entries of a card whose cable was out are
				// asked for again after a second only (RFC 4861, RetransTimer).
				for try := true; try; try = slices.Contains(tt.open, p.name) && ctx.Err() == nil {
					if p.link.arrived(t, 3) == 3 {
						open = append(open, p.name)
						break
					}
				}
			}
			if diff := cmp.Diff(tt.open, open); diff != "" {
				t.Errorf("open paths (-want +got):\n%s", diff)
			}
			if err := w.Heal(ctx); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestLoss(t *testing.T) {
	w := labtest.New(t, lab.Options{Nodes: []string{"a", "b"}})
	needNft(t, w)
	l := newLink(t, w.Node("a"), w.Node("b"))
	if err := w.Node("a").Loss(labtest.Within(t, patience), 30); err != nil {
		t.Fatal(err)
	}
	// 70 % of 1000 with a standard deviation of 14.5: eight of them either way are chance in no lifetime.
	got := 0
	for range 10 { // a socket's buffer does not hold all
		got += l.arrived(t, 100)
	}
	if got < 584 || got > 816 {
		t.Errorf("at 30 %% loss %d of 1000 arrived, want about 700", got)
	}
	if err := w.Node("a").Loss(t.Context(), 101); err == nil {
		t.Error("a loss of 101 % was accepted")
	}
}

func TestPowerCut(t *testing.T) {
	w := labtest.New(t, lab.Options{Nodes: []string{"a"}})
	ctx := labtest.Within(t, patience)
	a := w.Node("a")
	lost, kept := filepath.Join(a.RunDir(), "promises"), filepath.Join(a.StateDir(), "history")
	for _, f := range []string{lost, kept} {
		if err := os.WriteFile(f, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before, err := a.Hbagent(ctx, "env")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.AddAddress(lab.Floating4); err != nil {
		t.Fatal(err)
	}
	// One that left its process group: a daemon.
	p, err := a.Start("daemon", exec.Command("setsid", "sleep", "1000"))
	if err != nil {
		t.Fatal(err)
	}

	if err := a.PowerOff(); err != nil {
		t.Fatal(err)
	}
	if p.Running() {
		t.Error("a process survived the power cut")
	}
	if addrs, err := a.Addresses(); len(addrs) > 0 || err != nil {
		t.Errorf("Addresses() = %v, %v after the power cut, want none", addrs, err)
	}
	if _, err := a.Start("x", exec.Command("true")); !errors.Is(err, lab.ErrPoweredOff) {
		t.Errorf("Start on a machine without power: %v, want ErrPoweredOff", err)
	}

	if err := a.PowerOn(ctx); err != nil {
		t.Fatal(err)
	}
	addrs, err := a.Addresses()
	if err != nil || !slices.Contains(addrs, a.Addr4.Addr()) || slices.Contains(addrs, lab.Floating4.Addr()) {
		t.Errorf("Addresses() = %v, %v after booting, want its own and nothing added", addrs, err)
	}
	if _, err := os.Stat(lost); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the run directory survived the power cut: %v", err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("the state directory did not: %v", err)
	}
	if after, err := a.Hbagent(ctx, "env"); err != nil || after == before || len(after) != len("8-4-4-4-12")+27 {
		t.Errorf("boot id %q after %q (%v), want another one", after, before, err)
	}
	newLink(t, a, w.Client)
}

func TestFreeze(t *testing.T) {
	w := labtest.New(t, lab.Options{Nodes: []string{"a"}})
	ctx := labtest.Within(t, patience)
	a := w.Node("a")
	p, err := a.Start("clock", exec.Command("sh", "-c", "while :; do echo tick; done"))
	if err != nil {
		t.Fatal(err)
	}
	size := func() int64 {
		st, err := os.Stat(p.Log)
		if err != nil {
			t.Fatal(err)
		}
		return st.Size()
	}
	grows := func(ctx context.Context) bool {
		for start := size(); ctx.Err() == nil; {
			if size() > start {
				return true
			}
		}
		return false
	}
	if !grows(ctx) {
		t.Fatal("the clock does not tick")
	}
	if err := a.Freeze(); err != nil {
		t.Fatal(err)
	}
	if short := labtest.Within(t, 100*time.Millisecond); grows(short) {
		t.Error("the clock ticks on a frozen machine")
	}
	if err := a.Thaw(); err != nil {
		t.Fatal(err)
	}
	if !grows(ctx) {
		t.Error("the clock does not tick after the thaw")
	}
	if err := p.Kill(); err != nil {
		t.Error(err)
	}
}

func TestAgentThatEndsIsReportedAtOnce(t *testing.T) {
	w := labtest.New(t, lab.Options{Nodes: []string{"a"}})
	if err := w.WriteConfig(w.Config()); err != nil {
		t.Fatal(err)
	}
	err := w.Node("a").StartAgent(labtest.Within(t, patience))
	if err == nil || !strings.Contains(err.Error(), "no such port: 7946") || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("StartAgent = %v, want at once the agent's last words", err)
	}
	if !strings.Contains(w.Logs(lab.AgentLog, 5), "no such port") {
		t.Errorf("Logs() = %q, want the agent's last words", w.Logs(lab.AgentLog, 5))
	}
}

func TestNewRefusesNames(t *testing.T) {
	labtest.Need(t)
	for _, name := range []string{"", "Web", "a/b", "switch", "client", "fourteen-chars"} {
		if w, err := lab.New(t.Context(), lab.Options{Nodes: []string{name}}); err == nil {
			t.Errorf("New accepts the node name %q (close: %v)", name, w.Close())
		}
	}
	labtest.New(t, lab.Options{Nodes: []string{"a"}}) // and nothing of them is in the way
}
