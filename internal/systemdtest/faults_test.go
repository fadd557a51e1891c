package systemdtest_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/lab/booted"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

// A machine that loses its power is replaced, and takes nothing when it is back.
func (s *site) powerCut(t *testing.T) {
	for range 2 { // each of the two
		at := s.settled(t)
		s.moves(t, "power cut of "+at, other(at), promiseOwner, func(context.Context) error { return s.Machine(at).PowerOff() })
		s.stays(t, "its return", other(at), func(ctx context.Context) error { return s.Machine(at).PowerOn(ctx) })
		s.waitWell(t, other(at))
	}
}

// The power of the whole site fails. What was promised before is forgotten only when it has run out.
func (s *site) siteWide(t *testing.T) {
	s.settled(t)
	must(t, s.Each((*booted.Machine).PowerOff))
	began, ctx := time.Now(), labtest.Within(t, patience)
	must(t, s.Each(func(m *booted.Machine) error { return m.PowerOn(ctx) }))
	booting := time.Since(began)
	must(t, s.client.WaitAnswer(ctx, began, ""))
	s.note("%-50s %5.1f s from power to an answer, %.1f s of them to boot", "power cut of the whole site", time.Since(began).Seconds(), booting.Seconds())
	s.settled(t)
}

// Apache under systemd: started again in time it moves nothing, stopped it moves the address.
func (s *site) apache(t *testing.T) {
	at := s.settled(t)
	s.moves(t, "systemctl stop apache2 on "+at, other(at), promiseService, s.command(at, "systemctl", "stop", "apache2"))
	s.waitStatus(t, everywhere, func(st control.Status) string {
		if !strings.Contains(st.Groups[0].Reason, "check apache fails") {
			return "the reason does not name the check: " + st.Groups[0].Reason
		}
		return ""
	})
	s.stays(t, "systemctl start apache2 on "+at, other(at), s.command(at, "systemctl", "start", "apache2"))
	s.waitWell(t, other(at))

	// Every process of it. Debian's unit starts it again after a crash (Restart=on-abort); ours must cope with both.
	at = other(at)
	s.on(t, at, "mkdir", "-p", "/run/systemd/system/apache2.service.d")
	s.on(t, at, "sh", "-c", `printf '[Service]\nRestart=no\n' >/run/systemd/system/apache2.service.d/no.conf && systemctl daemon-reload`)
	s.moves(t, "systemctl kill -s KILL apache2 on "+at, other(at), promiseService, s.command(at, "systemctl", "kill", "-s", "KILL", "apache2"))
	s.on(t, at, "sh", "-c", `rm -r /run/systemd/system/apache2.service.d && systemctl daemon-reload && systemctl restart apache2`)
	s.waitWell(t, other(at))
}

// A reboot of the owner hands over first; the others are not missed.
func (s *site) reboot(t *testing.T) {
	at := s.settled(t)
	for _, m := range []string{other(at), "db1"} {
		s.stays(t, "reboot of "+m, at, s.Machine(m).Reboot)
		s.waitWell(t, at)
	}
	s.moves(t, "reboot of the owner "+at, other(at), promisePlanned, s.Machine(at).Reboot)
	s.waitWell(t, other(at))
}

// The owner is restarted, and crashes: it resumes its lease.
func (s *site) restart(t *testing.T) {
	at := s.settled(t)
	for _, m := range []string{at, other(at), "db1"} {
		s.stays(t, "systemctl restart hbagent on "+m, at, s.command(m, "systemctl", "restart", "hbagent"))
	}
	s.stays(t, "kill -KILL of the agent on "+at, at, s.command(at, "systemctl", "kill", "--kill-whom=main", "-s", "KILL", "hbagent"))
	s.stays(t, "systemctl reload hbagent on "+at, at, s.command(at, "systemctl", "reload", "hbagent"))
	s.waitWell(t, at)

	s.moves(t, "systemctl stop hbagent on "+at, other(at), promisePlanned, s.command(at, "systemctl", "stop", "hbagent"))
	s.on(t, at, "systemctl", "start", "hbagent")
	s.waitWell(t, other(at))
}

// An agent that hangs is replaced within a ttl, the kernel silences it, and systemd starts it again.
func (s *site) watchdog(t *testing.T) {
	at := s.settled(t)
	pid := s.show(t, at, "hbagent", "MainPID")
	began := time.Now()
	s.moves(t, "kill -STOP of the agent on "+at, other(at), promiseOwner, s.command(at, "kill", "-STOP", pid))
	eventually(t, func() error {
		if now := s.show(t, at, "hbagent", "MainPID"); now == pid || now == "0" {
			return errors.New("systemd has not started another agent")
		}
		return nil
	})
	s.note("%-50s %5.1f s until systemd had started it again", "", time.Since(began).Seconds())
	if got := s.on(t, at, "journalctl", "--no-pager", "--unit=hbagent", "--grep=[Ww]atchdog timeout"); got == "" {
		t.Error("it was not the watchdog")
	}
	s.waitWell(t, other(at))
}

// A config that does not hold changes nothing in a running agent; one that starts with it ends with 78, and systemd does not
// try again.
func (s *site) badConfig(t *testing.T) {
	at := s.settled(t)
	file := "/etc/hbagent/hbagent.toml"
	s.on(t, at, "sed", "-i", "s/^hold .*/hodl = \"1s\"/", file)
	s.stays(t, "reload with a bad config on "+at, at, func(context.Context) error {
		r := s.run(t, at, "systemctl", "reload", "hbagent")
		if r.code == 0 {
			t.Error("systemctl reload took a bad config")
		}
		return nil
	})
	if r := s.run(t, at, "hbagent", "config", "check"); r.code == 0 || !strings.Contains(r.all, "hodl") || !strings.Contains(r.all, "hold") {
		t.Errorf("config check: exit code %d: %s", r.code, r.all)
	}
	// The old agent sees that the new one will not start, and hands over.
	s.moves(t, "restart with a bad config on "+at, other(at), promisePlanned, func(context.Context) error {
		if r := s.run(t, at, "systemctl", "restart", "hbagent"); r.code == 0 {
			t.Error("systemctl restart did not fail")
		}
		return nil
	})
	s.staysDown(t, at)
	s.on(t, at, "sed", "-i", "s/^hodl .*/hold = \"1s\"/", file)
	s.on(t, at, "systemctl", "start", "hbagent")
	s.waitWell(t, other(at))

	// A crash leaves it no time for that.
	at = other(at)
	s.on(t, at, "sed", "-i", "s/^hold .*/hodl = \"1s\"/", file)
	s.moves(t, "kill -KILL with a bad config on "+at, other(at), promiseOwner,
		s.command(at, "systemctl", "kill", "--kill-whom=main", "-s", "KILL", "hbagent"))
	s.staysDown(t, at)
	s.on(t, at, "sed", "-i", "s/^hodl .*/hold = \"1s\"/", file)
	s.on(t, at, "systemctl", "start", "hbagent")
	s.waitWell(t, other(at))
}

// staysDown fails the test unless the agent of a machine has ended for its config, is not started again, and has left nothing.
func (s *site) staysDown(t *testing.T, at string) {
	t.Helper()
	eventually(t, func() error {
		if got := s.show(t, at, "hbagent", "ActiveState"); got != "failed" {
			return errors.New("the unit is " + got)
		}
		return nil
	})
	pid := s.show(t, at, "hbagent", "ExecMainPID")
	pass(t, calm) // in which a loop would show
	for property, want := range map[string]string{"ActiveState": "failed", "ExecMainStatus": "78", "ExecMainPID": pid} {
		if got := s.show(t, at, "hbagent", property); got != want {
			t.Errorf("%s is %s, want %s", property, got, want)
		}
	}
	s.clean(t, at)
}

// A machine in maintenance stays off over a reboot, and a restart of the others.
func (s *site) maintenance(t *testing.T) {
	at := s.settled(t)
	s.moves(t, "maintenance on "+at, other(at), promisePlanned, s.command(at, "hbagent", "maintenance", "on", "--reason", "new disk"))
	in := func(st control.Status) string {
		for _, n := range st.Nodes {
			if g := n.Groups["web"]; n.Name == at && (!n.Alive || n.Maintenance != "new disk" || g.State != control.StateMaintenance || g.Eligible) {
				return "maintenance " + strconv.Quote(n.Maintenance) + ", state " + string(g.State)
			}
		}
		return ""
	}
	began := time.Now()
	s.waitStatus(t, everywhere, in)
	s.note("%-50s %5.1f s until the last connection had finished", "", time.Since(began).Seconds())
	s.stays(t, "reboot in maintenance", other(at), s.Machine(at).Reboot)
	s.waitStatus(t, everywhere, in)
	s.stays(t, "maintenance off", other(at), s.command(at, "hbagent", "maintenance", "off"))
	s.waitWell(t, other(at))
}
