package vip

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// late is a gate with a hook right after each guarded transaction, where the clock is read again.
func late(t *testing.T, after func() time.Duration) (*segment, *NFTGate) {
	t.Helper()
	s := newSegment(t)
	g := s.gate(GateOptions{NoOwner: true})
	var offset time.Duration
	g.now = func() time.Duration { return bootTime() + offset }
	s.must(g.SetGroups([]Group{s.web()}, nil))
	t.Cleanup(func() { _ = g.Close(false) })
	armed := false
	g.now = func() time.Duration {
		if armed {
			armed = false
			offset += after()
		}
		return bootTime() + offset
	}
	g.stall = func() { armed = true }
	return s, g
}

// The kernel stands still after it has looked at the token, each time: what has a timeout from a clock of long ago is
// taken back, and the caller hears that the lease is to be confirmed.
func TestGateTakesBackWhatCameLate(t *testing.T) {
	var stands time.Duration
	_, g := late(t, func() time.Duration { return stands })
	deadline := func() time.Duration { return g.now() + time.Minute }
	stands = 2 * tokenLength
	if err := g.Open("web", deadline()); !errors.Is(err, ErrGateExpired) || errors.Is(err, ErrStalled) {
		t.Errorf("Open: %v, want %v", err, ErrGateExpired)
	}
	wantLive(t, g, "after Open")
	stands = 0
	if err := g.Open("web", deadline()); err != nil {
		t.Fatal(err)
	}
	stands = 2 * tokenLength
	if err := g.Renew(one("web", deadline()))["web"]; !errors.Is(err, ErrGateExpired) || errors.Is(err, ErrStalled) {
		t.Errorf("Renew: %v, want %v", err, ErrGateExpired)
	}
	wantLive(t, g, "after Renew")
	// The repeat comes when too little of the lease is left.
	stands = time.Minute
	if err := g.Open("web", deadline()); !errors.Is(err, ErrGateExpired) {
		t.Errorf("Open with a short lease: %v, want %v", err, ErrGateExpired)
	}
	wantLive(t, g, "after Open with a short lease")
	// The groups that a rebuild carries over.
	stands = 0
	if err := g.Open("web", deadline()); err != nil {
		t.Fatal(err)
	}
	stands = 2 * tokenLength
	if err := g.SetGroups(g.groups(), nil); err != nil {
		t.Errorf("SetGroups: %v", err)
	}
	wantLive(t, g, "after SetGroups")
	if err := g.Renew(one("web", deadline()))["web"]; !errors.Is(err, ErrNotOpen) {
		t.Errorf("Renew after SetGroups: %v, want %v", err, ErrNotOpen)
	}
	if stands, err := g.Verify(); !stands || err != nil {
		t.Errorf("Verify: %v, %v", stands, err)
	}
}

// Hundreds of groups are renewed in pieces, and a kernel that stands still in one of them costs the groups of that one.
func TestGateRenewsInPieces(t *testing.T) {
	var after func() time.Duration
	s, g := late(t, func() time.Duration { return after() })
	after = func() time.Duration { return 0 }
	var groups []Group
	deadlines := make(map[string]time.Duration)
	many := s.many(2*renewAtOnce + 1)
	for i, a := range many.Addresses {
		gr := many
		gr.Name, gr.Addresses = fmt.Sprintf("group-%04d", i), []netip.Prefix{a}
		groups = append(groups, gr)
		deadlines[gr.Name] = g.now() + time.Minute
	}
	s.must(g.SetGroups(groups, nil))
	for _, gr := range groups {
		s.must(g.Open(gr.Name, deadlines[gr.Name]))
	}
	for name := range deadlines {
		deadlines[name] += time.Second
	}
	renewed := func(i int) bool { return g.live[groups[i].Name] == deadlines[groups[i].Name] }
	after = func() time.Duration {
		if renewed(renewAtOnce) && !renewed(2*renewAtOnce) { // the second piece, and not yet the third
			return 2 * tokenLength
		}
		return 0
	}
	failed := g.Renew(deadlines)
	for i, gr := range groups {
		err := failed[gr.Name]
		if second := i >= renewAtOnce && i < 2*renewAtOnce; second != (err != nil) || second && !errors.Is(err, ErrGateExpired) {
			t.Errorf("%s: %v", gr.Name, err)
		}
	}
}

// Somebody changes the tables between the transaction that makes them and the look at what was made.
func TestGateHarmedWhileBuilt(t *testing.T) {
	for name, harm := range map[string][]string{
		"ruleset":   {"flush", "ruleset"},
		"rules":     {"flush", "chain", "inet", TableName, "prerouting"},
		"addresses": {"flush", "map", "arp", TableName, "from-ipv4"},
		"netdev":    {"delete", "table", "netdev", TableName},
	} {
		t.Run(name, func(t *testing.T) {
			done := true
			_, g := late(t, func() time.Duration {
				if !done {
					done = true
					nft(t, harm...)
				}
				return 0
			})
			if err := g.Open("web", in(time.Minute)); err != nil {
				t.Fatal(err)
			}
			done = false
			if err := g.SetGroups(g.groups(), nil); err != nil {
				t.Errorf("SetGroups: %v", err)
			}
			if stands, err := g.Verify(); !stands || err != nil {
				t.Errorf("Verify: %v, %v", stands, err)
			}
			have, err := takeSnapshot(g.socket, TableName)
			if err == nil {
				err = g.layout.missing(have)
			}
			if err != nil || !done {
				t.Errorf("harmed %v, and not built again: %v", done, err)
			}
		})
	}
}
