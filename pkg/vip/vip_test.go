package vip

import (
	"errors"
	"math"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestValidateGroups(t *testing.T) {
	g := func(name, iface string, addrs ...string) Group {
		return Group{Name: name, Interface: iface, Addresses: prefixes(addrs...)}
	}
	for _, tc := range []struct {
		name   string
		groups []Group
		want   string // in the error; empty: none
	}{
		{"good", []Group{g("a", "eth0", "10.0.0.1/24"), g("b", "eth0", "10.0.0.2/24", "fd00::1/64")}, ""},
		{"no name", []Group{g("", "eth0")}, "without a name"},
		{"twice", []Group{g("a", "eth0"), g("a", "eth1")}, `"a" appears twice`},
		{"no interface", []Group{g("a", "")}, "no interface"},
		{"same address", []Group{g("a", "eth0", "10.0.0.1/24"), g("b", "eth0", "10.0.0.1/16")}, `10.0.0.1 is in group "a" and in group "b"`},
		{"multicast", []Group{g("a", "eth0", "224.0.0.18/32")}, "cannot be a floating address"},
		{"loopback", []Group{g("a", "eth0", "127.0.0.1/8")}, "cannot be a floating address"},
		{"link-local", []Group{g("a", "eth0", "fe80::1/64")}, "cannot be a floating address"},
		{"mapped", []Group{{Name: "a", Interface: "eth0", Addresses: []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr("::ffff:10.0.0.1"), 120)}}}, "plain address"},
		{"none", []Group{{Name: "a", Interface: "eth0", Addresses: []netip.Prefix{{}}}}, "plain address"},
	} {
		err := validateGroups(tc.groups)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}

func TestMissingCapabilities(t *testing.T) {
	all := uint32(math.MaxUint32)
	for _, tc := range []struct {
		effective uint32
		want      []string
	}{
		{all, nil},
		{all &^ (1 << unix.CAP_NET_RAW), []string{"CAP_NET_RAW ("}},
		{all &^ (1 << unix.CAP_NET_ADMIN), []string{"CAP_NET_ADMIN ("}},
		{0, []string{"CAP_NET_ADMIN (", "CAP_NET_RAW (", "AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW", "run as root"}},
	} {
		err := missing(tc.effective)
		if errors.Is(err, ErrNoCapability) != (tc.want != nil) {
			t.Errorf("%#x: %v", tc.effective, err)
		}
		for _, w := range tc.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%#x: %v, want %q in it", tc.effective, err, w)
			}
		}
	}
}

func TestSenderFor(t *testing.T) {
	have := []placed{
		{1, netip.MustParsePrefix("10.9.0.9/24")}, // another interface
		{2, netip.MustParsePrefix("10.9.0.50/32")},
		{2, netip.MustParsePrefix("10.9.0.2/24")},
		{2, netip.MustParsePrefix("10.9.0.1/24")},
		{2, netip.MustParsePrefix("10.0.0.1/8")},
		{2, netip.MustParsePrefix("fe80::1/64")},
		{2, netip.MustParsePrefix("fd09::50/128")},
	}
	for target, want := range map[string]string{
		"10.9.0.254":  "10.9.0.1",
		"10.9.0.1":    "10.9.0.2",
		"10.200.0.1":  "10.0.0.1",
		"192.168.0.1": "invalid IP",
		"fd09::1":     "fe80::1",
	} {
		if got := senderFor(have, 2, netip.MustParseAddr(target)).String(); got != want {
			t.Errorf("sender for %s: %s, want %s", target, got, want)
		}
	}
}

// Every kind and reason has a name: a number in a log is a missing case.
func TestNames(t *testing.T) {
	for k := AddressLost; k <= WatchError; k++ {
		if strings.Contains(k.String(), "(") {
			t.Errorf("event kind %d has no name", k)
		}
	}
	for r := sent; r <= dropNoLink; r++ {
		if strings.Contains(r.String(), "(") {
			t.Errorf("drop reason %d has no name", r)
		}
	}
}
