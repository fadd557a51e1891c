package setup

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/detect"
)

var update = flag.Bool("update", false, "write the golden files anew")

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func machine() detect.Machine {
	return detect.Machine{
		Hostname: "web1.shop.example",
		Network: detect.Network{
			Links: []detect.Link{
				{Name: "lo", Up: true, Loopback: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}},
				{Name: "ens18", Up: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.11/24"), netip.MustParsePrefix("fd00::11/64")}},
				{Name: "ens19", Up: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("172.16.0.11/16")}},
			},
			Gateways: []detect.Gateway{{Interface: "ens18", Addr: netip.MustParseAddr("10.0.0.1")}},
		},
		Services: []detect.Service{
			{Name: "apache", Type: "apache", URL: "http://127.0.0.1/server-status?auto", Program: "apache2", Listens: "*:80", Anywhere: true,
				Said: "mod_status answers"},
			{Name: "nginx", Type: "nginx", URL: "http://127.0.0.1:8080/", Program: "nginx", Listens: "127.0.0.1:8080", Said: "the page / answers: 200 OK"},
			{Name: "app", Type: "http", URL: "http://10.0.0.11:9000/", Program: "app", Listens: "10.0.0.11:9000", Here: true},
			{Name: "mysql", Type: "mysql", Socket: "/run/mysqld/mysqld.sock", Program: "mariadbd", Listens: "127.0.0.1:3306"},
			{Name: "memcached", Type: "memcached", Address: "127.0.0.1:11211", Program: "memcached", Listens: "127.0.0.1:11211"},
			{Name: "php8.2-fpm", Type: "systemd", Unit: "php8.2-fpm.service", Program: "php-fpm8.2", Listens: "/run/php/php8.2-fpm.sock"},
		},
	}
}

func empty() *Setup {
	return &Setup{File: "/etc/hbagent/hbagent.toml", KeyFile: "/etc/hbagent/gossip.key", DSNFile: "/etc/hbagent/mysql.dsn", Machine: machine()}
}

// filled has answered everything by its defaults.
func filled(t *testing.T, nodes ...string) *Setup {
	t.Helper()
	s := empty()
	must(t, s.SetCluster("shop"))
	for _, n := range nodes {
		must(t, s.AddNode(n))
	}
	must(t, s.AddAddress("10.0.0.50"))
	must(t, s.SetGroup(s.DefaultGroup()))
	must(t, s.SetOwners(strings.Join(s.DefaultOwners(), ",")))
	iface, doubt := s.DefaultInterface()
	if doubt != "" {
		t.Error(doubt)
	}
	must(t, s.SetInterface(iface))
	if len(nodes) == 2 {
		must(t, s.SetWitness(s.DefaultWitness()))
	}
	ttl, why := ProposeTTL(0, 0)
	must(t, s.SetTTL(config.ShortDuration(ttl), why))
	for _, c := range s.Propose() {
		must(t, s.TakeCheck(c))
	}
	return s
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(path, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// What comes out for a web server with everything on it, for the database server beside it, and for two machines.
func TestWholeConfigs(t *testing.T) {
	three := []string{"web1=10.0.0.11", "web2 10.0.0.12", "db1=10.0.0.13"}
	for name, setup := range map[string]func() *Setup{
		"web1": func() *Setup { return filled(t, three...) },
		"db1": func() *Setup {
			s := empty()
			s.Machine.Hostname, s.Machine.Services = "db1", s.Machine.Services[3:4]
			s2 := *s
			*s = *filledOn(t, &s2, three...)
			return s
		},
		"two": func() *Setup { return filled(t, three[:2]...) },
		"checks": func() *Setup {
			s := empty()
			s.Machine.Services = s.Machine.Services[:1]
			must(t, s.SetCluster("shop"))
			for _, n := range three {
				must(t, s.AddNode(n))
			}
			must(t, s.AddAddress("10.0.0.50/24"))
			must(t, s.AddAddress("fd00::50"))
			must(t, s.SetGroup("web"))
			must(t, s.SetOwners("web2 web1"))
			must(t, s.SetInterface("web1=eth0,web2=ens3"))
			must(t, s.SetTTL("500ms", ""))
			for _, c := range []string{"page=apache:http://127.0.0.1/alive@web1,web2", "db=mysql@db1", "cache=memcached", "ssh=tcp:127.0.0.1:22",
				"php=systemd:php-fpm@web1,web2", "load=exec:/usr/lib/nagios/plugins/check_load -w 5 -c 10", "cable=link:eth0", "gw=arp:10.0.0.1"} {
				must(t, s.AddCheck(c, true))
			}
			must(t, s.AddCheck("seen=http:http://127.0.0.1:8080/@web1,web2", false))
			for _, c := range s.Propose() {
				t.Errorf("proposed beside the check of the same type: %+v", c)
			}
			return s
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := setup().Draft()
			text, cfg, err := d.Check("x.toml")
			must(t, err)
			golden(t, name+".toml", text)
			for _, w := range cfg.Warnings {
				t.Error(w)
			}
		})
	}
}

func filledOn(t *testing.T, s *Setup, nodes ...string) *Setup {
	t.Helper()
	f := filled(t, nodes...)
	f.Machine, f.Checks = s.Machine, nil
	for _, c := range f.Propose() {
		must(t, f.TakeCheck(c))
	}
	return f
}

// Every answer is judged at once, and a bad one changes nothing.
func TestBadAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		answer func(s *Setup) error
		want   string
	}{
		"cluster, empty":       {func(s *Setup) error { return s.SetCluster("") }, "give a value"},
		"cluster, two words":   {func(s *Setup) error { return s.SetCluster("my shop") }, `"my shop" is not a name`},
		"node, no address":     {func(s *Setup) error { return s.AddNode("web3") }, "web1=10.0.0.11"},
		"node, empty":          {func(s *Setup) error { return s.AddNode("") }, "is not a node"},
		"node, bad address":    {func(s *Setup) error { return s.AddNode("web3=10.0.0.300") }, "is not an address"},
		"node, host name":      {func(s *Setup) error { return s.AddNode("web3=web3.example") }, "host names are not looked up"},
		"node, with length":    {func(s *Setup) error { return s.AddNode("web3=10.0.0.14/24") }, "leave the length away"},
		"node, twice":          {func(s *Setup) error { return s.AddNode("web1=10.0.0.14") }, "defined twice"},
		"node, address twice":  {func(s *Setup) error { return s.AddNode("web3=10.0.0.12") }, "two nodes have the address"},
		"node, other family":   {func(s *Setup) error { return s.AddNode("web3=fd00::13") }, "mix IPv4 and IPv6"},
		"node, bad name":       {func(s *Setup) error { return s.AddNode("web 3=10.0.0.14") }, "is not a name"},
		"node, a floating one": {func(s *Setup) error { return s.AddNode("web3=10.0.0.50") }, "10.0.0.50"},
		"address, no length":   {func(s *Setup) error { return s.AddAddress("192.0.2.7") }, "add the length of its network"},
		"address, a node's":    {func(s *Setup) error { return s.AddAddress("10.0.0.12/24") }, "10.0.0.12"},
		"address, twice":       {func(s *Setup) error { return s.AddAddress("10.0.0.50/24") }, "10.0.0.50"},
		"address, the network": {func(s *Setup) error { return s.AddAddress("10.0.0.0/24") }, "the address of the network itself"},
		"address, no address":  {func(s *Setup) error { return s.AddAddress("floating") }, "is not an address"},
		"address, empty":       {func(s *Setup) error { return s.AddAddress("") }, "is not an address"},
		"group":                {func(s *Setup) error { return s.SetGroup("a b") }, "is not a name"},
		"owners, unknown":      {func(s *Setup) error { return s.SetOwners("web1,wbe2") }, `did you mean "web2"?`},
		"owners, twice":        {func(s *Setup) error { return s.SetOwners("web1,web1") }, "stands twice"},
		"owners, none":         {func(s *Setup) error { return s.SetOwners(" , ") }, "give a value"},
		"interface, long":      {func(s *Setup) error { return s.SetInterface("a-very-long-name-for-it") }, "at most 15"},
		"interface, lacks one": {func(s *Setup) error { return s.SetInterface("web1=eth0") }, "names no interface for web2"},
		"interface, no node":   {func(s *Setup) error { return s.SetInterface("web1=eth0,web2=eth0,web9=eth0") }, `"web9" is not defined`},
		"interface, half":      {func(s *Setup) error { return s.SetInterface("web1=eth0,eth1") }, "one name for all nodes"},
		"witness, of three":    {func(s *Setup) error { return s.SetWitness("10.0.0.1") }, "there are 3"},
		"ttl, bare":            {func(s *Setup) error { return s.SetTTL("3", "") }, "a number with a unit"},
		"ttl, long":            {func(s *Setup) error { return s.SetTTL("5m", "") }, "out of bounds"},
		"check, no type":       {func(s *Setup) error { return s.AddCheck("apache", true) }, "NAME=TYPE@NODE"},
		"check, unknown type":  {func(s *Setup) error { return s.AddCheck("a=apahce", true) }, "there are apache, arp"},
		"check, unknown node":  {func(s *Setup) error { return s.AddCheck("a=apache@web3", true) }, "is not defined"},
		"check, no nodes":      {func(s *Setup) error { return s.AddCheck("a=apache@", true) }, "names no node"},
		"check, no target":     {func(s *Setup) error { return s.AddCheck("a=tcp", true) }, "address"},
		"check, bad target":    {func(s *Setup) error { return s.AddCheck("a=http:ftp://x/", true) }, "url"},
		"check, twice":         {func(s *Setup) error { return s.AddCheck("apache=tcp:127.0.0.1:1", true) }, "defined twice"},
	} {
		t.Run(name, func(t *testing.T) {
			s := filled(t, "web1=10.0.0.11", "web2=10.0.0.12", "db1=10.0.0.13")
			before := s.Draft()
			err := tt.answer(s)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
			if diff := cmp.Diff(before, s.Draft(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("a bad answer changed something:\n%s", diff)
			}
		})
	}
	two := filled(t, "web1=10.0.0.11", "web2=10.0.0.12")
	for answer, want := range map[string]string{"": "give a value", "gateway": "is not an address", "10.0.0.12": "itself"} {
		if err := two.SetWitness(answer); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("witness %q: %v", answer, err)
		}
	}
	must(t, two.SetWitness(None))
}

func TestDefaults(t *testing.T) {
	s := empty()
	if got := s.DefaultCluster() + " " + s.DefaultNode(); got != "shop web1=10.0.0.11" {
		t.Errorf("got %q", got)
	}
	s.Machine.Hostname = "10"
	if got := s.DefaultCluster(); got != "site" {
		t.Errorf("got %q", got)
	}
	s.Machine.Network = detect.Network{}
	if got := s.DefaultNode(); got != "" {
		t.Errorf("a node without an address: %q", got)
	}
	for nodes, want := range map[string]string{
		"web1 web2 db1":        "web: web1 web2",
		"db1 db2 web1 web2":    "web: web1 web2",
		"alpha beta gamma":     "web: alpha beta gamma",
		"proxy-1 proxy-2 mon":  "proxy: proxy-1 proxy-2",
		"web1 other":           "web: web1 other",
		"db01 db02 monitoring": "db: db01 db02",
	} {
		s := empty()
		for i, n := range strings.Fields(nodes) {
			must(t, s.AddNode(n+"=10.0.0."+string(rune('1'+i))))
		}
		s.Group = s.DefaultGroup()
		if got := s.Group + ": " + strings.Join(s.DefaultOwners(), " "); got != want {
			t.Errorf("%s: got %q, want %q", nodes, got, want)
		}
	}
}

func TestDefaultInterface(t *testing.T) {
	for addresses, want := range map[string]string{
		"10.0.0.50/24":               "ens18 ",
		"10.0.0.50/24 fd00::50/64":   "ens18 ",
		"172.16.9.9/16":              "ens19 ",
		"172.16.9.9/24":              "ens19 the network of 172.16.9.9/24 on this machine is 172.16.0.0/16",
		"10.0.0.50/24 172.16.9.9/16": "ens18 the addresses belong to different interfaces (ens18, ens19): make a group of each",
		"192.0.2.9/24":               "ens18 192.0.2.9 is in none of this machine's networks (10.0.0.0/24 on ens18, fd00::/64 on ens18, 172.16.0.0/16 on ens19)",
	} {
		s := empty()
		must(t, s.AddNode("web1=10.0.0.11"))
		must(t, s.AddNode("web2=10.0.0.12"))
		s.Addresses = strings.Fields(addresses)
		name, doubt := s.DefaultInterface()
		if got := name + " " + doubt; got != want {
			t.Errorf("%s: got %q, want %q", addresses, got, want)
		}
	}
	s := empty()
	s.Machine.Network = detect.Network{}
	s.Addresses = []string{"10.0.0.50/24"}
	if name, doubt := s.DefaultInterface(); name != "" || doubt == "" {
		t.Errorf("got %q %q", name, doubt)
	}
}

func TestProposeTTL(t *testing.T) {
	for _, tt := range []struct{ stall, trip, want time.Duration }{
		{0, 0, time.Second},
		{5 * time.Millisecond, 300 * time.Microsecond, time.Second},
		{100 * time.Millisecond, 50 * time.Millisecond, time.Second},
		{101 * time.Millisecond, 0, time.Second},
		{130 * time.Millisecond, 0, 2 * time.Second},
		{0, 51 * time.Millisecond, 2 * time.Second},
		{0, 100 * time.Millisecond, 2 * time.Second},
		{0, 500 * time.Millisecond, 10 * time.Second},
		{0, time.Hour, 30 * time.Second},
		{time.Second, 200 * time.Millisecond, 10 * time.Second},
	} {
		got, why := ProposeTTL(tt.stall, tt.trip)
		if got != tt.want || why == "" {
			t.Errorf("stall %v, trip %v: got %v (%s), want %v", tt.stall, tt.trip, got, why, tt.want)
		}
	}
}

// A config that stands there gives its generation on: one more if the voters change.
func TestPrior(t *testing.T) {
	old := filled(t, "web1=10.0.0.11", "web2=10.0.0.12", "db1=10.0.0.13")
	d := old.Draft()
	d.Generation, d.Port = 4, 7000
	prior, err := d.Parsed("x")
	must(t, err)
	for nodes, want := range map[string]uint64{"web1 web2 db1": 4, "web1 web2 db1 web3": 5, "web1 web2": 5} {
		s := empty()
		s.Prior = prior
		for i, n := range strings.Fields(nodes) {
			must(t, s.AddNode(n+"=10.0.0.1"+string(rune('1'+i))))
		}
		if got := s.Draft(); got.Generation != want || got.Port != 7000 || s.DefaultCluster() != "shop" {
			t.Errorf("%s: generation %d, port %d, cluster %s; want generation %d", nodes, got.Generation, got.Port, s.DefaultCluster(), want)
		}
	}
}
