package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// maxHostName is of RFC 1035, section 2.3.4.
const maxHostName = 255

// Chosen by us.
const (
	maxListen = 8 // addresses on one node: two families, and some networks
	maxHosts  = 16

	defaultListenPort = 9746 // in hints
)

const listenHint = `write listen = "127.0.0.1:9746" for this machine only, or "0.0.0.0:9746" for every IPv4 address of it`

func (v *validator) http(raw *rawHTTP) {
	if v.raw.spoiled["http"] {
		return
	}
	v.listen(raw)
	for _, s := range raw.Hosts.or(nil) {
		if !s.given() {
			continue
		}
		host := strings.ToLower(s.value)
		switch {
		case len(s.value) > maxHostName || !goodName.MatchString(s.value):
			v.refuse(s.at, quote(s.value)+" is not a host name", `write it as in the browser's address, without http:// and port: "status.example.com"`)
		case slices.Contains(v.cfg.HTTP.Hosts, host):
			v.refuse(s.at, "the host name "+quote(s.value)+" stands twice", "delete one of the two")
		default:
			v.cfg.HTTP.Hosts = append(v.cfg.HTTP.Hosts, host)
		}
	}
	switch {
	case len(raw.Hosts.value) > maxHosts:
		v.refuse(raw.Hosts.at, fmt.Sprintf("%d host names, at most %d are allowed", len(raw.Hosts.value), maxHosts), "keep the names that browsers use")
	case raw.Hosts.given() && !raw.Listen.written():
		v.warn(raw.Hosts.key, "hosts without listen: there is no status page", listenHint)
	}
}

func (v *validator) listen(raw *rawHTTP) {
	if !raw.Listen.given() {
		return
	}
	if raw.Listen.value.nodes == nil {
		v.cfg.HTTP.Listen = v.listenOn(raw.Listen.value.all, raw.Listen.at, "")
		return
	}
	v.cfg.HTTP.ListenNodes = map[string][]netip.AddrPort{}
	for _, nl := range raw.Listen.value.nodes {
		if !v.refers("node", setting[string]{value: nl.node, state: given, key: nl.key, at: nl.key}, v.nodeNames()) || !nl.on.given() {
			continue
		}
		v.cfg.HTTP.ListenNodes[nl.node] = v.listenOn(nl.on.value, nl.on.at, nl.node)
	}
}

// listenOn judges the addresses of one node; of every node, if node is empty.
func (v *validator) listenOn(list texts, at span, node string) []netip.AddrPort {
	var out []netip.AddrPort
	var places []span
	for _, s := range list {
		ap, ok := v.addrPort("listen", s)
		if !ok {
			continue
		}
		if i := slices.IndexFunc(out, func(other netip.AddrPort) bool { return overlap(ap, other) }); i >= 0 {
			v.clash(s.at, fmt.Sprintf("%s and %s overlap: the second cannot be bound", out[i], ap), "delete one of the two", places[i], "the other")
			continue
		}
		v.fitsCluster(s, ap, node)
		out, places = append(out, ap), append(places, s.at)
	}
	if len(list) > maxListen {
		v.refuse(at, fmt.Sprintf("%d addresses to listen on, at most %d are allowed", len(list), maxListen), `write "0.0.0.0:9746" or "[::]:9746" for every address of the machine`)
	}
	return out
}

// fitsCluster refuses what cannot be bound on the node, or not always.
func (v *validator) fitsCluster(s setting[string], ap netip.AddrPort, node string) {
	if _, floats := v.vips[ap.Addr()]; floats {
		v.clash(s.at, "listen on the floating address "+ap.Addr().String()+" works on its owner only",
			"write 0.0.0.0 or [::]: that answers on it, too, while the node owns it", v.vips[ap.Addr()].at, "floats")
		return
	}
	for i, n := range v.cfg.Nodes {
		if node != "" && n.Name != node {
			continue
		}
		if mine := netip.AddrPortFrom(n.Address, uint16(v.cfg.Cluster.Port)); n.Address.IsValid() && overlap(ap, mine) {
			v.refuse(s.at, fmt.Sprintf("the agents themselves listen on %s", mine), "choose another port, as in "+quote(netip.AddrPortFrom(ap.Addr(), defaultListenPort).String()))
			return
		}
		if n.Address == ap.Addr() && node == "" && len(v.cfg.Nodes) > 1 {
			v.clash(s.at, ap.Addr().String()+" is the address of "+quote(n.Name)+" only, and every node is told to listen there",
				fmt.Sprintf("write a table: listen = { %s = %s }, with a line for each node that has a page", n.Name, quote(ap.String())),
				v.raw.Nodes[i].Address.at, "this node")
			return
		}
	}
}

// addrPort is an IP address and a port to listen on.
func (v *validator) addrPort(key string, s setting[string]) (netip.AddrPort, bool) {
	hint := listenHint
	ap, err := netip.ParseAddrPort(s.value)
	switch {
	case err == nil && ap.Port() == 0:
		v.refuse(s.at, fmt.Sprintf("%s = %s has no port", key, quote(s.value)), hint)
	case err == nil && (ap.Addr().Is4In6() || ap.Addr().Zone() != "" || ap.Addr().IsMulticast()):
		v.refuse(s.at, fmt.Sprintf("%s = %s is not an address to listen on", key, quote(s.value)), hint)
	case err == nil:
		return ap, true
	default:
		if addr, err := netip.ParseAddr(s.value); err == nil {
			hint = "add the port: " + quote(netip.AddrPortFrom(addr, defaultListenPort).String())
		} else if host, port, ok := cutLast(s.value, ':'); ok {
			n, err := strconv.ParseUint(port, 10, 16)
			switch {
			case err != nil:
			case host == "" || host == "*":
				hint = fmt.Sprintf("for every IPv4 address of the machine write %s, for IPv6, too, %s", quote(fmt.Sprintf("0.0.0.0:%d", n)), quote(fmt.Sprintf("[::]:%d", n)))
			case strings.EqualFold(host, "localhost"):
				hint = "write " + quote(fmt.Sprintf("127.0.0.1:%d", n))
			default:
				hint = "host names are not looked up: " + hint
			}
		}
		v.refuse(s.at, fmt.Sprintf("%s = %s is not an address with a port", key, quote(s.value)), hint)
	}
	return netip.AddrPort{}, false
}

// overlap tells that two sockets cannot both be bound: [::] takes the IPv4 addresses, too.
func overlap(a, b netip.AddrPort) bool {
	covers := func(x, y netip.Addr) bool {
		return x == y || x.IsUnspecified() && (x.Is6() || y.Is4())
	}
	return a.Port() == b.Port() && (covers(a.Addr(), b.Addr()) || covers(b.Addr(), a.Addr()))
}
