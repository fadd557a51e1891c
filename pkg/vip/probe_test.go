package vip

import (
	"bytes"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// A question that the kernel refuses leaves one group without an answer, not all of its interface.
func TestProbeRefused(t *testing.T) {
	groups := []Group{
		{Name: "db", Interface: "eth0", Addresses: prefixes("10.0.0.51/24", "fd00::51/64")},
		{Name: "mail", Interface: "eth0", Addresses: prefixes("10.0.0.52/24")},
		{Name: "web", Interface: "eth0", Addresses: prefixes("10.0.0.50/24", "fd00::50/64")},
	}
	db := netip.MustParseAddr("10.0.0.51").AsSlice()
	var asked atomic.Int32 // for db
	for _, tt := range []struct {
		name   string
		refuse func(frame []byte) bool
		silent []string
		err    bool // of a probe of db alone
	}{
		{"none", func([]byte) bool { return false }, []string{"db", "mail", "web"}, false},
		{"one of three for an address", func(f []byte) bool { return bytes.Contains(f, db) && asked.Add(1) == 2 }, []string{"mail", "web"}, true},
		{"IPv6", func(f []byte) bool { return len(f) > 60 }, []string{"mail"}, true},
		{"all", func([]byte) bool { return true }, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				k := newFake(func() time.Duration { return time.Since(began) })
				m, err := newManager(Options{Groups: groups, RunDir: dir, Gate: &fakeGate{k: k}, Now: k.now}, k)
				if err != nil {
					t.Fatal(err)
				}
				asked.Store(0)
				k.onSend = func(f []byte) error {
					if tt.refuse(f) {
						return unix.ENOBUFS
					}
					return nil
				}
				silent := m.ProbeAll(t.Context(), []string{"db", "mail", "web"}, nil)
				slices.Sort(silent)
				if diff := cmp.Diff(tt.silent, silent); diff != "" {
					t.Errorf("silent groups (-want +got):\n%s", diff)
				}
				asked.Store(0)
				if _, err := m.Probe(t.Context(), "db"); (err != nil) != tt.err {
					t.Errorf("Probe: %v", err)
				}
			})
		})
	}
}
