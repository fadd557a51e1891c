package rivals

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/hbagent/hbagent/pkg/lease"
)

func TestLastState(t *testing.T) {
	const log = "(web) Entering BACKUP STATE (init)\n(web) Entering MASTER STATE\n(web) setting VIPs.\n"
	for _, tt := range []struct{ log, before, want string }{
		{log, "Entering ", "MASTER"},
		{"[WARNING] Switching to state: BACKUP", "Switching to state: ", "BACKUP"},
		{"starting", "Entering ", ""},
		{"Entering ", "Entering ", ""}, // half a line
	} {
		if got := lastState(tt.log, tt.before); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.log, got, tt.want)
		}
	}
}

// The equal pace is one heartbeat a second, however often a lease is renewed in its ttl, and the config file says it.
func TestRenewedEvery(t *testing.T) {
	ttl := renewedEvery(time.Second)
	if off := (lease.RenewInterval(ttl) - time.Second).Abs(); off > time.Millisecond {
		t.Errorf("ttl %v is renewed every %v, want 1s", ttl, lease.RenewInterval(ttl))
	}
	for _, d := range []time.Duration{ttl, 2 * time.Second, 50 * time.Millisecond} {
		if back, err := time.ParseDuration(shortly(d)); err != nil || back != d {
			t.Errorf("%v is written as %q, which is %v, %v", d, shortly(d), back, err)
		}
	}
}

func TestFurtherAddressesDiffer(t *testing.T) {
	seen := make(map[netip.Prefix]bool)
	for i := range furtherMost {
		seen[furtherAddress(i)] = true
	}
	if len(seen) != furtherMost {
		t.Errorf("%d different addresses, want %d", len(seen), furtherMost)
	}
}

func TestMissing(t *testing.T) {
	if _, err := lookup("no-such-program", "some-package"); !errors.Is(err, ErrMissing) {
		t.Errorf("%v, want %v", err, ErrMissing)
	}
	if _, err := (Hbagent{Program: "/nowhere/hbagent"}).Version(t.Context()); !errors.Is(err, ErrMissing) {
		t.Errorf("%v, want %v", err, ErrMissing)
	}
}

// What a tool cannot do it says, before anything is written.
func TestUcarpCannot(t *testing.T) {
	for _, o := range []Options{{Service: true}, {Addresses: make([]netip.Prefix, 2)}} {
		if _, err := (Ucarp{}).Prepare(nil, Ucarp{}.Settings()[0], o); !errors.Is(err, ErrCannot) {
			t.Errorf("%+v: %v, want %v", o, err, ErrCannot)
		}
	}
}
