package doctor

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/hbagent/hbagent/internal/detect"
)

// maxConfig is how much of a config of somebody else's is read. Chosen by us.
const maxConfig = 1 << 20

// rivals are programs that manage addresses, and where their config is (below the root) unless the command line names one.
var rivals = map[string]string{
	"keepalived":  "etc/keepalived/keepalived.conf",
	"ucarp":       "",
	"vrrpd":       "",
	"uvrrpd":      "",
	"heartbeat":   "etc/ha.d/haresources",
	"pacemakerd":  "var/lib/pacemaker/cib/cib.xml",
	"vip-manager": "etc/default/vip-manager.yml",
	"kube-vip":    "",
	"wackamole":   "etc/wackamole.conf",
}

// processes finds agents and rivals in this network namespace. The namespace of another user's process can be read by root
// alone; for others a process counts as here, and several agents as a question.
func (c *collector) processes() {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		c.Agent.ProcWhy = err.Error()
		return
	}
	own, _ := os.Readlink("/proc/self/ns/net")
	unsure := false
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		args := strings.Split(strings.TrimRight(string(b), "\x00"), "\x00")
		if err != nil || args[0] == "" {
			continue // gone, or a thread of the kernel
		}
		ns, err := os.Readlink(filepath.Join("/proc", e.Name(), "ns/net"))
		if err == nil && ns != own {
			continue
		}
		p := Process{PID: pid, Name: filepath.Base(args[0]), Args: args}
		config, isRival := rivals[p.Name]
		switch {
		case isAgent(args):
			c.Agent.Agents = append(c.Agent.Agents, p)
			unsure = unsure || err != nil
		case isRival && !slices.ContainsFunc(c.Machine.Rivals, func(r Rival) bool { return r.Name == p.Name }):
			c.Machine.Rivals = append(c.Machine.Rivals, c.rival(p, config))
		}
	}
	if unsure && len(c.Agent.Agents) > 1 {
		c.Agent.ProcWhy = fmt.Sprintf("%d agents run on this machine; only root can tell whether each has a network of its own (containers)", len(c.Agent.Agents))
	}
}

// isAgent tells `hbagent agent` from other verbs, wherever its flags stand.
func isAgent(args []string) bool {
	if filepath.Base(args[0]) != "hbagent" {
		return false
	}
	for i, a := range args[1:] {
		if a == "--run-dir" || i > 0 && args[i] == "--run-dir" {
			continue
		}
		if !strings.HasPrefix(a, "-") {
			return a == "agent"
		}
	}
	return false
}

// rival looks for floating addresses on the command line and in the config.
func (c *collector) rival(p Process, config string) Rival {
	r := Rival{Process: p, Source: "its command line"}
	floats := floating(c.Config)
	text := strings.Join(p.Args[1:], " ")
	if r.Addresses = mentioned(text, floats); len(r.Addresses) > 0 {
		return r
	}
	for i, a := range p.Args {
		if (a == "-f" || a == "--use-file" || a == "--config") && i+1 < len(p.Args) {
			config = strings.TrimPrefix(p.Args[i+1], "/")
		} else if file, ok := strings.CutPrefix(a, "--use-file="); ok {
			config = strings.TrimPrefix(file, "/")
		}
	}
	if b, err := fs.ReadFile(c.root, config); config != "" && err == nil && len(b) <= maxConfig {
		r.Source = "/" + config
		r.Addresses = mentioned(uncomment(string(b)), floats)
	}
	return r
}

// uncomment drops lines that are comments in most of the world's configs.
func uncomment(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if t := strings.TrimSpace(line); !strings.HasPrefix(t, "#") && !strings.HasPrefix(t, "!") && !strings.HasPrefix(t, ";") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// mentioned are the addresses that stand in a text as words of their own: 10.0.0.5 is not in 10.0.0.50.
func mentioned(text string, addrs map[netip.Addr]string) []netip.Addr {
	var out []netip.Addr
	words := strings.FieldsFunc(text, func(r rune) bool {
		return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'f' || r >= 'A' && r <= 'F' || r == '.' || r == ':')
	})
	for _, w := range words {
		a, err := netip.ParseAddr(strings.Trim(w, "."))
		if err != nil {
			a, err = netip.ParseAddr(strings.TrimSuffix(w, ":")) // a YAML key
		}
		if err == nil && addrs[a] != "" && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// capabilitiesOf are the effective ones of a process.
func capabilitiesOf(pid int) (caps uint64, why string) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, "the capabilities of the agent cannot be read: " + err.Error()
	}
	for line := range bytes.Lines(b) {
		if text, ok := bytes.CutPrefix(line, []byte("CapEff:")); ok {
			caps, err := strconv.ParseUint(string(bytes.TrimSpace(text)), 16, 64)
			if err != nil {
				return 0, err.Error()
			}
			return caps, ""
		}
	}
	return 0, "/proc does not tell the capabilities of the agent"
}

// sockets lists what listens by TCP. It needs no privilege, except for the names of other users' programs.
func (c *collector) sockets() {
	list, err := detect.Sockets(os.DirFS("/proc"))
	if err != nil {
		c.SockWhy = err.Error()
		return
	}
	for _, l := range list {
		if l.Addr.IsValid() {
			c.Sockets = append(c.Sockets, Socket{l.Addr, l.Command})
		}
	}
}

// machine reads what the hypervisor says of itself.
func (c *collector) machine() {
	dmi := func(name string) string {
		b, err := fs.ReadFile(c.root, "sys/class/dmi/id/"+name)
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(b))
	}
	c.Machine.Vendor = dmi("sys_vendor")
	c.Machine.Product = strings.TrimSpace(dmi("product_name") + " " + dmi("chassis_asset_tag"))
}
