package doctor

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"

	"github.com/hbagent/hbagent/internal/config"
)

// judgeServices: the services behind a group must listen where its clients ask.
func judgeServices(s *sheet, f *Facts) {
	if f.SockWhy != "" {
		s.skip("service-address", "", f.SockWhy)
		return
	}
	groups := f.mine()
	for _, g := range groups {
		clean := true
		for _, name := range g.Checks {
			i := slices.IndexFunc(f.Config.Checks, func(c config.Check) bool { return c.Name == name })
			if i < 0 || !slices.Contains(f.Config.Checks[i].Nodes, f.Node) {
				continue
			}
			clean = judgeService(s, f, g, f.Config.Checks[i]) && clean
		}
		if clean {
			s.ok("service-address", g.Name, "what the checks of %s ask is there for its addresses, too", g.Name)
		}
	}
	judgeNonLocal(s, f)
}

// portOf is the local port that a check asks, 0 for none, and whether it is a web server, which is there for others.
func portOf(c config.Check) (port uint16, web bool) {
	number := func(text string) uint16 {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return 0
		}
		return uint16(n)
	}
	switch c.Type {
	case "apache", "nginx", "http":
		u, err := url.Parse(c.URL)
		switch {
		case err != nil:
			return 0, true
		case u.Port() != "":
			return number(u.Port()), true
		case u.Scheme == "https":
			return 443, true
		}
		return 80, true
	case "tcp", "memcached":
		_, text, err := net.SplitHostPort(c.Address)
		if err != nil {
			return 0, false
		}
		return number(text), false
	case "mysql":
		return 3306, false
	}
	return 0, false
}

func judgeService(s *sheet, f *Facts, g config.Group, c config.Check) (clean bool) {
	port, web := portOf(c)
	if port == 0 {
		return true
	}
	var bound []netip.Addr
	for _, k := range f.Sockets {
		if k.Addr.Port() == port {
			bound = append(bound, k.Addr.Addr())
		}
	}
	if len(bound) == 0 {
		return true // the check says so
	}
	local := !slices.ContainsFunc(bound, func(a netip.Addr) bool { return !a.IsLoopback() })
	if local && !web {
		return true // on purpose: for programs of this machine
	}
	clean = true
	for _, p := range g.Addresses {
		a := p.Addr()
		// [::] serves IPv4, too, unless told otherwise; /proc does not say.
		serves := func(b netip.Addr) bool {
			return b == a || b.IsUnspecified() && (b.Is6() || a.Is4())
		}
		if !slices.ContainsFunc(bound, serves) {
			clean = false
			s.problem("service-address", a.String(), "let it listen on every address (Listen "+strconv.Itoa(int(port))+", bind-address = *), or on "+a.String()+" with net.ipv4.ip_nonlocal_bind=1",
				"what check %s asks at port %d listens on %s alone: clients of %s are refused", c.Name, port, list(unique(bound)), a)
		}
	}
	return clean
}

func unique(addrs []netip.Addr) []netip.Addr {
	out := slices.Clone(addrs)
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// judgeNonLocal: who binds a floating address cannot start while another node owns it.
func judgeNonLocal(s *sheet, f *Facts) {
	groups := floating(f.Config)
	clean := true
	for _, k := range f.Sockets {
		a := k.Addr.Addr()
		if groups[a] == "" || f.NonLocal[a.Is6()] {
			continue
		}
		clean = false
		key := "net.ipv4.ip_nonlocal_bind"
		if a.Is6() {
			key = "net.ipv6.ip_nonlocal_bind"
		}
		s.warn("nonlocal-bind", k.Addr.String(), "sysctl -w "+key+"=1, and in /etc/sysctl.d; or let it listen on every address",
			"a service listens on %s itself: it cannot start while another node owns the address", k.Addr)
	}
	if clean {
		s.ok("nonlocal-bind", "", "no service needs the address to be here to start")
	}
}
