package detect

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/hbagent/hbagent/pkg/checks"
)

// A Service is something that runs here and that a check could watch.
type Service struct {
	Name    string // of the check: "apache", "php8.2-fpm"
	Type    string // of the check
	URL     string // apache, nginx, http
	Address string // memcached, tcp: host:port
	Socket  string // mysql: its Unix socket; empty if it is not known
	Unit    string // systemd: what a check would ask; else the unit it runs in, if that is known
	Program string // the command, if that is known
	Listens string // where, for people: "*:80, *:443"
	// Anywhere: it takes connections to floating addresses.
	Anywhere bool
	// Here: it listens on an address of this machine only, so the same check is wrong on every other.
	Here bool
	// Said is what it answered, for people: nothing that is another at the next look.
	Said string
}

// nginxPages are where its status usually is: nothing is set up by the packages.
var nginxPages = []string{"nginx_status", "stub_status", "basic_status", "status"}

// Chosen by us: ports on which a web server is looked for behind a program that is not known.
var webPorts = []uint16{80, 443, 8080, 8443}

// dull are units that belong to every machine and serve no clients of a floating address.
var dull = []string{"ssh.", "sshd.", "ssh@", "systemd-", "hbagent.", "keepalived.", "rpcbind.", "cups", "chrony", "ntp", "snapd.", "docker.", "containerd.",
	"NetworkManager", "avahi", "dbus", "polkit", "node_exporter", "prometheus-node-exporter", "zabbix-agent", "nrpe", "nagios-nrpe", "getty", "init.scope"}

// maxOthers units are told of, beside the services that are known.
const maxOthers = 8

// services makes services of listeners: those that hbagent knows, asked; other web servers; other units.
func services(ctx context.Context, listeners []Listener, o Options) []Service {
	byKind := map[string][]Listener{}
	var others []Listener
	for _, l := range listeners {
		if kind := kindOf(ctx, l, o); kind != "" {
			byKind[kind] = append(byKind[kind], l)
		} else {
			others = append(others, l)
		}
	}
	var found []Service
	for _, kind := range []string{"apache", "nginx"} {
		if ls := byKind[kind]; len(ls) > 0 {
			found = append(found, webServer(ctx, kind, ls, o))
		}
	}
	found = append(found, otherWeb(ctx, others, o)...)
	if ls := byKind["mysql"]; len(ls) > 0 {
		found = append(found, database(ls))
	}
	if ls := inOrder(byKind["memcached"]); len(ls) > 0 { // a check cannot ask a Unix socket
		found = append(found, cache(ctx, ls, o))
	}
	return append(found, otherUnits(others, found)...)
}

// kindOf says which service a socket belongs to: by its program, and where that is hidden by port and answer.
func kindOf(ctx context.Context, l Listener, o Options) string {
	switch l.Command {
	case "apache2", "httpd":
		return "apache"
	case "nginx":
		return "nginx"
	case "mysqld", "mariadbd":
		if l.Path != "" || l.Addr.Port() != 33060 { // not MySQL's X protocol
			return "mysql"
		}
	case "memcached":
		return "memcached"
	case "":
		switch {
		case l.Path != "":
		case l.Addr.Port() == 3306:
			return "mysql"
		case l.Addr.Port() == 11211:
			return "memcached"
		case slices.Contains(webPorts, l.Addr.Port()):
			server := strings.ToLower(o.Server(ctx, root(l)))
			if strings.HasPrefix(server, "apache") {
				return "apache"
			} else if strings.HasPrefix(server, "nginx") {
				return "nginx"
			}
		}
	}
	return ""
}

// local is how a program of this machine reaches the socket: as host:port.
func local(l Listener) string {
	addr := l.Addr.Addr()
	if addr.IsUnspecified() {
		addr = netip.MustParseAddr("127.0.0.1") // a socket of :: takes IPv4 too, unless told otherwise
	}
	return net.JoinHostPort(addr.String(), strconv.Itoa(int(l.Addr.Port())))
}

// root is the first page of a web server, for a program of this machine.
func root(l Listener) string { return "http://" + strings.TrimSuffix(local(l), ":80") + "/" }

// describe fills in what all kinds have.
func describe(s *Service, ls []Listener) {
	var where []string
	s.Here = true
	for _, l := range ls {
		s.Unit, s.Program = cmp.Or(s.Unit, l.Unit), cmp.Or(s.Program, l.Command)
		s.Anywhere = s.Anywhere || l.Path == "" && l.Anywhere()
		s.Here = s.Here && l.Path == "" && !l.Anywhere() && !l.Addr.Addr().IsLoopback()
		text := cmp.Or(l.Path, l.Addr.String())
		if l.Path == "" && l.Anywhere() {
			text = fmt.Sprintf("*:%d", l.Addr.Port())
		}
		if !slices.Contains(where, text) {
			where = append(where, text)
		}
	}
	s.Listens = strings.Join(where, ", ")
}

// inOrder puts what is best to ask first: plain HTTP before TLS, everywhere before loopback before one address.
func inOrder(ls []Listener) []Listener {
	rank := func(l Listener) int {
		r := 0
		switch {
		case l.Addr.Addr().IsUnspecified():
		case l.Addr.Addr().IsLoopback():
			r = 1
		default:
			r = 2
		}
		if l.Addr.Port() == 443 || l.Addr.Port() == 8443 {
			r += 10
		} else if l.Addr.Port() != 80 {
			r += 5
		}
		return r
	}
	ls = slices.DeleteFunc(slices.Clone(ls), func(l Listener) bool { return l.Path != "" })
	slices.SortStableFunc(ls, func(a, b Listener) int { return cmp.Or(rank(a)-rank(b), int(a.Addr.Port())-int(b.Addr.Port())) })
	return ls
}

// webServer finds the page that tells most: the server's own status, else its first page, else that it connects.
func webServer(ctx context.Context, kind string, ls []Listener, o Options) Service {
	s := Service{Name: kind, Type: kind}
	describe(&s, ls)
	ask := func(url, body string) bool {
		r := o.Probe(ctx, checks.Spec{Name: kind, Type: kind, URL: url, Body: body})
		if r.OK {
			s.URL = url
		}
		return r.OK
	}
	tcp := inOrder(ls)
	for _, l := range tcp {
		if kind == "apache" && ask(root(l)+"server-status?auto", "") {
			s.Said = "mod_status answers"
			return s
		}
		if kind == "nginx" {
			for _, page := range nginxPages {
				if ask(root(l)+page, "^Active connections:") {
					s.Said = "stub_status answers"
					return s
				}
			}
		}
	}
	return onePage(ctx, s, tcp, o)
}

// onePage asks for the first page of a web server, and falls back to a connection.
func onePage(ctx context.Context, s Service, tcp []Listener, o Options) Service {
	for i, l := range tcp {
		r := o.Probe(ctx, checks.Spec{Name: s.Name, Type: "http", URL: root(l)})
		if r.OK {
			s.URL = root(l)
			s.Said = "the page / answers: " + r.Message
			return s
		}
		if i == 0 {
			s.Said = "the page / does not answer well: " + r.Message
		}
	}
	if len(tcp) > 0 {
		s.Type, s.URL, s.Address = "tcp", "", local(tcp[0])
	}
	return s
}

// otherWeb are programs that are not known and serve the ports of the web to everybody: a proxy, for example.
func otherWeb(ctx context.Context, others []Listener, o Options) []Service {
	byProgram := map[string][]Listener{}
	var order []string
	for _, l := range others {
		if l.Path != "" || !l.Anywhere() || !slices.Contains(webPorts, l.Addr.Port()) {
			continue
		}
		if byProgram[l.Command] == nil {
			order = append(order, l.Command)
		}
		byProgram[l.Command] = append(byProgram[l.Command], l)
	}
	var found []Service
	for _, program := range order {
		s := Service{Name: checkName(cmp.Or(program, "web")), Type: "http"}
		describe(&s, byProgram[program])
		found = append(found, onePage(ctx, s, inOrder(byProgram[program]), o))
	}
	return found
}

func database(ls []Listener) Service {
	s := Service{Name: "mysql", Type: "mysql"}
	describe(&s, ls)
	for _, l := range ls {
		if l.Path != "" && s.Socket == "" && !strings.Contains(l.Path, "mysqlx") {
			s.Socket = l.Path
		}
	}
	s.Here = false // its socket is the same everywhere
	return s
}

func cache(ctx context.Context, ls []Listener, o Options) Service {
	s := Service{Name: "memcached", Type: "memcached"}
	describe(&s, ls)
	for _, l := range ls {
		s.Address = local(l)
		r := o.Probe(ctx, checks.Spec{Name: s.Name, Type: s.Type, Address: s.Address})
		if s.Said = "it answers"; r.OK {
			break
		}
		s.Said = "it does not answer: " + r.Message
	}
	return s
}

// otherUnits are units with a socket for others (or PHP's own) that nothing above has taken.
func otherUnits(others []Listener, found []Service) []Service {
	var units []Service
	for _, l := range others {
		worth := l.Path == "" && !l.Addr.Addr().IsLoopback() || strings.Contains(l.Unit, "fpm")
		taken := func(s Service) bool { return s.Unit == l.Unit }
		if l.Unit == "" || !worth || slices.ContainsFunc(found, taken) || slices.ContainsFunc(units, taken) ||
			slices.ContainsFunc(dull, func(d string) bool { return strings.HasPrefix(l.Unit, d) }) {
			continue
		}
		if len(units) == maxOthers {
			break
		}
		name := checkName(strings.TrimSuffix(l.Unit, ".service"))
		s := Service{Name: name, Type: "systemd"}
		describe(&s, []Listener{l})
		s.Unit, s.Here = l.Unit, false
		units = append(units, s)
	}
	return units
}

// checkName makes a name for a check of what is one already, nearly: a unit may have "@" or "\" in it.
func checkName(s string) string {
	name := strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)) {
			return r
		}
		return '-'
	}, s)
	name = strings.TrimLeft(name, "._-")
	return cmp.Or(name[:min(len(name), 40)], "service")
}
