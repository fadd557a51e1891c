package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/agent"
	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/control"
)

const exampleConfig = `
[cluster]
name = "shop"
key_file = "/etc/hbagent/gossip.key"
[lease]
ttl = "1s"
[[node]]
name = "web1"
address = "10.0.0.11"
[[node]]
name = "web2"
address = "10.0.0.12"
[[node]]
name = "db1"
address = "10.0.0.13"
[[check]]
name = "apache"
type = "apache"
url = "http://127.0.0.1/"
nodes = ["web1", "web2"]
[[check]]
name = "db"
type = "mysql"
dsn_file = "/etc/hbagent/mysql.dsn"
nodes = ["web1", "web2"]
[[check]]
name = "disk"
type = "exec"
command = ["/usr/lib/nagios/plugins/check_disk"]
required = false
[[group]]
name = "web"
addresses = ["10.0.0.50/24", "fd00::50/64"]
interface = "eth0"
nodes = ["web1", "web2"]
checks = ["apache", "db"]
on_active = ["/etc/hbagent/hooks/active"]
`

var now = time.Date(2026, 3, 14, 3, 4, 5, 0, time.UTC)

func parse(t testing.TB, text string) *config.Config {
	t.Helper()
	cfg, err := config.Parse("/etc/hbagent/hbagent.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func dirs(paths ...string) []Above {
	var out []Above
	for _, p := range paths {
		out = append(out, Above{Path: p, Mode: fs.ModeDir | 0o755})
	}
	return out
}

func file(path string, mode fs.FileMode, gid int) File {
	return File{Path: path, What: "group web", Mode: mode, GID: gid, Above: dirs("/", "/etc")}
}

const (
	mac1, mac2, stranger = "02:00:00:00:00:11", "02:00:00:00:00:12", "02:00:00:00:00:99"
	hbagentGID           = 990
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func permanent(s string) Address { return Address{netip.MustParsePrefix(s), true} }

// healthy is a standby, web2, on which nothing is wrong.
func healthy(t testing.TB) *Facts {
	cfg := parse(t, exampleConfig)
	status := control.Status{Cluster: "shop", Node: "web2", At: now, ConfigHash: cfg.Hash, Gate: "nft",
		Groups: []control.Group{{Name: "web", Owner: "web1", Epoch: 5}},
		Nodes: []control.Node{
			{Name: "web1", Alive: true, Version: "1.0"}, {Name: "web2", Self: true, Alive: true, Version: "1.0"}, {Name: "db1", Alive: true, Version: "1.0"}}}
	peer := func(name, address string) control.PeerProbe {
		return control.PeerProbe{Node: name, Address: address, Sent: 40, Answered: 40, BigSent: 5, BigAnswered: 5, Stream: "ok", Back: "ok",
			RTT: control.RTT{MinMs: 0.2, MedianMs: 0.3, MaxMs: 1}, Answers: true, Version: "1.0", ConfigHash: cfg.Hash, TTLMs: 1000, ClockMs: 3, ClockErrorMs: 0.1}
	}
	return &Facts{
		At: now, Node: "web2", Named: true, Hostname: "web2.example.org", Config: cfg, LocalAddr: []netip.Addr{addr("10.0.0.12")},
		Agent: AgentFacts{Running: true, Process: control.AgentProcess{PID: 77}, Caps: capNetAdmin | capNetRaw, Status: status, After: status,
			Agents: []Process{{PID: 77, Name: "hbagent"}}},
		User:   User{Name: "hbagent", UID: 995, Known: true, GIDs: []int{hbagentGID}},
		Self:   ProcessCaps{Root: true, NetAdmin: true, NetRaw: true},
		Gate:   SelfTest{Name: "nft owner"},
		Sample: Sample{For: 2 * time.Second, WorstStall: 2 * time.Millisecond},
		Unit: Unit{Systemd: true, File: "/usr/lib/systemd/system/hbagent.service", Enabled: true, Settings: map[string]string{
			"RuntimeDirectoryPreserve": "yes", "Restart": "always", "KillMode": "mixed", "User": "hbagent", "AmbientCapabilities": "CAP_NET_ADMIN CAP_NET_RAW"}},
		Files: Files{
			Config: file("/etc/hbagent/hbagent.toml", 0o644, 0), Key: file("/etc/hbagent/gossip.key", 0o640, hbagentGID),
			Secrets: []File{file("/etc/hbagent/mysql.dsn", 0o640, hbagentGID)}, Hooks: []File{file("/etc/hbagent/hooks/active", 0o755, 0)},
			Commands: []File{file("/usr/lib/nagios/plugins/check_disk", 0o755, 0)},
			RunDir:   Dir{File: file("/run/hbagent", fs.ModeDir|0o755, 0), FS: "tmpfs"},
			StateDir: Dir{File: File{Path: "/var/lib/hbagent", Mode: fs.ModeDir | 0o755, UID: 995}, FS: "ext4", Free: 1 << 30, Total: 8 << 30},
		},
		Links: map[string]Link{"eth0": {Name: "eth0", Exists: true, Up: true, Carrier: true, Ethernet: true, MAC: mac2,
			Addrs: []Address{permanent("10.0.0.12/24"), permanent("fd00::12/64")}}},
		Routes: Routes{Default4: "eth0"},
		Wire: map[string]Wire{"eth0": {Decoys: []netip.Addr{addr("10.0.0.140"), addr("10.0.0.166"), addr("10.0.0.192")}, Claims: []Claim{
			{Addr: addr("10.0.0.11"), MAC: mac1}, {Addr: addr("10.0.0.50"), MAC: mac1}, {Addr: addr("fd00::50"), MAC: mac1}}}},
		VRRP:     VRRP{For: 2 * time.Second},
		Services: []agent.ServiceReport{{Group: "db"}},
		Sockets:  []Socket{{netip.MustParseAddrPort("[::]:80"), "apache2"}, {netip.MustParseAddrPort("127.0.0.1:3306"), "mariadbd"}},
		Peers:    []control.PeerProbe{peer("db1", "10.0.0.13:7946"), peer("web1", "10.0.0.11:7946")},
	}
}

func badIDs(findings []Finding) []string {
	var out []string
	for _, f := range findings {
		if (f.Level == Problem || f.Level == Warning) && !slices.Contains(out, f.ID) {
			out = append(out, f.ID)
		}
	}
	slices.Sort(out)
	return out
}

func TestHealthy(t *testing.T) {
	found := map[string]bool{}
	for _, f := range Judge(healthy(t)) {
		if f.Level != OK {
			t.Errorf("%+v", f)
		}
		found[f.ID] = true
	}
	for _, c := range Checks {
		if !found[c.ID] {
			t.Errorf("nothing is said of %s", c.ID)
		}
	}
}

// with returns an edit of the interface.
func link(edit func(*Link)) func(*Facts) {
	return func(f *Facts) {
		l := f.Links["eth0"]
		l.Addrs = slices.Clone(l.Addrs)
		edit(&l)
		f.Links["eth0"] = l
	}
}

func wire(claims ...Claim) func(*Facts) {
	return func(f *Facts) {
		w := f.Wire["eth0"]
		w.Claims = append(slices.Clone(w.Claims), claims...)
		f.Wire["eth0"] = w
	}
}

func peer(edit func(*control.PeerProbe)) func(*Facts) {
	return func(f *Facts) { edit(&f.Peers[1]) }
}

func event(kind, reason, detail string, ago time.Duration) func(*Facts) {
	return func(f *Facts) {
		f.Agent.Events = append(f.Agent.Events, control.Event{At: now.Add(-ago), Kind: kind, Reason: reason, Detail: detail, Group: "web"})
	}
}

func ids(list ...string) []string { return list }

// cases are one fault each: what it makes of the facts, what is found, and how bad that is.
var cases = []struct {
	name  string
	edit  func(*Facts)
	want  []string // sorted
	level Level    // of the first
	says  string   // in one of them
}{
	{"config not valid", func(f *Facts) { f.Config, f.ConfigErr, f.Node = nil, "hbagent.toml:3: unknown key", "" }, ids("config"), Problem, "unknown key"},
	{"no node", func(f *Facts) { f.Node, f.NodeWhy = "", "not a node" }, ids("node-name"), Problem, "not a node"},
	{"host name of another", func(f *Facts) { f.Hostname = "WEB1.example.org" }, ids("node-name"), Problem, "WEB1"},
	{"by name, and without its address", func(f *Facts) { f.Named, f.LocalAddr = false, nil }, ids("node-name"), Warning, "does not have the address"},
	{"old config loaded", func(f *Facts) { f.Agent.Status.ConfigHash = "old" }, ids("config-loaded", "peer-config"), Warning, "old"},
	{"config for all", func(f *Facts) { f.Files.Config.Mode = 0o666 }, ids("config-mode"), Problem, "everybody"},
	{"config of another user", func(f *Facts) { f.Files.Config.UID = 1000 }, ids("config-mode"), Problem, "user 1000"},
	{"config in a directory for all", func(f *Facts) { f.Files.Config.Above[1].Mode = fs.ModeDir | 0o777 }, ids("config-mode"), Problem, "/etc"},
	{"config unreadable", func(f *Facts) { f.Files.Config.Mode = 0o600 }, ids("config-mode"), Problem, "cannot read"},
	{"config out of reach", func(f *Facts) { f.Files.Config.Above[1].Mode = fs.ModeDir | 0o700 }, ids("config-mode"), Problem, "cannot pass the directory /etc"},
	{"no key", func(f *Facts) { f.Files.Key.Missing = true }, ids("key-file"), Problem, "does not exist"},
	{"key for all", func(f *Facts) { f.Files.Key.Mode = 0o644 }, ids("key-file"), Problem, "0644"},
	{"key of another group", func(f *Facts) { f.Files.Key.GID = 0 }, ids("key-file"), Problem, "cannot read it"},
	{"key not valid", func(f *Facts) { f.Files.KeyErr = "not base64" }, ids("key-file"), Problem, "not base64"},
	{"insecure", func(f *Facts) { f.Files.Insecure = true }, ids("key-file"), Warning, "everybody on the network"},
	{"password for all", func(f *Facts) { f.Files.Secrets[0].Mode = 0o644 }, ids("secret-file"), Problem, "mysql.dsn"},
	{"password missing", func(f *Facts) { f.Files.Secrets[0].Missing = true }, ids("secret-file"), Problem, "does not exist"},
	{"hook not executable", func(f *Facts) { f.Files.Hooks[0].Mode = 0o644 }, ids("hooks"), Problem, "not executable"},
	{"hook of root alone", func(f *Facts) { f.Files.Hooks[0].Mode = 0o700 }, ids("hooks"), Problem, "user hbagent may not execute it"},
	{"hook out of reach", func(f *Facts) { f.Files.Hooks[0].Above[1].Mode = fs.ModeDir | 0o700 }, ids("hooks"), Problem, "cannot pass"},
	{"hook missing", func(f *Facts) { f.Files.Hooks[0].Missing = true }, ids("hooks"), Problem, "does not exist"},
	{"hook is a directory", func(f *Facts) { f.Files.Hooks[0].Mode |= fs.ModeDir }, ids("hooks"), Problem, "not a file"},
	{"hook without interpreter", func(f *Facts) {
		f.Files.Hooks[0].Interpreter, f.Files.Hooks[0].InterpreterMissing = "/bin/zsh", true
	}, ids("hooks"), Problem, "/bin/zsh"},
	{"plugin for all", func(f *Facts) { f.Files.Commands[0].Mode = 0o777 }, ids("check-command"), Warning, "everybody may change it"},
	{"no agent", func(f *Facts) { f.Agent = AgentFacts{NoAgent: true, Why: "no agent answers"} }, ids("agent"), Problem, "no agent answers"},
	{"agent hangs", func(f *Facts) { f.Agent = AgentFacts{Why: "it does not answer"} }, ids("agent"), Problem, "does not answer"},
	{"two agents", func(f *Facts) { f.Agent.Agents = append(f.Agent.Agents, Process{PID: 78}) }, ids("agent-twice"), Problem, "77, 78"},
	{"agent reports", event("problem", "unknown-peer", "packets from 10.0.0.9", time.Second), ids("agent-reports"), Warning, "10.0.0.9"},
	{"history not written", func(f *Facts) { f.Agent.Status.Warnings = []string{"the history is in memory only"} }, ids("agent-reports"), Warning, "memory"},
	{"agent without capability", func(f *Facts) { f.Agent.Caps = capNetRaw }, ids("capabilities"), Problem, "CAP_NET_ADMIN"},
	{"unit without capability", func(f *Facts) {
		f.Agent = AgentFacts{NoAgent: true, Why: "none"}
		f.Unit.Settings["AmbientCapabilities"] = "CAP_NET_ADMIN"
	}, ids("agent", "capabilities"), Problem, "without CAP_NET_RAW"},
	{"root in a container", func(f *Facts) {
		f.Agent, f.Unit, f.Self.NetRaw = AgentFacts{NoAgent: true, Why: "none"}, Unit{}, false
	}, ids("agent", "capabilities"), Problem, "root does not have CAP_NET_RAW"},
	{"no nf_tables", func(f *Facts) { f.Gate = SelfTest{Err: "no nf_tables in this kernel"} }, ids("nf-tables"), Problem, "no nf_tables"},
	{"stall now", func(f *Facts) { f.Sample.WorstStall = 300 * time.Millisecond }, ids("stalls"), Warning, "300ms"},
	{"stall before", event("agent", "stood still", "1.2s", time.Hour), ids("stalls"), Warning, "1.2s at the longest"},
	{"clock set now", func(f *Facts) { f.Sample.WallJump = time.Second }, ids("clock-jumps"), Warning, "jumped by 1s"},
	{"machine slept", func(f *Facts) { f.Sample.Asleep = time.Second }, ids("clock-jumps"), Warning, "slept"},
	{"clock set before", event("agent", "the time of day jumped", "by 2s; ...", time.Hour), ids("clock-jumps"), Warning, "1 times"},
	{"EC2", func(f *Facts) { f.Machine.Vendor = "Amazon EC2" }, ids("hypervisor"), Warning, "Amazon EC2"},
	{"Azure", func(f *Facts) {
		f.Machine.Vendor, f.Machine.Product = "Microsoft Corporation", "Virtual Machine 7783-7084-3265-9085-8269-3286-77"
	}, ids("hypervisor"), Warning, "Azure"},
	{"no unit", func(f *Facts) { f.Unit.File = "" }, ids("unit"), Warning, "no hbagent.service"},
	{"no user", func(f *Facts) { f.User = User{Name: "hbagent"} }, ids("unit"), Problem, "no user hbagent"},
	{"unit loses the record", func(f *Facts) { f.Unit.Settings["RuntimeDirectoryPreserve"] = "no" }, ids("unit"), Warning, "a restart moves addresses"},
	{"unit kills hooks", func(f *Facts) { delete(f.Unit.Settings, "KillMode") }, ids("unit"), Warning, "KillMode"},
	{"unit not enabled", func(f *Facts) { f.Unit.Enabled = false }, ids("unit-enabled"), Warning, "boot"},
	{"run directory on disk", func(f *Facts) { f.Files.RunDir.FS = "ext4" }, ids("run-dir"), Problem, "ext4"},
	{"state directory of root", func(f *Facts) { f.Files.StateDir.UID = 0 }, ids("state-dir"), Problem, "cannot write"},
	{"state directory gone", func(f *Facts) { f.Files.StateDir.Missing = true }, ids("state-dir"), Problem, "gone"},
	{"disk full", func(f *Facts) { f.Files.StateDir.Free = 0 }, ids("disk"), Problem, "full"},
	{"disk nearly full", func(f *Facts) { f.Files.StateDir.Free = 1 << 20 }, ids("disk"), Warning, "1024 KiB"},
	{"no interface", link(func(l *Link) { l.Exists = false; l.Addrs = nil }), ids("interface", "node-address"), Problem, "no interface eth0"},
	{"not Ethernet", link(func(l *Link) { l.Ethernet = false }), ids("interface"), Problem, "no Ethernet address"},
	{"interface down", link(func(l *Link) { l.Up, l.Carrier = false, false }), ids("interface-up"), Problem, "eth0 is down"},
	{"no carrier", link(func(l *Link) { l.Carrier = false }), ids("carrier"), Problem, "no carrier"},
	{"another network", link(func(l *Link) { l.Addrs = l.Addrs[:1] }), ids("network-address"), Warning, "fd00::/64"},
	{"arp_ignore", link(func(l *Link) { l.ARP.Ignore = 8 }), ids("arp-sysctl"), Problem, "arp_ignore is 8"},
	{"two cards in one network", func(f *Facts) {
		f.Others = []Link{{Name: "eth1", Up: true, Carrier: true, Addrs: []Address{permanent("10.0.0.112/24")}}}
	}, ids("arp-sysctl"), Warning, "eth1"},
	{"rp_filter", func(f *Facts) {
		link(func(l *Link) { l.ARP.RPFilter = 1 })(f)
		f.Routes.Default4 = "eth1"
	}, ids("rp-filter"), Warning, "eth1"},
	{"gratuitous", link(func(l *Link) { l.ARP.DropGratuitous = true }), ids("gratuitous-arp"), Warning, "old owner"},
	{"no IPv6", link(func(l *Link) { l.NoIPv6 = true; l.Addrs = l.Addrs[:1] }), ids("ipv6-disabled"), Problem, "disable_ipv6"},
	{"bridge", link(func(l *Link) { l.Bridge, l.BridgeNF = true, true }), ids("bridge-netfilter"), Warning, "bridge"},
	{"own address missing", link(func(l *Link) { l.Addrs[0] = permanent("10.0.0.112/24") }), ids("node-address"), Problem, "is not on this machine"},
	{"own address twice", wire(Claim{Addr: addr("10.0.0.12"), MAC: stranger}), ids("node-address"), Problem, stranger},
	{"stranger", wire(Claim{Addr: addr("10.0.0.50"), MAC: stranger}), ids("address-in-use"), Problem, stranger},
	{"VRRP router", wire(Claim{Addr: addr("10.0.0.50"), MAC: "00:00:5e:00:01:33"}), ids("address-in-use"), Problem, "VRRP"},
	{"another node", func(f *Facts) {
		f.Agent.Status.Groups = []control.Group{{Name: "web", Owner: "web2", Epoch: 6}}
		f.Agent.After.Groups = f.Agent.Status.Groups
	}, ids("address-in-use"), Problem, "web1 (" + mac1 + ") answers for 10.0.0.50, and web2 owns it"},
	{"owner silent", func(f *Facts) {
		f.Wire["eth0"] = Wire{Claims: []Claim{{Addr: addr("10.0.0.11"), MAC: mac1}, {Addr: addr("fd00::50"), MAC: mac1}}}
	},
		ids("address-silent"), Problem, "nobody answers for 10.0.0.50"},
	{"owner announces, and does not answer", func(f *Facts) {
		f.Wire["eth0"] = Wire{Claims: []Claim{{addr("10.0.0.11"), mac1, false}, {addr("10.0.0.50"), mac1, true}, {addr("fd00::50"), mac1, false}}}
	}, ids("address-silent"), Problem, "nobody answers for 10.0.0.50"},
	{"by hand", link(func(l *Link) { l.Addrs = append(l.Addrs, permanent("10.0.0.50/24")) }), ids("address-permanent"), Problem, "without a lifetime"},
	{"on lo", func(f *Facts) { f.Lo = []Address{permanent("10.0.0.50/32")} }, ids("address-permanent"), Problem, "on lo"},
	{"in netplan", func(f *Facts) { f.Written = []Written{{addr("10.0.0.50"), "/etc/netplan/1.yaml"}} }, ids("address-configured"), Problem, "/etc/netplan/1.yaml"},
	{"proxy ARP", wire(Claim{Addr: addr("10.0.0.140"), MAC: stranger}, Claim{Addr: addr("10.0.0.166"), MAC: stranger}, Claim{Addr: addr("10.0.0.192"), MAC: stranger}), ids("proxy-arp"), Warning, stranger},
	{"proxy ARP of Linux", func(f *Facts) {
		w := f.Wire["eth0"]
		w.Proxied = 3
		f.Wire["eth0"] = w
	}, ids("proxy-arp"), Warning, "somebody answers"},
	{"ucarp", func(f *Facts) {
		f.Machine.Rivals = []Rival{{Process{9, "ucarp", nil}, []netip.Addr{addr("10.0.0.50")}, "its command line"}}
	}, ids("rival"), Problem, "ucarp runs here"},
	{"VRRP", func(f *Facts) { f.VRRP.Adverts = []Advert{{addr("10.0.0.9"), 51, []netip.Addr{addr("10.0.0.50")}}} }, ids("rival"), Problem, "router id 51"},
	{"networkd", func(f *Facts) { f.Managers = []Manager{{"networkd", "eth0", "/x", "deletes", "do"}} }, ids("networkd"), Warning, "deletes"},
	{"NetworkManager", func(f *Facts) { f.Managers = []Manager{{"networkmanager", "eth0", "/x", "deletes", "do"}} }, ids("networkmanager"), Warning, "deletes"},
	{"ifupdown", func(f *Facts) { f.Managers = []Manager{{"ifupdown", "eth0", "/x", "deletes", "do"}} }, ids("ifupdown"), Warning, "deletes"},
	{"cloud-init", func(f *Facts) { f.Managers = []Manager{{"cloud-init", "eth0", "/x", "writes", "do"}} }, ids("cloud-init"), Warning, "writes"},
	{"service on loopback", func(f *Facts) { f.Sockets[0].Addr = netip.MustParseAddrPort("127.0.0.1:80") }, ids("service-address"), Problem, "127.0.0.1 alone"},
	{"service on IPv4 alone", func(f *Facts) { f.Sockets[0].Addr = netip.MustParseAddrPort("0.0.0.0:80") }, ids("service-address"), Problem, "fd00::50 are refused"},
	{"database on its own address", func(f *Facts) { f.Sockets[1].Addr = netip.MustParseAddrPort("10.0.0.12:3306") }, ids("service-address"), Problem, "check db asks"},
	{"service on the floating address", func(f *Facts) { f.Sockets = append(f.Sockets, Socket{Addr: netip.MustParseAddrPort("10.0.0.50:443")}) },
		ids("nonlocal-bind"), Warning, "10.0.0.50:443"},
	{"database that can lose transactions", func(f *Facts) {
		f.Services[0].Findings = []agent.ServiceFinding{{Severe: true, What: "sync_binlog is 0", Do: "sync_binlog = 1"}}
	}, ids("database"), Problem, "sync_binlog is 0"},
	{"database that cannot be asked", func(f *Facts) { f.Services[0].Err = errors.New("access denied") }, ids("database"), Problem, "access denied"},
	{"no agent there", peer(func(p *control.PeerProbe) {
		*p = control.PeerProbe{Node: "web1", Address: p.Address, Sent: 40, Stream: "refused"}
	}), ids("peer-agent"), Problem, "no agent runs on web1"},
	{"nothing there", peer(func(p *control.PeerProbe) {
		*p = control.PeerProbe{Node: "web1", Address: p.Address, Sent: 40, Stream: "timeout"}
	}), ids("peer-agent"), Problem, "does not answer at all"},
	{"no UDP", peer(func(p *control.PeerProbe) { p.Answered, p.BigAnswered = 0, 0 }), ids("peer-udp"), Problem, "no answer to 40 datagrams"},
	{"no TCP", peer(func(p *control.PeerProbe) { p.Stream = "timeout" }), ids("peer-tcp"), Problem, "timeout"},
	{"no TCP back", peer(func(p *control.PeerProbe) { p.Back = "unreachable" }), ids("peer-tcp-back"), Problem, "unreachable"},
	{"other key", peer(func(p *control.PeerProbe) { p.WrongKey = true }), ids("peer-key"), Problem, "another gossip key"},
	{"other key, as the agent knows", func(f *Facts) {
		f.Peers[1] = control.PeerProbe{Node: "web1", Address: "10.0.0.11:7946", Sent: 40, Stream: "timeout"}
		f.Agent.After.Nodes = slices.Clone(f.Agent.After.Nodes)
		f.Agent.After.Nodes[0].Alive, f.Agent.After.Nodes[0].UnreadableAt = false, now.Add(-time.Second)
	}, ids("peer-key"), Problem, "another gossip key"},
	{"other cluster", peer(func(p *control.PeerProbe) { p.WrongCluster = "old" }), ids("peer-cluster"), Problem, `"old"`},
	{"other version", peer(func(p *control.PeerProbe) { p.Version = "0.9" }), ids("peer-version"), Warning, "0.9"},
	{"other config", peer(func(p *control.PeerProbe) { p.ConfigHash = "beef" }), ids("peer-config"), Warning, "beef"},
	{"other ttl", peer(func(p *control.PeerProbe) { p.TTLMs = 3000 }), ids("peer-config"), Problem, "do not grant"},
	{"loss", peer(func(p *control.PeerProbe) { p.Answered = 37 }), ids("peer-loss"), Warning, "3 of 40"},
	{"heavy loss", peer(func(p *control.PeerProbe) { p.Answered = 20 }), ids("peer-loss"), Problem, "leases lapse"},
	{"latency", peer(func(p *control.PeerProbe) { p.RTT = control.RTT{MedianMs: 150, MaxMs: 200} }), ids("peer-latency"), Warning, "150 ms"},
	{"too slow", peer(func(p *control.PeerProbe) { p.RTT = control.RTT{MedianMs: 400, MaxMs: 500} }), ids("peer-latency"), Problem, "no lease"},
	{"MTU", peer(func(p *control.PeerProbe) { p.BigAnswered = 0 }), ids("peer-size"), Problem, "1400"},
	{"clock", peer(func(p *control.PeerProbe) { p.ClockMs = -5000 }), ids("peer-clock"), Warning, "-5.0 s"},
	{"witness silent", func(f *Facts) { witnessed(f); f.Witness.Err = "no answer" }, ids("witness"), Problem, "no answer"},
	{"witness behind proxy ARP", func(f *Facts) {
		witnessed(f)
		f.Wire["eth0"] = Wire{Decoys: f.Wire["eth0"].Decoys, Claims: f.Wire["eth0"].Claims, Proxied: 3}
	}, ids("proxy-arp", "witness"), Warning, "says nothing"},
	{"forwarding", event("problem", "cannot-drain", "anti-spoofing", time.Hour), ids("forwarding"), Warning, "anti-spoofing"},
}

func witnessed(f *Facts) {
	cfg := *f.Config
	cfg.Lease.Witness = addr("10.0.0.1")
	f.Config, f.Witness = &cfg, Witness{Addr: addr("10.0.0.1"), Interface: "eth0", RTT: time.Millisecond}
}

func TestJudge(t *testing.T) {
	fired := map[string]bool{}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			f := healthy(t)
			tt.edit(f)
			findings := Judge(f)
			if got := badIDs(findings); !slices.Equal(got, tt.want) {
				t.Errorf("found %v, want %v", got, tt.want)
			}
			worst, said := OK, false
			for _, g := range findings {
				if g.Level != Problem && g.Level != Warning {
					continue
				}
				fired[g.ID] = true
				said = said || strings.Contains(g.Text, tt.says)
				if g.Do == "" {
					t.Errorf("%s says nothing to do", g.ID)
				}
				if g.ID == tt.want[0] {
					worst = g.Level
				}
			}
			if worst != tt.level || !said {
				t.Errorf("level %s (want %s), and %q is said: %v\n%s", worst, tt.level, tt.says, said, text(findings))
			}
		})
	}
	for _, c := range Checks {
		if !fired[c.ID] {
			t.Errorf("no case makes %s bad", c.ID)
		}
	}
}

func text(findings []Finding) string {
	var b strings.Builder
	for _, f := range findings {
		if f.Level == Problem || f.Level == Warning {
			fmt.Fprintf(&b, "%s %s: %s\n", f.Level, f.ID, f.Text)
		}
	}
	return b.String()
}
