package doctor_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
)

// Each fault alone, in one site. What restarts an agent comes late, and last what stays in its history.
func TestFaults(t *testing.T) {
	s := newSite(t)
	t.Run("unprivileged", s.unprivileged)
	t.Run("healthy and harmless", s.harmless)
	each := func(t *testing.T, plants []plant) {
		for _, p := range plants {
			t.Run(p.name, func(t *testing.T) { s.try(t, p) })
		}
	}
	each(t, onTheMachine)
	each(t, onTheWire)
	together := func(t *testing.T, name string, plants []plant) {
		t.Run(name, func(t *testing.T) {
			for _, p := range plants {
				t.Run(p.name, func(t *testing.T) {
					t.Parallel()
					s.try(t, p)
				})
			}
		})
	}
	together(t, "files", inTheRoot) // of another root each: they do not see each other
	each(t, inTheFiles)
	each(t, towardsPeers)
	each(t, aboutAgents)
	t.Run("agent stopped", func(t *testing.T) { // once for all of these: a restart takes a while
		r := run{}
		mend := stopped("web2")(t, s, &r)
		together(t, "nothing else", withoutAgent[:2])
		each(t, withoutAgent[2:])
		must(t, mend())
	})
	t.Run("another key", func(t *testing.T) {
		mend := s.otherKey(t)
		together(t, "looks", withOtherKey)
		must(t, mend())
	})
	t.Run("healthy again", func(t *testing.T) { s.healthy(t, 1, "web1", "web2", "db1") })
	each(t, inTheHistory)
}

var onTheMachine = []plant{
	{name: "interface down", on: "web2", want: []string{"interface-up", "peer-agent"}, says: "eth0 is down",
		plant: func(t *testing.T, s *site, _ *run) func() error {
			must(t, s.Node("web2").SetCard(within(t), false))
			return func() error { return s.back(s.Node("web2").SetCard) }
		}},
	{name: "no carrier", on: "web2", want: []string{"carrier", "peer-agent"}, says: "eth0 has no carrier",
		plant: func(t *testing.T, s *site, _ *run) func() error {
			must(t, s.Node("web2").Unplug())
			return func() error {
				return s.back(func(ctx context.Context, _ bool) error { return s.Node("web2").Plug(ctx) })
			}
		}},
	{name: "arp_ignore", on: "web2", want: []string{"arp-sysctl"}, says: "arp_ignore is 8", plant: sysctl("web2", "ipv4/conf/eth0/arp_ignore", "8")},
	{name: "two interfaces in one network", on: "web2", want: []string{"arp-sysctl"}, says: "eth0 and second",
		plant: do("web2", []string{"ip link add second type veth peer name second-far", "ip link set second-far up", "ip link set second up", "ip address add 10.77.0.212/24 dev second noprefixroute"},
			[]string{"ip link delete second"})},
	{name: "rp_filter", on: "web2", want: []string{"rp-filter"}, says: "second",
		plant: do("web2", []string{"ip link add second type veth peer name second-far", "ip link set second-far up", "ip link set second up", "ip address add 10.99.0.1/24 dev second",
			"ip route add default dev second", "echo 1 >/proc/sys/net/ipv4/conf/eth0/rp_filter"},
			[]string{"echo 0 >/proc/sys/net/ipv4/conf/eth0/rp_filter", "ip link delete second"})},
	{name: "gratuitous ARP dropped", on: "web2", want: []string{"gratuitous-arp"}, plant: sysctl("web2", "ipv4/conf/all/drop_gratuitous_arp", "1")},
	{name: "no IPv6", on: "web2", want: []string{"ipv6-disabled"}, says: "eth0",
		plant: func(t *testing.T, s *site, r *run) func() error {
			mend := sysctl("web2", "ipv6/conf/eth0/disable_ipv6", "1")(t, s, r)
			return func() error { return errors.Join(mend(), s.Node("web2").PutAddresses()) }
		}},
	{name: "another network", on: "web2", want: []string{"network-address"}, says: "fd77::/64",
		plant: func(t *testing.T, s *site, _ *run) func() error {
			must(t, s.Node("web2").DelAddress(s.Node("web2").Addr6))
			return s.Node("web2").PutAddresses
		}},
	{name: "added by hand", on: "web2", want: []string{"address-permanent"}, says: "10.77.0.50/24 is on eth0",
		plant: func(t *testing.T, s *site, _ *run) func() error {
			must(t, s.Node("web2").AddAddress(lab.Floating4))
			return func() error { return s.Node("web2").DelAddress(lab.Floating4) }
		}},
	{name: "web server on loopback only", on: "web2", want: []string{"service-address"}, says: "listens on 127.0.0.1 alone",
		plant: func(t *testing.T, s *site, _ *run) func() error {
			must(t, s.web["web2"].Kill())
			end := s.listen(t, "web2", "127.0.0.1:80")
			return func() error {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				return errors.Join(end(), s.web["web2"].Start(ctx), s.WaitEligible(ctx, "web", "web2"))
			}
		}},
	{name: "service bound to the floating address", on: "web1", want: []string{"nonlocal-bind"}, says: "10.77.0.50:8080",
		plant: func(t *testing.T, s *site, _ *run) func() error { return s.listen(t, "web1", "10.77.0.50:8080") }},
	{name: "host name of another node", on: "web1", want: []string{"node-name"}, says: "web2",
		run: run{prefix: []string{"unshare", "--uts", "sh", "-c", `hostname web2 && exec "$@"`, "sh"}}, plant: nothing},
	{name: "run directory on a disk", on: "db1", want: []string{"run-dir", "agent"}, says: "not on a tmpfs",
		plant: func(t *testing.T, _ *site, r *run) func() error {
			r.args = []string{"--run-dir", disk(t)}
			return nil
		}},
	{name: "disk full", on: "db1", want: []string{"disk"}, says: "is full",
		plant: func(t *testing.T, s *site, _ *run) func() error {
			dir := s.Node("db1").StateDir()
			must(t, s.shell(t.Context(), "db1", "mount -t tmpfs -o size=64k tmpfs "+dir+"; dd if=/dev/zero of="+dir+"/full 2>/dev/null; true"))
			return func() error { return s.shell(context.Background(), "db1", "umount "+dir) }
		}},
}

func nothing(*testing.T, *site, *run) func() error { return nil }

// disk is a directory that is not on a tmpfs.
func disk(t *testing.T) string {
	dir, err := os.MkdirTemp("/var/tmp", "hbagent-doctor-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// back undoes what took a card away, and waits until everybody is heard again.
func (s *site) back(mend func(context.Context, bool) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return errors.Join(mend(ctx, true), s.meshed(ctx))
}

var onTheWire = []plant{
	{name: "stranger with the address", on: "web2", want: []string{"address-in-use"}, says: "02:77:00:00:00:64",
		plant: func(t *testing.T, s *site, _ *run) func() error {
			must(t, s.Client.AddAddress(netip.MustParsePrefix("10.77.0.50/32")))
			return func() error { return s.Client.DelAddress(netip.MustParsePrefix("10.77.0.50/32")) }
		}},
	{name: "stranger with the IPv6 address", on: "web1", want: []string{"address-in-use"}, says: "fd77::50",
		plant: func(t *testing.T, s *site, _ *run) func() error {
			must(t, s.Client.AddAddress(netip.MustParsePrefix("fd77::50/128")))
			return func() error { return s.Client.DelAddress(netip.MustParsePrefix("fd77::50/128")) }
		}},
	// It answers for its own address neither, which some know still.
	{name: "owner not heard", on: "web2", want: []string{"address-silent"}, may: []string{"peer-agent", "peer-udp", "peer-tcp", "peer-tcp-back", "peer-loss", "peer-size"}, says: "web1 owns web, and nobody answers for 10.77.0.50",
		plant: sysctl("web1", "ipv4/conf/eth0/arp_ignore", "8")},
	{name: "node address twice", on: "web2", want: []string{"node-address"}, says: "02:77:00:00:00:64",
		plant: func(t *testing.T, s *site, _ *run) func() error {
			must(t, s.Client.AddAddress(netip.MustParsePrefix("10.77.0.12/32")))
			return func() error { return s.Client.DelAddress(netip.MustParsePrefix("10.77.0.12/32")) }
		}},
	{name: "proxy ARP", on: "web2", want: []string{"proxy-arp"}, says: "answers on eth0 for addresses that nobody has",
		plant: do("client", []string{"ip link add second type veth peer name second-far", "ip link set second-far up", "ip link set second up", "ip route add 10.77.0.128/25 dev second",
			"echo 1 >/proc/sys/net/ipv4/conf/eth0/proxy_arp", "echo 1 >/proc/sys/net/ipv4/conf/eth0/forwarding", "echo 0 >/proc/sys/net/ipv4/neigh/eth0/proxy_delay"},
			[]string{"echo 0 >/proc/sys/net/ipv4/conf/eth0/proxy_arp", "echo 0 >/proc/sys/net/ipv4/conf/eth0/forwarding", "ip link delete second"})},
	{name: "VRRP", on: "web2", want: []string{"rival"}, says: "10.77.0.100 advertises 10.77.0.50",
		plant: func(t *testing.T, s *site, _ *run) func() error {
			var c net.PacketConn
			must(t, s.Client.Do(func() (err error) {
				c, err = net.ListenPacket("ip4:112", "10.77.0.100")
				return err
			}))
			// Version 2, advertisement, router id 51, priority 100, one address, no authentication, 1 s (RFC 3768).
			frame := []byte{0x21, 51, 100, 1, 0, 1, 0, 0, 10, 77, 0, 50, 0, 0, 0, 0, 0, 0, 0, 0}
			end := background(func(stop <-chan struct{}) {
				every(50*time.Millisecond, stop, func() { _, _ = c.WriteTo(frame, &net.IPAddr{IP: net.IPv4(224, 0, 0, 18)}) })
			})
			return func() error { return errors.Join(end(), c.Close()) }
		}},
	{name: "ucarp", on: "web2", want: []string{"rival"}, says: "its command line names 10.77.0.50",
		plant: func(t *testing.T, s *site, _ *run) func() error {
			cmd := exec.Command("sleep", "1000")
			cmd.Path, cmd.Args = "/bin/sh", []string{"/usr/sbin/ucarp", "-c", "sleep 1000; :", "ucarp", "--addr=10.77.0.50"}
			p, err := s.Node("web2").Start("ucarp", cmd)
			must(t, err)
			return p.Kill
		}},
	{name: "keepalived", on: "web2", want: []string{"rival"}, says: "/etc/keepalived/keepalived.conf names 10.77.0.50",
		plant: func(t *testing.T, s *site, r *run) func() error {
			r.root = root(t, map[string]string{"etc/keepalived/keepalived.conf": "vrrp_instance web {\n  virtual_ipaddress {\n    # 10.77.0.51\n    10.77.0.50/24\n  }\n}\n"})
			cmd := exec.Command("sleep", "1000")
			cmd.Path, cmd.Args = "/bin/sh", []string{"/usr/sbin/keepalived", "-c", "sleep 1000; :"}
			p, err := s.Node("web2").Start("keepalived", cmd)
			must(t, err)
			return p.Kill
		}},
}

const networkFile = "[Match]\nName=eth*\n[Network]\nDHCP=yes\n"

// inTheRoot have files of a machine of their own.
var inTheRoot = []plant{
	{name: "networkd", on: "web2", want: []string{"networkd"}, says: "/run/systemd/network/10-netplan-eth0.network",
		plant: rooted(map[string]string{"run/systemd/netif/state": "", "run/systemd/network/10-netplan-eth0.network": networkFile,
			"etc/systemd/network/10-netplan-eth0.network.d/x.conf": "[Network]\nKeepConfiguration=static\n"})},
	{name: "NetworkManager", on: "web2", want: []string{"networkmanager"}, plant: rooted(map[string]string{"run/NetworkManager/devices/2": "",
		"etc/NetworkManager/conf.d/a.conf": "[keyfile]\nunmanaged-devices=interface-name:eth1*\n"})},
	{name: "ifupdown at hotplug", on: "web2", want: []string{"ifupdown"}, plant: rooted(map[string]string{"run/udev/control": "",
		"etc/network/interfaces": "source interfaces.d/*\n", "etc/network/interfaces.d/eth0": "allow-hotplug eth0\niface eth0 inet dhcp\n"})},
	{name: "cloud-init at each boot", on: "web2", want: []string{"cloud-init"}, plant: rooted(map[string]string{
		"etc/cloud/cloud.cfg.d/10-x.cfg": "updates:\n  network:\n    when: [boot, hotplug]\n"})},
	{name: "address in netplan", on: "web2", want: []string{"address-configured"}, says: "10.77.0.50 stands in /etc/netplan/50.yaml",
		plant: rooted(map[string]string{"etc/netplan/50.yaml": "network:\n  ethernets:\n    eth0:\n      addresses: [10.77.0.12/24, 10.77.0.50/24]\n"})},
	{name: "address in ifupdown", on: "web2", want: []string{"address-configured"}, says: "fd77::50",
		plant: rooted(map[string]string{"etc/network/interfaces": "iface eth0 inet6 static\n  address fd77::50/64\n"})},
	{name: "unit without Preserve", on: "web2", want: []string{"unit"}, says: "RuntimeDirectoryPreserve=no",
		plant: func(t *testing.T, _ *site, r *run) func() error {
			r.root = root(t, map[string]string{"usr/lib/systemd/system/hbagent.service": unitFile(t),
				"etc/systemd/system/hbagent.service.d/x.conf":                "[Service]\nRuntimeDirectoryPreserve=no\n",
				"etc/systemd/system/multi-user.target.wants/hbagent.service": ""})
			return nil
		}},
	{name: "unit not enabled", on: "web2", want: []string{"unit-enabled"},
		plant: func(t *testing.T, _ *site, r *run) func() error {
			r.root = root(t, map[string]string{"usr/lib/systemd/system/hbagent.service": unitFile(t)})
			return nil
		}},
	{name: "a cloud without ARP", on: "web2", want: []string{"hypervisor"}, says: "Amazon EC2",
		plant: rooted(map[string]string{"sys/class/dmi/id/sys_vendor": "Amazon EC2\n", "sys/class/dmi/id/product_name": "m7i.large\n"})},
}

var inTheFiles = []plant{
	{name: "hook not executable", on: "web2", want: []string{"hooks"}, says: "is not executable",
		plant: func(t *testing.T, s *site, _ *run) func() error { return mode(t, s.hook, 0o644) }},
	{name: "hook without interpreter", on: "web2", want: []string{"hooks"}, says: "#!/usr/bin/nonesuch",
		plant: func(t *testing.T, s *site, _ *run) func() error {
			old, err := os.ReadFile(s.hook)
			must(t, err)
			must(t, os.WriteFile(s.hook, []byte("#!/usr/bin/nonesuch\n"), 0o755))
			return func() error { return os.WriteFile(s.hook, old, 0o755) }
		}},
	{name: "hook for all to change", on: "web2", want: []string{"hooks"}, says: "everybody may change it",
		plant: func(t *testing.T, s *site, _ *run) func() error { return mode(t, s.hook, 0o777) }},
	{name: "key for all to read", on: "web2", want: []string{"key-file"}, says: "mode 0644",
		plant: func(t *testing.T, s *site, _ *run) func() error { return mode(t, s.key, 0o644) }},
	{name: "config for all to change", on: "web2", want: []string{"config-mode"},
		plant: func(t *testing.T, s *site, _ *run) func() error { return mode(t, s.Node("web2").ConfigFile(), 0o666) }},
	{name: "config not loaded", on: "web2", want: []string{"config-loaded"},
		plant: func(t *testing.T, s *site, _ *run) func() error {
			c := s.config
			c.Groups = slices.Clone(c.Groups)
			c.Groups[0].Hold = "700ms"
			must(t, s.Node("web2").WriteConfig(c))
			return func() error { return s.Node("web2").WriteConfig(s.config) }
		}},
	{name: "config not valid", on: "web2", want: []string{"config"}, says: "unknown key",
		plant: func(t *testing.T, s *site, _ *run) func() error {
			file := s.Node("web2").ConfigFile()
			old, err := os.ReadFile(file)
			must(t, err)
			must(t, os.WriteFile(file, []byte(strings.Replace(string(old), "hold = ", "hodl = ", 1)), 0o644))
			return func() error { return os.WriteFile(file, old, 0o644) }
		}},
}

var towardsPeers = []plant{
	{name: "UDP dropped", on: "web1", want: []string{"peer-udp"}, says: "web2 answers TCP, and not UDP", fine: []string{"peer-tcp", "peer-tcp-back", "peer-key"}, plant: rule("web2", "udp dport 7946")},
	{name: "TCP dropped", on: "web1", want: []string{"peer-tcp"}, says: "web2 answers UDP, and not TCP: timeout", fine: []string{"peer-udp", "peer-tcp-back", "peer-key"}, plant: rule("web2", "tcp dport 7946")},
	{name: "TCP dropped here", on: "web1", want: []string{"peer-tcp-back"}, says: "cannot reach this node by TCP: timeout", fine: []string{"peer-udp", "peer-tcp", "peer-key"}, plant: rule("web1", "tcp dport 7946")},
	{name: "TCP rejected", on: "web1", want: []string{"peer-tcp"}, says: "refused",
		plant: do("web2", []string{"nft 'add table inet fault'", "nft 'add chain inet fault in { type filter hook input priority 0; }'",
			"nft 'add rule inet fault in tcp dport 7946 reject with tcp reset'"}, []string{"nft 'delete table inet fault'"})},
	{name: "loss", on: "web1", want: []string{"peer-loss"}, may: []string{"peer-tcp", "peer-tcp-back"}, says: "to web2", run: run{measure: 700 * time.Millisecond},
		plant: func(t *testing.T, s *site, _ *run) func() error {
			must(t, s.Node("web2").Loss(within(t), 15))
			return func() error { return s.Node("web2").Heal(context.Background()) }
		}},
	{name: "small MTU", on: "web1", want: []string{"peer-size"}, may: []string{"peer-tcp-back"}, says: "web2",
		plant: do("web2", []string{"ip link set eth0 mtu 1280"}, []string{"ip link set eth0 mtu 1500"})},
	{name: "slow wire", on: "web1", want: []string{"peer-latency"}, says: "a round trip to web2 takes",
		plant: func(t *testing.T, s *site, _ *run) func() error {
			end, err := s.Node("web2").Slow(200 * time.Millisecond)
			must(t, err)
			return end
		}},
	{name: "no power there", on: "web1", want: []string{"peer-agent"}, says: "does not answer at all",
		plant: func(t *testing.T, s *site, _ *run) func() error {
			must(t, s.Node("db1").PowerOff())
			return func() error {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				// It votes again a ttl after its boot, which no socket tells; the next fault may need its vote.
				return errors.Join(s.Node("db1").PowerOn(ctx), s.Node("db1").StartAgent(ctx), s.meshed(ctx), lab.Pause(ctx, ttl))
			}
		}},
}

var aboutAgents = []plant{
	{name: "two agents", on: "web2", want: []string{"agent-twice"}, says: "2 agents run",
		plant: func(t *testing.T, s *site, _ *run) func() error {
			n := s.Node("web2")
			c := s.config
			c.Cluster.Port, c.Lease.TTL, c.Groups, c.Checks = 7947, "5s", nil, nil
			b := filepath.Join(n.Dir(), "second")
			must(t, os.MkdirAll(b, 0o755))
			must(t, n.WriteConfig(c))
			text, err := os.ReadFile(n.ConfigFile())
			must(t, err)
			// The tables of nf_tables are the first one's, where the kernel knows owners.
			second := strings.Replace(string(text), "[lease]\n", "[lease]\ngate = \"address\"\n", 1)
			must(t, errors.Join(os.WriteFile(filepath.Join(b, "hbagent.toml"), []byte(second), 0o644), n.WriteConfig(s.config)))
			cmd := exec.Command(program(), "agent", "-c", filepath.Join(b, "hbagent.toml"), "--node", "web2", "--run-dir", filepath.Join(b, "run"), "--state-dir", b)
			cmd.Args[0] = "hbagent"
			p, err := n.Start("second", cmd)
			must(t, err)
			must(t, retry(within(t), func() error {
				_, err := os.Stat(filepath.Join(b, "run", "control.sock"))
				return err
			}))
			return p.Kill
		}},
	{name: "another config", on: "web1", want: []string{"peer-config"}, says: "web2 has another config",
		plant: func(t *testing.T, s *site, _ *run) func() error {
			return s.configure(t, "web2", func(c *lab.Config) { c.Groups[0].Hold = "700ms" })
		}},
	{name: "another cluster", on: "web1", want: []string{"peer-cluster"}, says: `belongs to cluster "elsewhere"`,
		plant: func(t *testing.T, s *site, _ *run) func() error {
			return s.configure(t, "web2", func(c *lab.Config) { c.Cluster.Name = "elsewhere" })
		}},
}

// withoutAgent is looked for while the agent of web2 is stopped.
var withoutAgent = []plant{
	{name: "there", on: "web1", want: []string{"peer-agent"}, says: "no agent runs on web2", plant: nothing},
	{name: "here", on: "web2", want: []string{"agent"}, says: "no agent answers", plant: nothing},
	{name: "no capability", on: "web2", want: []string{"capabilities", "agent"}, says: "CAP_NET_RAW",
		run: run{prefix: []string{"setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw"}}, plant: nothing},
	{name: "capability not in the unit", on: "web2", want: []string{"capabilities", "agent"}, says: "as user hbagent without CAP_NET_ADMIN",
		plant: func(t *testing.T, s *site, r *run) func() error {
			r.root = root(t, map[string]string{"usr/lib/systemd/system/hbagent.service": unitFile(t), "etc/passwd": "hbagent:x:0:0::/:/bin/sh\n",
				"etc/systemd/system/hbagent.service.d/x.conf":                "[Service]\nAmbientCapabilities=\nAmbientCapabilities=CAP_NET_RAW\n",
				"etc/systemd/system/multi-user.target.wants/hbagent.service": ""})
			return nil
		}},
	{name: "no user", on: "web2", want: []string{"unit", "agent"}, says: "no user hbagent",
		plant: func(t *testing.T, s *site, r *run) func() error {
			r.root = root(t, map[string]string{"usr/lib/systemd/system/hbagent.service": unitFile(t),
				"etc/systemd/system/multi-user.target.wants/hbagent.service": ""})
			return nil
		}},
	{name: "hook for root alone", on: "web2", want: []string{"hooks", "agent"}, may: []string{"key-file", "state-dir"}, says: "user hbagent may not execute it",
		plant: func(t *testing.T, s *site, r *run) func() error {
			r.root = root(t, map[string]string{"usr/lib/systemd/system/hbagent.service": unitFile(t), "etc/passwd": "hbagent:x:995:990::/:/bin/sh\n",
				"etc/systemd/system/multi-user.target.wants/hbagent.service": ""})
			return mode(t, s.hook, 0o700)
		}},
	{name: "no such interface", on: "web2", want: []string{"interface", "agent"}, may: []string{"peer-config"}, says: "eth9",
		plant: func(t *testing.T, s *site, r *run) func() error {
			c := s.config
			c.Groups = slices.Clone(c.Groups)
			c.Groups[0].Interface = "eth9"
			must(t, s.Node("web2").WriteConfig(c))
			return func() error { return s.Node("web2").WriteConfig(s.config) }
		}},
}

// withOtherKey is looked for while web2 has a gossip key of its own.
var withOtherKey = []plant{
	{name: "there", on: "web1", want: []string{"peer-key"}, says: "web2 has another gossip key", plant: nothing},
	{name: "here", on: "web2", want: []string{"peer-key"}, says: "another gossip key", plant: nothing},
}
