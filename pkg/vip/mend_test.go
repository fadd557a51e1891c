package vip

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// brittleGate is a fakeGate that can be taken away.
type brittleGate struct {
	*fakeGate
	stands bool
	onOpen func()
}

func (g *brittleGate) Watch(ctx context.Context, _ func()) error {
	<-ctx.Done()
	return nil
}

func (g *brittleGate) Verify() (bool, error) { return g.stands, g.note("verify", "") }

func (g *brittleGate) Restore() error {
	err := g.note("restore", "")
	g.stands = err == nil
	return err
}

func (g *brittleGate) Open(group string, deadline time.Duration) error {
	if g.onOpen != nil {
		g.onOpen()
	}
	if !g.stands {
		return ErrGateLost
	}
	return g.fakeGate.Open(group, deadline)
}

func brittle(t *testing.T) (*Manager, *brittleGate, *fakeKernel, *[]EventKind) {
	t.Helper()
	now := func() time.Duration { return time.Hour }
	k := newFake(now)
	g := &brittleGate{fakeGate: &fakeGate{k: k, fail: make(map[string]error)}, stands: true}
	events := new([]EventKind)
	m, err := newManager(Options{
		Groups: []Group{{Name: "web", Interface: "eth0", Addresses: prefixes("10.0.0.50/24")}, {Name: "db", Interface: "eth0", Addresses: prefixes("10.0.0.60/24")}},
		RunDir: t.TempDir(), Gate: g, Now: now, Events: func(e Event) { *events = append(*events, e.Kind) },
	}, k)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Open("web", time.Hour+time.Second); err != nil {
		t.Fatal(err)
	}
	k.story()
	return m, g, k, events
}

func wantStory(t *testing.T, k *fakeKernel, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, k.story()); diff != "" {
		t.Errorf("story (-want +got):\n%s", diff)
	}
}

func TestMendInOrder(t *testing.T) {
	m, g, k, events := brittle(t)
	if err := m.mend(); err != nil {
		t.Fatal(err)
	}
	wantStory(t, k, "gate verify ")
	g.stands = false
	if err := m.mend(); err != nil {
		t.Fatal(err)
	}
	wantStory(t, k, "gate verify ", "gate verify ", "remove 10.0.0.50", "gate restore ", "gate open web", "put 10.0.0.50")
	if diff := cmp.Diff([]EventKind{GateLost, GateRestored}, *events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// A gate that changes while it is looked at is looked at again soon; when that goes on for a second, people are told.
func TestGateThatChanges(t *testing.T) {
	m, g, _, events := brittle(t)
	if err := m.Shut("web", "nothing is due but the look"); err != nil {
		t.Fatal(err)
	}
	m.keeper.step()
	now := time.Hour
	m.now = func() time.Duration { return now }
	g.fail["verify"] = errChanging
	m.keeper.pokeGate()
	for range maxChanging / lookAfter {
		m.keeper.step()
		if wait := m.keeper.idle(); wait != lookAfter {
			t.Fatalf("the next look comes after %v, want %v", wait, lookAfter)
		}
		now += lookAfter
		if len(*events) > 0 {
			t.Fatalf("events %v", *events)
		}
	}
	m.keeper.step()
	if diff := cmp.Diff([]EventKind{AddressError}, *events); diff != "" {
		t.Errorf("events after a second (-want +got):\n%s", diff)
	}
	delete(g.fail, "verify")
	now += retryEvery
	m.keeper.pokeGate()
	m.keeper.step()
	if m.keeper.changing != 0 || len(*events) > 1 {
		t.Errorf("changing since %v, events %v after it stood still", m.keeper.changing, *events)
	}
}

// halfRenewed is a gate that somebody takes away in the middle of a renewal.
type halfRenewed struct {
	*brittleGate
	asked [][]string
}

func (g *halfRenewed) Renew(deadlines map[string]time.Duration) map[string]error {
	g.asked = append(g.asked, slices.Sorted(maps.Keys(deadlines)))
	if len(g.asked) > 1 {
		return nil
	}
	g.stands = false
	return map[string]error{"web": ErrGateLost}
}

// A gate that is made anew has the old deadlines: what was renewed before it went is renewed again.
func TestRenewalOfALostGate(t *testing.T) {
	m, g, _, _ := brittle(t)
	if err := m.Open("db", time.Hour+time.Second); err != nil {
		t.Fatal(err)
	}
	half := &halfRenewed{brittleGate: g}
	m.gate = half
	later := time.Hour + 2*time.Second
	if failed := m.RenewAll(map[string]time.Duration{"web": later, "db": later}); failed != nil {
		t.Error(failed)
	}
	if diff := cmp.Diff([][]string{{"db", "web"}, {"db", "web"}}, half.asked); diff != "" {
		t.Errorf("renewed (-want +got):\n%s", diff)
	}
}

// An Open that finds the gate gone makes it anew, and what was open comes back too.
func TestOpenMends(t *testing.T) {
	m, g, k, events := brittle(t)
	g.stands = false
	if err := m.Open("db", time.Hour+time.Second); err != nil {
		t.Fatal(err)
	}
	wantStory(t, k, "gate verify ", "gate verify ", "remove 10.0.0.50", "gate restore ", "gate open web", "put 10.0.0.50", "gate open db", "put 10.0.0.60")
	if diff := cmp.Diff([]EventKind{GateLost, GateRestored}, *events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// While the gate cannot be built the addresses stay away, and nobody puts them back.
func TestMendFails(t *testing.T) {
	m, g, k, events := brittle(t)
	broken := errors.New("broken")
	g.stands, g.fail["restore"] = false, broken
	for range 2 {
		if err := m.mend(); !errors.Is(err, broken) {
			t.Fatalf("mend: %v, want %v", err, broken)
		}
	}
	if _, err := m.fill(m.holding("web")); !errors.Is(err, ErrNotOpen) {
		t.Errorf("a refresh of lifetimes: %v, want %v", err, ErrNotOpen)
	}
	wantStory(t, k, "gate verify ", "gate verify ", "remove 10.0.0.50", "gate restore ", "gate verify ", "gate verify ", "remove 10.0.0.50", "gate restore ")
	g.fail["restore"], g.fail["open"] = nil, broken
	if err := m.mend(); !errors.Is(err, broken) {
		t.Fatalf("mend: %v, want %v", err, broken)
	}
	g.fail["open"] = nil
	k.story()
	if err := m.mend(); err != nil {
		t.Fatal(err)
	}
	wantStory(t, k, "gate verify ", "gate verify ", "gate open web", "put 10.0.0.50")
	if diff := cmp.Diff([]EventKind{GateLost, GateRestored}, *events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// A Shut while the gate is mended comes after it: whoever was told that the group is shut can rely on it.
func TestShutWhileMending(t *testing.T) {
	m, g, k, _ := brittle(t)
	done := make(chan error, 1)
	g.onOpen = func() {
		g.onOpen = nil
		closed := m.holding("web")
		go func() { done <- m.Shut("web", "test") }()
		for !closed.isClosed() { // from here on the Shut is on its way
			<-time.After(time.Millisecond)
		}
	}
	g.stands = false
	if err := m.mend(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	story := k.story()
	opened, shut := slices.Index(story, "gate open web"), slices.Index(story, "gate shut web")
	if opened < 0 || shut < opened || slices.Index(story[shut:], "gate open web") > 0 || slices.Contains(story[shut:], "put 10.0.0.50") {
		t.Errorf("story %q, want the gate shut last", story)
	}
	if have, _ := k.Addresses(); len(have) > 0 {
		t.Errorf("addresses %v after Shut", have)
	}
}

// The list that the gate refuses is not in force, and what was to change for it is as before.
func TestGateRefusesAList(t *testing.T) {
	m, g, k, _ := brittle(t)
	broken := errors.New("broken")
	g.fail["groups"] = broken
	err := m.Reconfigure([]Group{{Name: "web", Interface: "eth0", Addresses: prefixes("10.0.0.51/24")}})
	if !errors.Is(err, broken) {
		t.Fatalf("Reconfigure: %v, want %v", err, broken)
	}
	wantStory(t, k, "remove 10.0.0.50", "gate groups", "put 10.0.0.50")
	if err := m.Open("db", time.Hour+time.Second); err != nil {
		t.Errorf("the old list is not in force: %v", err)
	}
}
