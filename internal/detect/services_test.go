package detect

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hbagent/hbagent/pkg/checks"
)

func listen(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func tcp(addr, command, unit string) Listener {
	return Listener{Addr: netip.MustParseAddrPort(addr), Command: command, Unit: unit}
}

// world answers questions: what is not in it fails.
func world(answers map[string]string, servers map[string]string) Options {
	return Options{
		Probe: func(_ context.Context, s checks.Spec) checks.Result {
			at := s.URL + s.Address
			said, ok := answers[at]
			if s.Body != "" && !strings.HasPrefix(said, strings.TrimPrefix(s.Body, "^")) {
				ok = false
			}
			if s.Type == "apache" && strings.HasSuffix(at, "?auto") && !strings.Contains(said, "workers") {
				ok = false
			}
			if !ok && said == "" {
				said = "404 Not Found"
			}
			return checks.Result{OK: ok, Message: said}
		},
		Server: func(_ context.Context, url string) string { return servers[url] },
	}
}

func TestServices(t *testing.T) {
	const status = "http://127.0.0.1/server-status?auto"
	for name, tt := range map[string]struct {
		listeners []Listener
		o         Options
		want      []Service
	}{
		"nothing": {nil, world(nil, nil), nil},
		"Apache with mod_status": {
			[]Listener{tcp("[::]:443", "apache2", "apache2.service"), tcp("[::]:80", "apache2", "apache2.service")},
			world(map[string]string{status: "1 busy, 4 idle workers"}, nil),
			[]Service{{Name: "apache", Type: "apache", URL: status, Unit: "apache2.service", Program: "apache2", Listens: "*:443, *:80", Anywhere: true,
				Said: "mod_status answers"}},
		},
		"Apache without": {
			[]Listener{tcp("0.0.0.0:8080", "httpd", "")},
			world(map[string]string{"http://127.0.0.1:8080/": "200 OK"}, nil),
			[]Service{{Name: "apache", Type: "apache", URL: "http://127.0.0.1:8080/", Program: "httpd", Listens: "*:8080", Anywhere: true, Said: "the page / answers: 200 OK"}},
		},
		"Apache whose page is forbidden": {
			[]Listener{tcp("0.0.0.0:80", "apache2", "")}, world(nil, nil),
			[]Service{{Name: "apache", Type: "tcp", Address: "127.0.0.1:80", Program: "apache2", Listens: "*:80", Anywhere: true,
				Said: "the page / does not answer well: 404 Not Found"}},
		},
		"Apache on one address": {
			[]Listener{tcp("10.0.0.11:80", "apache2", "")}, world(map[string]string{"http://10.0.0.11/": "200 OK"}, nil),
			[]Service{{Name: "apache", Type: "apache", URL: "http://10.0.0.11/", Program: "apache2", Listens: "10.0.0.11:80", Here: true,
				Said: "the page / answers: 200 OK"}},
		},
		"nginx with stub_status": {
			[]Listener{tcp("0.0.0.0:80", "nginx", ""), tcp("[::]:80", "nginx", "")},
			world(map[string]string{"http://127.0.0.1/stub_status": "Active connections: 1", "http://127.0.0.1/nginx_status": "a page of the site"}, nil),
			[]Service{{Name: "nginx", Type: "nginx", URL: "http://127.0.0.1/stub_status", Program: "nginx", Listens: "*:80", Anywhere: true,
				Said: "stub_status answers"}},
		},
		"hidden programs": {
			[]Listener{tcp("0.0.0.0:80", "", ""), tcp("0.0.0.0:3306", "", ""), tcp("127.0.0.1:11211", "", ""), tcp("0.0.0.0:22", "", "")},
			world(map[string]string{"http://127.0.0.1/": "200 OK", "127.0.0.1:11211": "version 1.6"}, map[string]string{"http://127.0.0.1/": "nginx/1.22.1"}),
			[]Service{
				{Name: "nginx", Type: "nginx", URL: "http://127.0.0.1/", Listens: "*:80", Anywhere: true, Said: "the page / answers: 200 OK"},
				{Name: "mysql", Type: "mysql", Listens: "*:3306", Anywhere: true},
				{Name: "memcached", Type: "memcached", Address: "127.0.0.1:11211", Listens: "127.0.0.1:11211", Said: "it answers"},
			},
		},
		"MariaDB and its socket": {
			[]Listener{tcp("127.0.0.1:3306", "mariadbd", "mariadb.service"), {Path: "/run/mysqld/mysqld.sock", Command: "mariadbd", Unit: "mariadb.service"}},
			world(nil, nil),
			[]Service{{Name: "mysql", Type: "mysql", Socket: "/run/mysqld/mysqld.sock", Unit: "mariadb.service", Program: "mariadbd",
				Listens: "127.0.0.1:3306, /run/mysqld/mysqld.sock"}},
		},
		"memcached on a Unix socket": {[]Listener{{Path: "/run/memcached.sock", Command: "memcached"}}, world(nil, nil), nil},
		"a proxy, and other units": {
			[]Listener{tcp("0.0.0.0:443", "haproxy", "haproxy.service"), tcp("0.0.0.0:22", "sshd", "ssh.service"), tcp("0.0.0.0:25", "master", "postfix@-.service"),
				tcp("127.0.0.1:5432", "postgres", "postgresql.service"), {Path: "/run/php/php8.2-fpm.sock", Command: "php-fpm8.2", Unit: "php8.2-fpm.service"}},
			world(nil, nil),
			[]Service{
				{Name: "haproxy", Type: "tcp", Address: "127.0.0.1:443", Unit: "haproxy.service", Program: "haproxy", Listens: "*:443", Anywhere: true,
					Said: "the page / does not answer well: 404 Not Found"},
				{Name: "postfix--", Type: "systemd", Unit: "postfix@-.service", Program: "master", Listens: "*:25", Anywhere: true},
				{Name: "php8.2-fpm", Type: "systemd", Unit: "php8.2-fpm.service", Program: "php-fpm8.2", Listens: "/run/php/php8.2-fpm.sock"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, services(t.Context(), tt.listeners, tt.o)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLookHere(t *testing.T) {
	m, err := Look(t.Context(), Options{SkipServices: true})
	if err != nil || m.Hostname == "" || len(m.Network.Links) == 0 {
		t.Errorf("got %+v, %v", m, err)
	}
}

func TestNetwork(t *testing.T) {
	p := netip.MustParsePrefix
	n := Network{
		Links: []Link{
			{Name: "lo", Up: true, Loopback: true, Prefixes: []netip.Prefix{p("127.0.0.1/8"), p("10.0.0.77/16")}},
			{Name: "eth1", Up: true, Prefixes: []netip.Prefix{p("172.16.0.11/24")}},
			{Name: "eth0", Up: true, Prefixes: []netip.Prefix{p("10.0.0.50/32"), p("10.0.0.11/24"), p("fd00::11/64")}},
			{Name: "wide", Up: true, Prefixes: []netip.Prefix{p("10.0.9.1/8")}},
			{Name: "off", Prefixes: []netip.Prefix{p("192.168.1.1/24")}},
		},
		Gateways: []Gateway{{"eth0", netip.MustParseAddr("10.0.0.1")}},
	}
	links, networks := n.Containing(netip.MustParseAddr("10.0.0.60"))
	if len(links) != 2 || links[0].Name != "eth0" || links[1].Name != "wide" || networks[0] != p("10.0.0.11/24") {
		t.Errorf("10.0.0.60 is on %v %v", links, networks)
	}
	if _, networks := n.Containing(netip.MustParseAddr("10.0.0.50")); networks[0] != p("10.0.0.11/24") {
		t.Errorf("a floating address that is held right now is on %v: its own /32 connects it with nobody", networks)
	}
	if links, _ := n.Containing(netip.MustParseAddr("192.0.2.1")); links != nil {
		t.Errorf("192.0.2.1 is on %v", links)
	}
	if own := n.Own(); own[0] != p("10.0.0.11/24") || len(own) != 4 {
		t.Errorf("own: %v", own)
	}
	if gw, ok := n.GatewayOn(netip.MustParseAddr("10.0.0.50")); !ok || gw != netip.MustParseAddr("10.0.0.1") {
		t.Errorf("gateway: %v", gw)
	}
	if gw, ok := n.GatewayOn(netip.MustParseAddr("172.16.0.50")); ok {
		t.Errorf("a gateway on a network without: %v", gw)
	}
	if !n.Has(netip.MustParseAddr("fd00::11")) || n.Has(netip.MustParseAddr("fd00::12")) {
		t.Error("Has")
	}
}
