package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hbagent/hbagent/internal/config"
)

// A hypervisor, and what its network does with addresses that move.
type hypervisor struct {
	word  string // in the DMI vendor or product
	name  string
	noARP bool // addresses do not follow ARP there
	hint  string
}

var hypervisors = []hypervisor{
	{"Amazon EC2", "Amazon EC2", true, "move the address by the provider's API from on_active (assign-private-ip-addresses, or an Elastic IP)"},
	{"Google", "Google Compute Engine", true, "move an alias IP or a route by the provider's API from on_active"},
	{"Microsoft Corporation Virtual Machine 7783", "Microsoft Azure", true, "move the address by the provider's API from on_active"},
	{"Microsoft", "Hyper-V", false, "the virtual network adapter needs `Set-VMNetworkAdapter -MacAddressSpoofing On` for planned moves that break no connection"},
	{"OpenStack", "OpenStack", false, "the port needs the floating address as allowed-address-pair; port security drops it otherwise"},
	{"VMware", "VMware", false, "the port group needs Forged Transmits = Accept for planned moves that break no connection"},
	{"DigitalOcean", "DigitalOcean", true, "reserved IPs are moved by the provider's API from on_active"},
	{"Hetzner", "Hetzner Cloud", true, "floating IPs are moved by the provider's API from on_active"},
	{"Xen", "Xen", false, "the dom0 may filter ARP of addresses that it has not given out"},
	{"QEMU", "KVM", false, "libvirt's filter clean-traffic, and Proxmox's IP filter, drop addresses that are not the machine's: allow the floating ones"},
	{"VirtualBox", "VirtualBox", false, "bridged networks let addresses move; NAT networks do not"},
}

func judgeMachine(s *sheet, f *Facts) {
	judgeGate(s, f)
	text := f.Machine.Vendor + " " + f.Machine.Product
	for _, h := range hypervisors {
		words := strings.Fields(h.word)
		all := !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) })
		switch {
		case !all:
			continue
		case h.noARP:
			s.warn("hypervisor", h.name, h.hint, "this machine runs on %s, whose network does not follow ARP: an address that moves here moves for nobody", h.name)
		default:
			s.ok("hypervisor", h.name, "%s: %s", h.name, h.hint)
		}
		return
	}
	s.ok("hypervisor", "", "no hypervisor that is known to be in the way")
}

func judgeGate(s *sheet, f *Facts) {
	const id = "nf-tables"
	switch {
	case f.Config.Lease.Gate == config.GateAddress:
		s.ok(id, "", `not needed: gate = "address"`)
	case f.Gate.Why != "":
		s.skip(id, "", f.Gate.Why)
	case f.Gate.Err != "":
		s.problem(id, "", `use a kernel with nf_tables (Linux 4.19 or later; load the module nf_tables), or write gate = "address" with a ttl of 5s or more`, "%s", f.Gate.Err)
	default:
		s.ok(id, "", "this kernel holds the gate: %s", f.Gate.Name)
	}
}

func judgeUnit(s *sheet, f *Facts) {
	u := f.Unit
	if u.File == "" {
		if u.Systemd {
			s.warn("unit", "", "install the package, or `make install`", "systemd runs this machine, and there is no hbagent.service")
		} else {
			s.skip("unit", "", "no systemd here")
		}
		s.skip("unit-enabled", "", "no unit")
		return
	}
	clean := true
	need := func(key string, good []string, why string) {
		if have := u.Settings[key]; !slices.Contains(good, strings.ToLower(have)) {
			clean = false
			s.warn("unit", key, fmt.Sprintf("systemctl edit hbagent: [Service] %s=%s", key, good[0]), "%s has %s=%s: %s", u.File, key, have, why)
		}
	}
	need("RuntimeDirectoryPreserve", []string{"yes", "true", "1", "on", "restart"}, "the record of promises goes at each restart, and a restart moves addresses")
	need("Restart", []string{"always", "on-failure", "on-abnormal"}, "an agent that dies stays dead")
	need("KillMode", []string{"mixed", "process"}, "hooks are killed together with the agent, before it has handed over")
	if clean {
		s.ok("unit", "", "%s has what a restart without a move needs", u.File)
	}
	if u.Enabled {
		s.ok("unit-enabled", "", "it starts at boot")
	} else {
		s.warn("unit-enabled", "", "systemctl enable hbagent", "hbagent.service does not start at boot")
	}
}

// Chosen by us: an event has some 200 bytes, and the file is written anew when it has grown.
const (
	diskLeast = 16 << 20
	diskShare = 50 // 1/50: 2 %
)

func judgeDirs(s *sheet, f *Facts) {
	r := f.Files.RunDir
	switch {
	case r.Missing && !f.Agent.Running:
		s.skip("run-dir", r.Path, r.Path+" does not exist: no agent runs")
	case r.Err != "":
		s.skip("run-dir", r.Path, r.Err)
	case r.FS != "tmpfs" && r.FS != "ramfs":
		s.problem("run-dir", r.Path, "use /run/hbagent (RuntimeDirectory= of the unit): promises must not outlive a boot, and must not wait for a disk",
			"the run directory %s is on %s, not on a tmpfs", r.Path, r.FS)
	default:
		s.ok("run-dir", r.Path, "%s is on a %s", r.Path, r.FS)
	}
	d := f.Files.StateDir
	switch {
	case d.Missing && !f.Agent.Running:
		s.skip("state-dir", d.Path, d.Path+" does not exist yet: the agent makes it")
		return
	case d.Err != "":
		s.skip("state-dir", d.Path, d.Err)
		return
	case d.Missing:
		s.problem("state-dir", d.Path, "systemctl restart hbagent makes it", "the state directory %s is gone", d.Path)
		return
	case f.User.Known && (d.blocked(f.User) != "" || !f.User.may(mayWrite|mayExec, d.Mode, d.UID, d.GID)):
		s.problem("state-dir", d.Path, fmt.Sprintf("chown -R %s %s", f.User.Name, d.Path), "user %s cannot write to %s", f.User.Name, d.Path)
	default:
		s.ok("state-dir", d.Path, "%s can be written", d.Path)
	}
	switch {
	case d.Total == 0:
		s.skip("disk", d.Path, "its free space cannot be told")
	case d.Free == 0:
		s.problem("disk", d.Path, "make room", "the file system of %s is full: neither maintenance nor history can be written", d.Path)
	case d.Free < diskLeast && d.Free < d.Total/diskShare:
		s.warn("disk", d.Path, "make room", "the file system of %s has %d KiB left", d.Path, d.Free>>10)
	default:
		s.ok("disk", d.Path, "%d MiB are free for %s", d.Free>>20, d.Path)
	}
}

func judgeWitness(s *sheet, f *Facts) {
	const id = "witness"
	w := f.Config.Lease.Witness
	switch {
	case !w.IsValid():
		s.ok(id, "", "none is needed")
	case f.Witness.Why != "":
		s.skip(id, w.String(), f.Witness.Why)
	case f.Witness.Err != "":
		s.problem(id, w.String(), "is it up, and on the network of the floating address? without it the standby never takes over",
			"the witness %s does not answer on %s: %s", w, f.Witness.Interface, f.Witness.Err)
	case s.bad("proxy-arp", f.Witness.Interface):
		s.problem(id, w.String(), "name a witness that answers for itself, or add a third voter", "somebody answers for every address on %s: that the witness %s answers says nothing", f.Witness.Interface, w)
	default:
		s.ok(id, w.String(), "the witness %s answers (%v); two machines and a witness are weaker than three voters", w, round(f.Witness.RTT))
	}
}

// judgeForwarding tells of planned moves that could not drain.
func judgeForwarding(s *sheet, f *Facts) {
	for i := len(f.Agent.Events) - 1; i >= 0; i-- {
		e := f.Agent.Events[i]
		if e.Kind != "problem" || e.Reason != "cannot-drain" || f.At.Sub(e.At) > historyFor {
			continue
		}
		s.warn("forwarding", e.Group, "allow packets from foreign addresses on the ports of the nodes (anti-spoofing, port security), or handover = \"strict\"",
			"the last planned move of %s that was prepared here could not keep connections: %s", e.Group, e.Detail)
		return
	}
	if f.Agent.Running {
		s.ok("forwarding", "", "no planned move was refused for what the network drops")
	} else {
		s.skip("forwarding", "", "no agent to ask")
	}
}
