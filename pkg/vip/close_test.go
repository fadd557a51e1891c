package vip

import (
	"errors"
	"slices"
	"testing"
	"time"
)

// carryingGate is a drainGate that may have groups of a predecessor.
type carryingGate struct {
	*drainGate
	carries map[string]bool
}

func (g *carryingGate) Carries(group string) bool { return g.carries[group] }

// At Close the rules stay while an address of ours may be left for them to stop, and no longer.
func TestCloseKeepsRulesForAddresses(t *testing.T) {
	stuck := errors.New("the kernel is busy")
	for _, tt := range []struct {
		name    string
		carries bool // the kernel has the group live, from a predecessor
		stuck   bool // addresses cannot be deleted
		open    bool
		keep    bool
		left    int
	}{
		{name: "a group that was to resume and did not", keep: false, left: 0},
		{name: "a group that a successor can resume", carries: true, keep: true, left: 1},
		{name: "an open group", open: true, keep: true, left: 1},
		{name: "an address that cannot be deleted", stuck: true, keep: true, left: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := func() time.Duration { return time.Hour }
			k := newFake(now)
			dir := t.TempDir()
			groups := []Group{{Name: "web", Interface: "eth0", Addresses: prefixes("10.0.0.50/24")}}
			start := func() *Manager {
				g := &carryingGate{&drainGate{fakeGate: &fakeGate{k: k}}, map[string]bool{"web": tt.carries}}
				m, err := newManager(Options{Groups: groups, RunDir: dir, Gate: g, Now: now, Keep: func(string) bool { return true }}, k)
				if err != nil {
					t.Fatal(err)
				}
				return m
			}
			if err := start().Open("web", time.Hour+time.Second); err != nil { // by a predecessor
				t.Fatal(err)
			}
			m := start()
			if tt.open {
				if err := m.Open("web", time.Hour+time.Second); err != nil {
					t.Fatal(err)
				}
			}
			if tt.stuck {
				k.onRemove = func() error { return stuck }
			}
			k.story()
			if err := m.Close(); errors.Is(err, stuck) != tt.stuck {
				t.Errorf("Close: %v", err)
			}
			want := "gate close keep=false "
			if tt.keep {
				want = "gate close keep=true "
			}
			if story := k.story(); !slices.Contains(story, want) {
				t.Errorf("story %q, want %q", story, want)
			}
			if have, _ := k.Addresses(); len(have) != tt.left {
				t.Errorf("addresses %v after Close, want %d", have, tt.left)
			}
		})
	}
}

// The gate does not forget a drain whose addresses are on loopback still.
func TestEndDrainKeepsTheGateForAnAddress(t *testing.T) {
	m, k, _ := draining(t)
	if err := m.Drain("web", hopOf(2), time.Hour+30*time.Second); err != nil {
		t.Fatal(err)
	}
	stuck := errors.New("the kernel is busy")
	k.onRemove = func() error { return stuck }
	k.story()
	if _, err := m.EndDrain("web"); !errors.Is(err, stuck) {
		t.Errorf("EndDrain: %v, want %v", err, stuck)
	}
	if story := k.story(); slices.Contains(story, "gate end web") {
		t.Errorf("story %q", story)
	}
	k.onRemove = nil
	if _, err := m.EndDrain("web"); err != nil {
		t.Error(err)
	}
	if have, _ := k.Addresses(); len(have) != 0 || !slices.Contains(k.story(), "gate end web") {
		t.Errorf("addresses %v", have)
	}
}
