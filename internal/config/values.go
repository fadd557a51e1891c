package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// This file judges single values. Each method reports what is wrong and returns a
// value to go on with.

func (v *validator) number(key string, s *setting[int64], def, low, high int64) int64 {
	n := s.or(def)
	if s.given() && (n < low || n > high) {
		hint := fmt.Sprintf("write a number from %d to %d; the default is %d", low, high, def)
		if key == "generation" {
			hint = "count from 1, and add one each time the list of voters changes"
		}
		v.refuse(s.at, fmt.Sprintf("%s = %d is out of bounds", key, n), hint)
		return def
	}
	return n
}

func (v *validator) duration(key string, s *setting[time.Duration], def, low, high time.Duration) time.Duration {
	d := s.or(def)
	if s.given() && (d < low || d > high) {
		v.refuse(s.at, fmt.Sprintf("%s = %s is out of bounds", key, quote(shortDuration(d))),
			fmt.Sprintf("write a duration from %s to %s; the default is %s", quote(shortDuration(low)), quote(shortDuration(high)), quote(shortDuration(def))))
		return def
	}
	return d
}

// shortDuration writes "10m" where time.Duration writes "10m0s".
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// address is an IP address of a machine, without port, zone or length.
func (v *validator) address(key string, s *setting[string]) (netip.Addr, bool) {
	if !s.given() {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(s.value)
	if err != nil {
		hint := `write an IPv4 or IPv6 address, as in "10.0.0.11" or "fd00::11"; host names are not looked up`
		if _, err := netip.ParseAddrPort(s.value); err == nil {
			hint = "leave the port away"
			if key == "address" {
				hint += "; it is the same on every node: port below [cluster]"
			}
		} else if pfx, err := netip.ParsePrefix(s.value); err == nil {
			hint = fmt.Sprintf("leave the length away: %s", quote(pfx.Addr().String()))
		}
		v.refuse(s.at, fmt.Sprintf("%s = %s is not an address", key, quote(s.value)), hint)
		return netip.Addr{}, false
	}
	if why := unfit(addr); why != "" {
		v.refuse(s.at, fmt.Sprintf("%s = %s is %s", key, quote(s.value), why), "give the address of one machine on the network the nodes share")
		return netip.Addr{}, false
	}
	return addr, true
}

// unfit says why an address cannot be one machine's address, or "".
func unfit(a netip.Addr) string {
	switch {
	case a.Is4In6():
		return "an IPv4 address in IPv6 form"
	case a.Zone() != "":
		return "an address with a zone"
	case a.IsUnspecified():
		return "the address of no machine"
	case a.IsMulticast():
		return "a multicast address"
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "the broadcast address"
	}
	return ""
}

// usualDirs are named in hints; the default is /etc/hbagent.
var usualDirs = map[string]string{
	"command":    "/usr/lib/nagios/plugins",
	"on_active":  "/etc/hbagent/hooks",
	"on_standby": "/etc/hbagent/hooks",
	"on_fault":   "/etc/hbagent/hooks",
	"source":     "/etc/hbagent/templates",
	"file":       "/var/lib/hbagent/templates",
	"check":      "/usr/sbin",
	"reload":     "/usr/bin",
}

// path is an absolute path, cleaned; "" if it is not given or wrong.
func (v *validator) path(key string, s *setting[string]) string {
	if !s.given() {
		return ""
	}
	switch {
	case !path.IsAbs(s.value):
		dir := cmp.Or(usualDirs[key], "/etc/hbagent")
		v.refuse(s.at, fmt.Sprintf("%s: %s is not an absolute path", key, quote(s.value)), "begin it with /, as in "+quote(path.Join(dir, path.Base("/"+s.value))))
	case strings.ContainsRune(s.value, 0):
		v.refuse(s.at, key+" has a NUL byte", "delete it")
	default:
		return path.Clean(s.value)
	}
	return ""
}

// iface is a name the kernel would accept (dev_valid_name, net/core/dev.c).
func (v *validator) iface(s *setting[string]) string {
	if !s.given() {
		return ""
	}
	const hint = "`ip link` shows the names of this machine's interfaces"
	bad := func(r rune) bool { return r == '/' || r == ':' || unicode.IsSpace(r) || !unicode.IsPrint(r) }
	switch {
	case s.value == "":
		v.refuse(s.at, "the interface's name is empty", hint)
	case len(s.value) > maxInterfaceName:
		v.refuse(s.at, fmt.Sprintf("%s has %d characters, an interface's name at most %d", quote(s.value), len(s.value), maxInterfaceName), hint)
	case s.value == ".", s.value == "..", strings.ContainsFunc(s.value, bad):
		v.refuse(s.at, quote(s.value)+" is not the name of an interface", hint)
	default:
		return s.value
	}
	return ""
}

// hostPort is host:port; the host may be a name.
func (v *validator) hostPort(key string, s *setting[string], example string) string {
	if !s.given() {
		return ""
	}
	// Not net.SplitHostPort: that would accept "[a]b:1" forms which Dial refuses later.
	host, port, ok := cutLast(s.value, ':')
	n, err := strconv.ParseUint(port, 10, 16)
	inner, bracketed := strings.CutPrefix(host, "[")
	if bracketed {
		inner, bracketed = strings.CutSuffix(inner, "]")
	}
	_, isName := netip.ParseAddr(inner)
	good := ok && err == nil && n > 0 && ((bracketed && isName == nil) || (!bracketed && goodName.MatchString(host)))
	if !good {
		v.refuse(s.at, fmt.Sprintf("%s = %s is not host:port", key, quote(s.value)), fmt.Sprintf("write %s = %s; an IPv6 address stands in brackets, [::1]:80", key, quote(example)))
		return ""
	}
	return s.value
}

func cutLast(s string, sep byte) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// ShortDuration writes a duration as the file has it: "10m" where time.Duration writes "10m0s".
func ShortDuration(d time.Duration) string { return shortDuration(d) }
