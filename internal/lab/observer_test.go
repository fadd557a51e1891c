package lab_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

func TestProbeMeasuresAnOutage(t *testing.T) {
	w := labtest.New(t, lab.Options{Nodes: []string{"a"}})
	ctx := labtest.Within(t, patience)
	a := w.Node("a")
	web, err := a.Web()
	if err != nil {
		t.Fatal(err)
	}
	if err := web.Start(ctx); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	probe, err := w.ProbeHTTP(ctx, lab.HTTPOptions{Target: netip.AddrPortFrom(a.Addr4.Addr(), 80)})
	if err != nil {
		t.Fatal(err)
	}
	if err := probe.WaitAnswer(ctx, begin, "a"); err != nil {
		t.Fatal(err)
	}

	killing := time.Now()
	if err := web.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	<-time.After(300 * time.Millisecond) // the outage to be measured, not a wait for anything
	starting := time.Now()
	if err := web.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := probe.WaitAnswer(ctx, time.Now(), "a"); err != nil {
		t.Fatal(err)
	}
	end := time.Now()

	gap := probe.LongestGap(killing, end)
	if gap.From.After(killed.Add(150*time.Millisecond)) || gap.To.Before(starting) || gap.To.After(end) {
		t.Errorf("gap %v to %v; killed at %v, started at %v", gap.From, gap.To, killed, starting)
	}
	if gap.Length() < starting.Sub(killed) || gap.Length() > end.Sub(begin) {
		t.Errorf("gap of %v, want at least %v", gap.Length(), starting.Sub(killed))
	}
	if tally := probe.Tally(killing, end); tally.Failed == 0 || tally.Asked <= tally.Failed {
		t.Errorf("tally %+v, want failed and good ones", tally)
	}
}

// A client that stays connected notices a server that goes away once, and connects again.
func TestKeepAlive(t *testing.T) {
	w := labtest.New(t, lab.Options{Nodes: []string{"a"}})
	ctx := labtest.Within(t, patience)
	a := w.Node("a")
	web := lab.BuiltinWeb(a)
	if err := web.Start(ctx); err != nil {
		t.Fatal(err)
	}
	probe, err := w.ProbeHTTP(ctx, lab.HTTPOptions{Target: netip.AddrPortFrom(a.Addr4.Addr(), 80), KeepAlive: true})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	for range 3 { // over the same connection
		if err := probe.WaitAnswer(ctx, time.Now(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if tally := probe.Tally(begin, time.Now()); tally.Failed > 0 {
		t.Errorf("tally %+v, want none failed", tally)
	}
	if err := web.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := web.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := probe.WaitAnswer(ctx, time.Now(), "a"); err != nil {
		t.Fatal(err)
	}
	if tally := probe.Tally(begin, time.Now()); tally.Failed == 0 {
		t.Errorf("tally %+v, want a failed one: the connection was cut", tally)
	}
}

// Proves that the observers can fail: two machines with the same address are seen, and one is not.
func TestObserversSeeTwoOwners(t *testing.T) {
	w := labtest.New(t, lab.Options{Nodes: []string{"a", "b"}})
	ctx := labtest.Within(t, patience)
	floating := lab.Floating4.Addr()
	begin := time.Now()
	arp, err := w.WatchARP(ctx, floating, 0)
	if err != nil {
		t.Fatal(err)
	}
	cards := w.WatchAddress(ctx, floating, 0)
	step := func(change error, want ...string) {
		t.Helper()
		if change != nil {
			t.Fatal(change)
		}
		if err := arp.WaitAnswers(ctx, time.Now(), want...); err != nil {
			t.Error(err)
		}
		// The two observers sample on their own: the next change must wait until both have seen this one.
		if err := cards.WaitOwners(ctx, want...); err != nil {
			t.Error(err)
		}
	}

	step(nil)
	step(w.Node("a").AddAddress(lab.Floating4), "a")
	alone := time.Now()
	if two := arp.OwnersOverlap(begin, alone); len(two) > 0 {
		t.Errorf("two owners seen where only a had the address: %v", two)
	}
	step(w.Node("b").AddAddress(lab.Floating4), "a", "b")
	if two := arp.OwnersOverlap(alone, time.Now()); len(two) == 0 {
		t.Error("OwnersOverlap does not see two owners")
	}
	step(w.Node("a").DelAddress(lab.Floating4), "b")
	step(w.Node("b").PowerOff())

	if err := w.CheckOnlyAt(floating, ""); err != nil {
		t.Error(err)
	}
	want := [][]string{nil, {"a"}, {"a", "b"}, {"b"}, nil}
	var got [][]string
	for _, c := range cards.Changes() {
		got = append(got, c.Nodes)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("owners by the kernels (-want +got):\n%s", diff)
	}
	if two := cards.OwnersOverlap(begin, time.Now()); len(two) != 1 {
		t.Errorf("address watch: %d overlaps, want 1", len(two))
	}
	if err := cards.Err(); err != nil {
		t.Error(err)
	}
	if gap := arp.LongestGap(alone, time.Now()); gap.Length() <= 0 {
		t.Errorf("gap of %v after the power cut, want one", gap.Length())
	}
}
