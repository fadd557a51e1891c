package systemdtest_test

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/lab/booted"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

// install puts the package on all machines. That starts nothing, and says what to do.
func (s *site) install(t *testing.T, deb string) {
	for _, m := range s.Machines() {
		must(t, m.Put(deb, "/root/hbagent.deb"))
	}
	// Both ways that Debian has.
	said := s.on(t, "web1", "dpkg", "--install", "/root/hbagent.deb")
	said += s.on(t, "web2", "apt-get", "install", "--yes", "/root/hbagent.deb")
	s.on(t, "db1", "apt-get", "install", "--yes", "/root/hbagent.deb")
	if strings.Count(said, "hbagent is installed and not started") != 2 {
		t.Errorf("it does not say what to do:\n%s", said)
	}
	for _, m := range everywhere {
		if got := s.show(t, m, "hbagent", "ActiveState"); got != "inactive" {
			t.Errorf("the agent of %s is %s", m, got)
		}
		s.on(t, m, "id", "hbagent")
		if got := s.on(t, m, "stat", "--format=%a %U:%G", "/etc/hbagent"); got != "750 root:hbagent" {
			t.Errorf("/etc/hbagent on %s: %s", m, got)
		}
	}
	// Started too early it says what is missing, and that is all.
	if r := s.run(t, "web1", "systemctl", "start", "hbagent"); r.code == 0 {
		t.Error("it starts without a config")
	}
	if got := s.show(t, "web1", "hbagent", "ExecMainStatus"); got != "78" {
		t.Errorf("exit code without a config: %s, want 78", got)
	}
	s.on(t, "web1", "systemctl", "reset-failed", "hbagent")
}

// start configures all machines and starts their agents: one of the two gets the address.
func (s *site) start(t *testing.T) {
	file, key := "/etc/hbagent/hbagent.toml", "/etc/hbagent/gossip.key"
	said := s.on(t, "web1", "hbagent", "init", "--yes", "--cluster", "shop", "--ttl", ttl.String(), "--node", "web1=10.77.0.11",
		"--node", "web2=10.77.0.12", "--node", "db1=10.77.0.13", "--address", floating.String())
	if !strings.Contains(said, "ssh root@10.77.0.13 systemctl enable --now hbagent") {
		t.Errorf("init does not say what to do on the others:\n%s", said)
	}
	// A machine may own the address again one second after it failed, so that the next fault need not wait.
	s.on(t, "web1", "sh", "-c", `printf 'hold      = "1s"\nmax_moves = "1000/10m"\n' >>`+file)
	for _, m := range others("web1") {
		s.on(t, "web1", "scp", "-p", file, key, "root@"+m+":/etc/hbagent/")
		s.on(t, m, "chgrp", "hbagent", key)
	}
	for _, m := range everywhere {
		s.on(t, m, "hbagent", "config", "check")
	}
	must(t, s.Each(func(m *booted.Machine) error {
		_, err := m.Output(labtest.Within(t, patience), "systemctl", "enable", "--now", "hbagent")
		return err
	}))
	must(t, s.client.WaitAnswer(labtest.Within(t, patience), s.began, ""))
	s.settled(t)
}

// At rest nothing complains: not the agent, not systemd, not its analysis of the unit.
func (s *site) atRest(t *testing.T) {
	at := s.settled(t)
	since := make(map[string]string)
	for _, m := range everywhere {
		said := s.on(t, m, "journalctl", "--lines=1", "--quiet", "--output=cat", "--show-cursor")
		since[m] = said[strings.LastIndex(said, "cursor: ")+len("cursor: "):]
	}
	s.stays(t, "at rest", at, func(context.Context) error { return nil })
	for _, m := range everywhere {
		if got := s.on(t, m, "journalctl", "--no-pager", "--quiet", "--output=cat", "--after-cursor="+since[m], "--unit=hbagent"); got != "" {
			t.Errorf("the agent of %s talks at rest:\n%s", m, got)
		}
		if got := s.on(t, m, "systemctl", "--failed", "--no-legend", "--plain"); got != "" {
			t.Errorf("failed on %s: %s", m, got)
		}
		if got := s.journal(t, m, "level=(WARN|ERROR)"); got != "" {
			t.Errorf("the agent of %s complains:\n%s", m, got)
		}
		if r := s.run(t, m, "hbagent", "status"); r.code != 0 {
			t.Errorf("%s: exit code %d: %s", r.command, r.code, r.all)
		}
	}
	unit := "/usr/lib/systemd/system/hbagent.service"
	// verify returns 0 for keys it does not know: what it says counts.
	if got := s.on(t, at, "sh", "-c", "systemd-analyze verify "+unit+" 2>&1"); got != "" {
		t.Errorf("systemd-analyze verify: %s", got)
	}
	s.on(t, at, "systemd-analyze", "security", "--threshold=30", "hbagent.service")
}

// journal greps in what the agent of a machine has said since its boot.
func (s *site) journal(t *testing.T, machine, pattern string) string {
	t.Helper()
	r := s.run(t, machine, "journalctl", "--no-pager", "--quiet", "--output=cat", "--boot", "--unit=hbagent", "--grep="+pattern)
	if r.code > 1 { // 1: nothing
		t.Fatalf("%s: %s", r.command, r.all)
	}
	return strings.TrimSpace(r.stdout)
}

// upgrade installs another version on each machine in turn. Nobody notices.
func (s *site) upgrade(t *testing.T, what, deb string) {
	out, err := exec.CommandContext(t.Context(), "dpkg-deb", "--field", deb, "Version").Output()
	must(t, err)
	version := strings.TrimSpace(string(out))
	at := s.settled(t)
	for _, m := range []string{"db1", other(at), at} {
		must(t, s.Machine(m).Put(deb, "/root/"+filepath.Base(deb)))
		before := s.show(t, m, "hbagent", "MainPID")
		s.stays(t, what+" of "+m, at, s.command(m, "dpkg", "--install", "/root/"+filepath.Base(deb)))
		if got := s.on(t, m, "dpkg-query", "--show", "--showformat=${Version} ${db:Status-Status}", "hbagent"); got != version+" installed" {
			t.Errorf("%s has %s, want %s", m, got, version)
		}
		if now := s.show(t, m, "hbagent", "MainPID"); now == before {
			t.Errorf("the old agent of %s still runs", m)
		}
	}
	s.waitWell(t, at)
	// The new program runs everywhere.
	want := s.on(t, at, "sh", "-c", "hbagent version | head -n 1")
	s.waitStatus(t, everywhere, func(st control.Status) string {
		for _, n := range st.Nodes {
			if !strings.Contains(want, n.Version) {
				return fmt.Sprintf("%s runs %s, installed is %s", n.Name, n.Version, want)
			}
		}
		return ""
	})
}

// clean fails the test if a machine has anything in its kernel that is the agent's.
func (s *site) clean(t *testing.T, machine string) {
	t.Helper()
	if got := s.on(t, machine, "ip", "-oneline", "address", "show"); strings.Contains(got, floating.Addr().String()) {
		t.Errorf("%s has the address:\n%s", machine, got)
	}
	tables, err := s.Machine(machine).Node.Output(labtest.Within(t, patience), exec.Command("nft", "list", "tables"))
	must(t, err)
	if strings.Contains(string(tables), "hbagent") {
		t.Errorf("%s has the tables:\n%s", machine, tables)
	}
}

// Removed, the agent hands over and is gone; what its administrator wrote stays, and serves again.
func (s *site) remove(t *testing.T) {
	at := s.settled(t)
	s.moves(t, "dpkg --remove on "+at, other(at), promisePlanned, s.command(at, "dpkg", "--remove", "hbagent"))
	s.clean(t, at)
	for _, gone := range []string{"/usr/bin/hbagent", "/usr/lib/systemd/system/hbagent.service", "/run/hbagent/control.sock"} {
		if r := s.run(t, at, "test", "-e", gone); r.code == 0 {
			t.Errorf("%s is still on %s", gone, at)
		}
	}
	for _, kept := range []string{"/etc/hbagent/hbagent.toml", "/etc/hbagent/gossip.key", "/var/lib/hbagent"} {
		s.on(t, at, "test", "-e", kept)
	}
	if state := s.show(t, at, "hbagent", "LoadState") + " " + s.show(t, at, "hbagent", "ActiveState"); state != "not-found inactive" {
		t.Errorf("the unit on %s is %s", at, state)
	}
	s.stays(t, "dpkg --install after it on "+at, other(at), s.command(at, "dpkg", "--install", "/root/hbagent.deb"))
	s.on(t, at, "systemctl", "enable", "--now", "hbagent")
	s.waitWell(t, other(at))
}

// Purged, nothing is left but the user, as Debian does it.
func (s *site) purge(t *testing.T) {
	for _, m := range everywhere {
		s.on(t, m, "dpkg", "--purge", "hbagent")
	}
	for _, m := range everywhere {
		s.clean(t, m)
		left := s.on(t, m, "find", "/etc", "/run", "/tmp", "/usr", "/var", "-xdev", "-name", "*hbagent*")
		left += s.on(t, m, "find", "/run", "/tmp", "-name", "*hbagent*")
		if left != "" {
			t.Errorf("left on %s:\n%s", m, left)
		}
		if r := s.run(t, m, "dpkg-query", "--show", "--showformat=${db:Status-Status}", "hbagent"); r.code == 0 && r.stdout != "not-installed" {
			t.Errorf("the package is %s on %s", r.stdout, m)
		}
		if got := s.on(t, m, "systemctl", "--failed", "--no-legend", "--plain"); got != "" {
			t.Errorf("failed on %s: %s", m, got)
		}
	}
}
