package doctor

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// machine is a root directory of text files.
func machine(files map[string]string) fstest.MapFS {
	m := fstest.MapFS{}
	for name, text := range files {
		m[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
	}
	return m
}

var eth0 = Link{Name: "eth0", MAC: "02:00:00:00:00:12"}

func TestManagers(t *testing.T) {
	const run = "run/systemd/netif/state"
	const nm = "run/NetworkManager/devices/2"
	tests := []struct {
		name  string
		look  func(m fstest.MapFS) *Manager
		files map[string]string
		harm  bool
		says  string // in harm, file or what to do
	}{
		{"networkd not running", netd, map[string]string{"etc/systemd/network/1.network": "[Match]\nName=eth0\n"}, false, ""},
		{"networkd", netd, map[string]string{run: "", "etc/systemd/network/1.network": "[Match]\nName=eth0\n"}, true, "/etc/systemd/network/1.network.d/hbagent.conf"},
		{"networkd enabled", netd, map[string]string{"etc/systemd/system/multi-user.target.wants/systemd-networkd.service": "",
			"etc/systemd/network/1.network": "[Match]\nType=ether\n"}, true, ""},
		{"networkd by hardware address", netd, map[string]string{run: "", "run/systemd/network/1.network": "[Match]\nMACAddress=02:00:00:00:00:99 02:00:00:00:00:12\n"}, true, ""},
		{"networkd for another", netd, map[string]string{run: "", "etc/systemd/network/1.network": "[Match]\nName=eth1 en*\n"}, false, ""},
		{"networkd for all but it", netd, map[string]string{run: "", "etc/systemd/network/1.network": "[Match]\nName=!eth0 eth1\n"}, false, ""},
		{"networkd, nothing matched", netd, map[string]string{run: "", "etc/systemd/network/1.network": "[Match]\nDriver=brcm\n"}, false, ""},
		{"networkd keeps", netd, map[string]string{run: "", "etc/systemd/network/1.network": "[Match]\nName=eth0\n[Network]\nKeepConfiguration=yes\n"}, false, ""},
		{"networkd keeps what is static", netd, map[string]string{run: "", "etc/systemd/network/1.network": "[Match]\nName=eth0\n[Network]\nKeepConfiguration=static\n"}, true, "static is not enough"},
		{"networkd keeps by a drop-in", netd, map[string]string{run: "", "run/systemd/network/10-netplan-eth0.network": "[Match]\nName=eth0\n",
			"etc/systemd/network/10-netplan-eth0.network.d/hbagent.conf": "# ours\n[Network]\nKeepConfiguration = yes\n"}, false, ""},
		{"a later drop-in takes it back", netd, map[string]string{run: "", "etc/systemd/network/1.network": "[Match]\nName=eth0\n",
			"etc/systemd/network/1.network.d/a.conf": "[Network]\nKeepConfiguration=yes\n", "etc/systemd/network/1.network.d/b.conf": "[Network]\nKeepConfiguration=no\n"}, true, ""},
		{"networkd unmanaged", netd, map[string]string{run: "", "etc/systemd/network/1.network": "[Match]\nName=eth0\n[Link]\nUnmanaged=yes\n"}, false, ""},
		{"the first file counts", netd, map[string]string{run: "", "etc/systemd/network/2.network": "[Match]\nName=eth0\n",
			"usr/lib/systemd/network/1.network": "[Match]\nName=eth*\n[Link]\nUnmanaged=yes\n"}, false, ""},
		{"etc hides usr", netd, map[string]string{run: "", "etc/systemd/network/1.network": "",
			"usr/lib/systemd/network/1.network": "[Match]\nName=eth*\n"}, false, ""},

		{"NetworkManager not running", netm, map[string]string{"etc/NetworkManager/NetworkManager.conf": ""}, false, ""},
		{"NetworkManager", netm, map[string]string{nm: ""}, true, "interface-name:eth0"},
		{"NetworkManager leaves it", netm, map[string]string{nm: "", "etc/NetworkManager/conf.d/a.conf": "[keyfile]\nunmanaged-devices=mac:02:00:00:00:00:99;interface-name:eth*\n"}, false, ""},
		{"NetworkManager leaves all but it", netm, map[string]string{nm: "", "etc/NetworkManager/conf.d/a.conf": "[keyfile]\nunmanaged-devices=*,except:interface-name:eth0\n"}, true, ""},
		{"NetworkManager, managed=0", netm, map[string]string{nm: "", "etc/NetworkManager/conf.d/a.conf": "[device-x]\nmatch-device=interface-name:eth0\nmanaged=0\n"}, false, ""},
		{"NetworkManager, managed=0 for another", netm, map[string]string{nm: "", "etc/NetworkManager/conf.d/a.conf": "[device-x]\nmatch-device=interface-name:eth1\nmanaged=0\n"}, true, ""},
		{"NetworkManager beside ifupdown", netm, map[string]string{nm: "", "etc/network/interfaces": "iface eth0 inet dhcp\n"}, false, ""},
		{"NetworkManager in front of ifupdown", netm, map[string]string{nm: "", "etc/network/interfaces": "iface eth0 inet dhcp\n",
			"etc/NetworkManager/NetworkManager.conf": "[ifupdown]\nmanaged=true\n"}, true, ""},

		{"ifupdown", ifup, map[string]string{"etc/network/interfaces": "auto eth0\niface eth0 inet static\n"}, false, "/etc/network/interfaces"},
		{"ifupdown, not it", ifup, map[string]string{"etc/network/interfaces": "auto eth1\niface eth1 inet dhcp\n"}, false, ""},
		{"ifupdown at hotplug", ifup, map[string]string{"run/udev/control": "", "etc/network/interfaces": "source /etc/network/interfaces.d/*\n",
			"etc/network/interfaces.d/x": "allow-hotplug eth0\niface eth0 inet dhcp\n"}, true, "/etc/network/interfaces.d/x"},
		{"ifupdown at hotplug, static", ifup, map[string]string{"run/udev/control": "", "etc/network/interfaces": "allow-hotplug eth0\niface eth0 inet static\n"}, false, ""},

		{"cloud-init not there", cloud, nil, false, ""},
		{"cloud-init", cloud, map[string]string{"etc/cloud/cloud.cfg": "users: [default]\n"}, false, ""},
		{"cloud-init at each boot", cloud, map[string]string{"etc/cloud/cloud.cfg": "", "etc/cloud/cloud.cfg.d/5.cfg": "updates: {network: {when: [boot]}}\n"}, true, "5.cfg"},
		{"cloud-init told to leave it", cloud, map[string]string{"etc/cloud/cloud.cfg": "updates: {network: {when: [boot]}}\n", "etc/cloud/cloud.cfg.d/9.cfg": "network: {config: disabled}\n"}, false, "9.cfg"},
		{"cloud-init disabled", cloud, map[string]string{"etc/cloud/cloud.cfg": "updates: {network: {when: [boot]}}\n", "etc/cloud/cloud-init.disabled": ""}, false, ""},
		{"cloud-init, no YAML", cloud, map[string]string{"etc/cloud/cloud.cfg": "\t{"}, false, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := tt.look(machine(tt.files))
			harm := m != nil && m.Harm != ""
			if harm != tt.harm {
				t.Fatalf("got %+v, want harm: %v", m, tt.harm)
			}
			if m != nil && !strings.Contains(m.Harm+m.File+m.Do, tt.says) {
				t.Errorf("got %+v, want %q in it", m, tt.says)
			}
			if harm && m.Do == "" {
				t.Error("nothing to do is said")
			}
		})
	}
}

func netd(m fstest.MapFS) *Manager  { return networkd(m, eth0) }
func netm(m fstest.MapFS) *Manager  { return networkManager(m, eth0) }
func ifup(m fstest.MapFS) *Manager  { return ifupdown(m, eth0) }
func cloud(m fstest.MapFS) *Manager { return cloudInit(m, eth0) }

func TestWritten(t *testing.T) {
	files := map[string]string{
		"etc/netplan/1.yaml": "addresses: [10.0.0.50/24]",
		"etc/netplan/2.yaml": "# addresses: [10.0.0.50/24]\naddresses: [10.0.0.5/24, 110.0.0.50/24]",
		"etc/NetworkManager/system-connections/eth0.nmconnection": "[ipv4]\naddress1=10.0.0.11/24\naddress2=10.0.0.50/24\n",
		"etc/sysconfig/network-scripts/ifcfg-eth0:0":              "IPADDR=10.0.0.50\n",
		"usr/lib/systemd/network/1.network.d/x.conf":              "[Network]\nAddress=fd00::50/64\n",
		"etc/network/interfaces":                                  "source-directory interfaces.d\n",
		"etc/network/interfaces.d/alias":                          "iface eth0:1 inet static\n  address 10.0.0.50\n",
		"etc/network/interfaces.d.dpkg-old/not-read":              "address 10.0.0.50",
	}
	floats := map[netip.Addr]string{addr("10.0.0.50"): "web", addr("fd00::50"): "web"}
	root := machine(files)
	got := map[string]int{}
	for _, file := range networkFiles(root) {
		got[file] += len(mentioned(uncomment(readText(root, file)), floats))
	}
	for name := range files {
		want := 1
		if strings.Contains(name, "2.yaml") || name == "etc/network/interfaces" || strings.Contains(name, "not-read") {
			want = 0
		}
		if got[name] != want {
			t.Errorf("%s: %d addresses, want %d", name, got[name], want)
		}
	}
}

func TestUnit(t *testing.T) {
	root := machine(map[string]string{
		"lib/systemd/system/hbagent.service":                         "[Service]\nUser=nobody\n",
		"usr/lib/systemd/system/hbagent.service":                     "[Unit]\nUser=x\n[Service]\nUser=hbagent\nAmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW\nRestart=always\n",
		"etc/systemd/system/hbagent.service.d/b.conf":                "[Service]\nAmbientCapabilities=CAP_NET_RAW\n",
		"etc/systemd/system/hbagent.service.d/a.conf":                "[Service]\nAmbientCapabilities=\nRestart=no\n",
		"etc/systemd/system/multi-user.target.wants/hbagent.service": "",
		"run/systemd/system/x":                                       "",
	})
	u := readUnit(root)
	if !u.Systemd || !u.Enabled || u.File != "/usr/lib/systemd/system/hbagent.service" {
		t.Errorf("got %+v", u)
	}
	if u.Settings["User"] != "hbagent" || u.Settings["AmbientCapabilities"] != "CAP_NET_RAW" || u.Settings["Restart"] != "no" {
		t.Errorf("settings %v", u.Settings)
	}
	if u := readUnit(machine(nil)); u.File != "" || u.Enabled || u.Systemd {
		t.Errorf("of an empty machine: %+v", u)
	}
}

func TestLookupUser(t *testing.T) {
	root := machine(map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\nhbagent:x:995:990:agent:/:/usr/sbin/nologin\nbroken\n",
		"etc/group":  "adm:x:4:syslog,hbagent\nmysql:x:120:\nssl-cert:x:107:xhbagent\n",
	})
	u, ok := lookupUser(root, func(f []string) bool { return f[0] == "hbagent" })
	if !ok || u.UID != 995 || !slices.Equal(u.GIDs, []int{990, 4}) {
		t.Errorf("got %+v, %v", u, ok)
	}
	if _, ok := lookupUser(root, func(f []string) bool { return f[0] == "nobody" }); ok {
		t.Error("found who is not there")
	}
}
