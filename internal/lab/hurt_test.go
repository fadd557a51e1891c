package lab_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

func hasAll(t *testing.T, n *lab.Node, want ...netip.Addr) bool {
	t.Helper()
	addrs, err := n.Addresses()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range want {
		if !slices.Contains(addrs, a) {
			return false
		}
	}
	return true
}

func TestAddressFaults(t *testing.T) {
	w := labtest.New(t, lab.Options{Nodes: []string{"a"}})
	ctx := labtest.Within(t, patience)
	a := w.Node("a")
	own, floating := []netip.Addr{a.Addr4.Addr()}, []netip.Addr{lab.Floating4.Addr()}
	put := []netip.Prefix{lab.Floating4}
	if w.IPv6 {
		own, floating, put = append(own, a.Addr6.Addr()), append(floating, lab.Floating6.Addr()), append(put, lab.Floating6)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range put {
		must(a.AddAddress(p))
	}
	must(a.LoseAddresses())
	if !hasAll(t, a, own...) || hasAll(t, a, floating[0]) || hasAll(t, a, floating[len(floating)-1]) {
		t.Error("LoseAddresses: want the machine's own addresses and no other")
	}
	must(a.FlushAddresses())
	if addrs, err := a.Addresses(); err != nil || len(addrs) > 0 {
		t.Errorf("FlushAddresses: left %v (%v)", addrs, err)
	}
	must(a.PutAddresses())
	must(a.PutAddresses()) // what is there stays
	if !hasAll(t, a, own...) {
		t.Error("PutAddresses: the machine's own addresses are missing")
	}
	newLink(t, a, w.Client)

	must(a.SetCard(ctx, false))
	if conn, err := net.DialTimeout("tcp", net.JoinHostPort(a.Addr4.Addr().String(), "9"), time.Millisecond); err == nil {
		conn.Close()
		t.Error("a machine whose card is down answers")
	}
	must(a.SetCard(ctx, true))
	if !hasAll(t, a, own...) {
		t.Error("SetCard: the machine's own addresses are missing")
	}
	newLink(t, a, w.Client)
}

func TestFlushRules(t *testing.T) {
	w := labtest.New(t, lab.Options{Nodes: []string{"a"}})
	needNft(t, w)
	ctx := labtest.Within(t, patience)
	a := w.Node("a")
	nft := func(args ...string) string {
		t.Helper()
		out, err := a.Output(ctx, exec.Command("nft", args...))
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	nft("add table inet mine; add table arp mine")
	if got := nft("list tables"); !strings.Contains(got, "mine") {
		t.Fatalf("tables: %q", got)
	}
	if err := a.FlushRules(ctx); err != nil {
		t.Fatal(err)
	}
	if got := nft("list tables"); got != "" {
		t.Errorf("tables after the flush: %q", got)
	}
}

func TestLoadAndHang(t *testing.T) {
	w := labtest.New(t, lab.Options{Nodes: []string{"a"}})
	ctx := labtest.Within(t, patience)
	a := w.Node("a")
	end, err := a.Load(2)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Freeze(); err != nil { // finds the processes of the load too
		t.Fatal(err)
	}
	if err := errors.Join(a.Thaw(), end()); err != nil {
		t.Error(err)
	}
	if err := a.HangAgent(ctx, 0); !errors.Is(err, lab.ErrNoAgentRuns) {
		t.Errorf("HangAgent where no agent runs: %v, want ErrNoAgentRuns", err)
	}
}

// A fault in the switch that is mended leaves the others.
func TestImpose(t *testing.T) {
	w := labtest.New(t, lab.Options{Nodes: []string{"a", "b"}})
	needNft(t, w)
	ctx := labtest.Within(t, patience)
	a, b := w.Node("a"), w.Node("b")
	ab, ba := newLink(t, a, b), newLink(t, b, a)
	impose := func(f lab.Break) func(context.Context) error {
		t.Helper()
		mend, err := w.Impose(ctx, f)
		if err != nil {
			t.Fatal(err)
		}
		return mend
	}
	wantOpen := func(what string, aToB, bToA bool) {
		t.Helper()
		for _, p := range []struct {
			name string
			link link
			open bool
		}{{"a to b", ab, aToB}, {"b to a", ba, bToA}} {
			if got := p.link.arrived(t, 3); (got == 3) != p.open {
				t.Errorf("%s: %s carried %d of 3, open: %v", what, p.name, got, p.open)
			}
		}
	}
	cut, out := impose(lab.Isolated(a)), impose(lab.OneWay(a, lab.Out))
	wantOpen("both", false, false)
	if err := errors.Join(cut(ctx), cut(ctx)); err != nil { // the second time it is nothing
		t.Error(err)
	}
	wantOpen("one left", false, true)
	if err := out(ctx); err != nil {
		t.Error(err)
	}
	wantOpen("none left", true, true)
	if _, err := w.Impose(ctx, lab.LossyEverywhere(0)); err == nil {
		t.Error("a loss of 0 % was accepted")
	}
	if err := w.Loss(ctx, 30); err != nil {
		t.Fatal(err)
	}
	got := 0
	for range 10 {
		got += ab.arrived(t, 100)
	}
	if got < 584 || got > 816 { // as in TestLoss
		t.Errorf("at 30 %% loss everywhere %d of 1000 arrived, want about 700", got)
	}
}

func TestAgentLines(t *testing.T) {
	w := labtest.New(t, lab.Options{Nodes: []string{"a"}})
	a := w.Node("a")
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	text := "noise\n"
	for i := range 5 {
		text += "time=" + at.Add(time.Duration(i)*time.Second).Format(time.RFC3339Nano) + " level=INFO msg=x\n"
	}
	if err := os.WriteFile(a.Dir()+"/"+lab.AgentLog+".log", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := a.AgentLines(at.Add(time.Second), at.Add(3*time.Second), 10); len(got) != 3 {
		t.Errorf("AgentLines = %q, want three", got)
	}
	if got := a.AgentLines(at, at.Add(time.Hour), 2); len(got) != 2 {
		t.Errorf("AgentLines = %q, want at most two", got)
	}
}
