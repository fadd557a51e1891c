package vip

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// drainGate is a fakeGate that can hand over.
type drainGate struct {
	*fakeGate
	steered []steering
}

func (g *drainGate) Drain(group string, _ map[netip.Addr]netip.Addr, _ time.Duration) error {
	return g.note("drain", group)
}
func (g *drainGate) EndDrain(group string) error            { return g.note("end", group) }
func (g *drainGate) Learn(s steering) error                 { return g.note("learn", s.group.Name) }
func (g *drainGate) Own(group string, _ []flow) error       { return g.note("own", group) }
func (g *drainGate) Unsteer(group string) error             { return g.note("unsteer", group) }
func (g *drainGate) SweepHandovers(func(string) bool) error { return nil }
func (g *drainGate) Steer(s steering) error {
	g.steered = append(g.steered, s)
	return g.note("steer", s.group.Name)
}

func hopOf(last byte) NextHop {
	return NextHop{
		IPv4: netip.AddrFrom4([4]byte{10, 0, 0, last}), IPv6: netip.MustParseAddr("fe80::1"), MAC: net.HardwareAddr{2, 0, 0, 0, 9, last},
	}
}

// draining is a manager with the group open, the fake kernel beneath it, and its gate.
func draining(t *testing.T) (*Manager, *fakeKernel, *drainGate) {
	t.Helper()
	now := func() time.Duration { return time.Hour }
	k := newFake(now)
	k.links = append(k.links, link{Name: loopback, Index: loopbackIndex, AdminUp: true, Up: true})
	g := &drainGate{fakeGate: &fakeGate{k: k}}
	groups := []Group{{Name: "web", Interface: "eth0", Addresses: prefixes("10.0.0.50/24", "fd00::50/64")}}
	m, err := newManager(Options{Groups: groups, RunDir: t.TempDir(), Gate: g, Now: now}, k)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Open("web", time.Hour+time.Minute); err != nil {
		t.Fatal(err)
	}
	k.story()
	return m, k, g
}

// The addresses come to loopback, then the gate is shut, and only then do they go from the interface.
func TestDrainOrder(t *testing.T) {
	m, k, _ := draining(t)
	if err := m.Drain("web", hopOf(2), time.Hour+30*time.Second); err != nil {
		t.Fatal(err)
	}
	want := []string{"put 10.0.0.50", "put fd00::50", "gate drain web", "remove 10.0.0.50", "remove fd00::50"}
	if diff := cmp.Diff(want, k.story()); diff != "" {
		t.Errorf("Drain (-want +got):\n%s", diff)
	}
	if err := m.Renew("web", time.Hour+time.Minute); !errors.Is(err, ErrNotOpen) {
		t.Errorf("Renew while it drains: %v, want %v", err, ErrNotOpen)
	}
	if err := m.Open("web", time.Hour+time.Minute); err != nil {
		t.Fatal(err)
	}
	want = []string{"gate open web", "put 10.0.0.50", "put fd00::50", "remove 10.0.0.50", "remove fd00::50", "gate end web"}
	if diff := cmp.Diff(want, k.story()); diff != "" {
		t.Errorf("Open where it drains (-want +got):\n%s", diff)
	}
}

// The group comes back while its drain is being ended: nothing of the new time is reset, removed or forgotten.
func TestEndDrainBesideOpen(t *testing.T) {
	for _, again := range []bool{false, true} { // and drains once more
		m, k, _ := draining(t)
		if err := m.Drain("web", hopOf(2), time.Hour+30*time.Second); err != nil {
			t.Fatal(err)
		}
		k.flows = 500
		k.onList = func() error {
			err := m.Open("web", time.Hour+time.Minute)
			if again {
				err = errors.Join(err, m.Drain("web", hopOf(2), time.Hour+20*time.Second))
			}
			k.story()
			return err
		}
		if n, err := m.EndDrain("web"); n != 0 || err != nil {
			t.Errorf("EndDrain: %d, %v", n, err)
		}
		if story := k.story(); len(story) > 0 || k.destroyed > 0 {
			t.Errorf("story %q, %d connections ended", story, k.destroyed)
		}
		if until, d := m.Draining("web"); d != again || again && until != time.Hour+20*time.Second {
			t.Errorf("draining %v until %v", d, until)
		}
		k.onList = nil
		want := 0
		if again {
			want = 500
		}
		if n, err := m.EndDrain("web"); n != want || err != nil || k.destroyed != want {
			t.Errorf("EndDrain: %d, %v; want %d", n, err, want)
		}
	}
}

// A Drain of the group while Steer is busy: what comes from the heir must not go where everything goes.
func TestSteerBesideDrain(t *testing.T) {
	m, k, g := draining(t)
	k.onList = func() error {
		k.onList = nil
		return m.Drain("web", hopOf(3), time.Hour+30*time.Second)
	}
	if err := m.Steer("web", hopOf(2), time.Hour+time.Minute); err != nil {
		t.Fatal(err)
	}
	last := g.steered[len(g.steered)-1].hops
	if !hasDetour(last, hopOf(3).MAC) {
		t.Errorf("hops %v, want one for what comes from the heir", last)
	}
}

// The addresses on loopback live for seconds only, for as long as the keeper is there.
func TestDrainLivesWithTheKeeper(t *testing.T) {
	m, k, _ := draining(t)
	clock := time.Hour
	m.now = func() time.Duration { return clock }
	end := time.Hour + 30*time.Second
	if err := m.Drain("web", hopOf(2), end); err != nil {
		t.Fatal(err)
	}
	k.now = m.now
	last := func() (last time.Duration) {
		for p, until := range k.addrs {
			if p.Index != loopbackIndex {
				t.Errorf("%v is there", p)
			}
			last = max(last, until)
		}
		return last
	}
	for ; clock < end; clock += 500 * time.Millisecond {
		m.keeper.step()
		if idle := m.keeper.idle(); idle > refreshEvery {
			t.Errorf("%v: the keeper sleeps %v", clock, idle)
		}
		if until := last(); until <= clock+time.Second && until < end || until > min(end+time.Second, clock+drainLife) {
			t.Errorf("%v: the addresses live until %v", clock, until)
		}
	}
	clock = end + time.Second
	m.keeper.step()
	if until := last(); until > end+time.Second {
		t.Errorf("after the end: the addresses live until %v", until)
	}
}

// Nodes that steer to this one are forgotten in time, also those of groups that never come here again.
func TestHeirsExpire(t *testing.T) {
	m, _, _ := draining(t)
	m.heirs["db"] = []heir{{mac: hopOf(2).MAC, until: time.Hour}, {mac: hopOf(3).MAC, until: time.Hour + 1}}
	m.heirs["old"] = []heir{{mac: hopOf(2).MAC, until: time.Hour - 1}}
	m.hops("web", hopOf(4), time.Hour+time.Minute)
	if _, there := m.heirs["old"]; there || len(m.heirs["db"]) != 1 {
		t.Errorf("heirs %v", m.heirs)
	}
}

// A drain that fails leaves the group shut.
func TestDrainFails(t *testing.T) {
	m, k, g := draining(t)
	g.fail = map[string]error{"drain": errors.New("no room")}
	if err := m.Drain("web", hopOf(2), time.Hour+30*time.Second); err == nil {
		t.Error("no error")
	}
	k.mu.Lock()
	left := len(k.addrs)
	k.mu.Unlock()
	if _, d := m.Draining("web"); d || left != 0 || !slices.Contains(k.story(), "gate shut web") {
		t.Errorf("draining %v, %d addresses left", d, left)
	}
	if err := m.Drain("web", hopOf(2), time.Hour+30*time.Second); !errors.Is(err, ErrNotOpen) {
		t.Errorf("Drain of a shut group: %v, want %v", err, ErrNotOpen)
	}
}

// The lease ends while the addresses come to loopback: TCP must not pass for the rest of the drain.
func TestDrainTooLate(t *testing.T) {
	m, k, _ := draining(t)
	clock := time.Hour
	m.now = func() time.Duration { return clock }
	k.onPut = func(netip.Addr) error { clock += 30 * time.Second; return nil } // two addresses, and a minute of lease
	if err := m.Drain("web", hopOf(2), time.Hour+2*time.Minute); !errors.Is(err, ErrDeadline) {
		t.Errorf("Drain: %v, want %v", err, ErrDeadline)
	}
	story := k.story()
	if slices.Contains(story, "gate drain web") || !slices.Contains(story, "gate shut web") {
		t.Errorf("story %q, want the gate shut and not draining", story)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, d := m.Draining("web"); d || len(k.addrs) != 0 {
		t.Errorf("draining %v, %d addresses left", d, len(k.addrs))
	}
}

func TestHandoverRefusals(t *testing.T) {
	m, _, _ := draining(t)
	noIPv6 := hopOf(2)
	noIPv6.IPv6 = netip.Addr{}
	self := hopOf(2)
	self.MAC = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	for _, tt := range []struct {
		name  string
		group string
		to    NextHop
		until time.Duration
		want  error
	}{
		{"unknown group", "db", hopOf(2), time.Hour + time.Second, ErrUnknownGroup},
		{"no IPv6 address", "web", noIPv6, time.Hour + time.Second, ErrNextHop},
		{"itself", "web", self, time.Hour + time.Second, ErrNextHop},
		{"over", "web", hopOf(2), time.Hour, ErrDeadline},
		{"another clock", "web", hopOf(2), 4 * time.Hour, ErrDeadline},
	} {
		if err := m.Steer(tt.group, tt.to, tt.until); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	// As long as can be configured, and what the other end needs on top.
	if err := m.Steer("web", hopOf(2), 2*time.Hour+10*time.Second); err != nil {
		t.Errorf("an hour: %v", err)
	}
	if err := m.Drain("web", hopOf(2), 2*time.Hour+5*time.Second); err != nil {
		t.Errorf("an hour: %v", err)
	}
	plain, err := newManager(Options{RunDir: t.TempDir()}, newFake(bootTime))
	if err != nil {
		t.Fatal(err)
	}
	if err := plain.Steer("web", hopOf(2), time.Hour); !errors.Is(err, ErrNoHandover) {
		t.Errorf("without nf_tables: %v, want %v", err, ErrNoHandover)
	}
}
