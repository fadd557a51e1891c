package booted_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/booted"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

func TestMain(m *testing.M) { os.Exit(booted.Main(func() int { return labtest.Main(m, nil) })) }

const patience = 60 * time.Second

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// boot starts a machine of its own for each test.
func boot(t *testing.T) (*booted.Machine, context.Context) {
	t.Helper()
	ctx := labtest.Within(t, patience)
	w := labtest.New(t, lab.Options{Nodes: []string{"web1"}})
	s, err := booted.New(ctx, w)
	if errors.Is(err, booted.ErrNoBase) {
		labtest.Skip(t, err.Error())
	}
	must(t, err)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.Machine("web1"), ctx
}

// says runs a command on the machine.
func says(t *testing.T, ctx context.Context, m *booted.Machine, args ...string) string {
	t.Helper()
	out, err := m.Output(ctx, args...)
	must(t, err)
	return strings.TrimSpace(out)
}

// What is on the disk survives everything; what is in memory and in the kernel's network survives nothing.
func TestMachine(t *testing.T) {
	m, ctx := boot(t)
	bootID := func() string { return says(t, ctx, m, "cat", "/proc/sys/kernel/random/boot_id") }
	leaveTraces := func() {
		says(t, ctx, m, "sh", "-c", "echo kept >/root/kept; sync; echo lost >/run/lost; ip address add 10.77.0.66/32 dev eth0")
	}
	isNew := func(t *testing.T, before string) {
		t.Helper()
		if id := bootID(); id == before {
			t.Errorf("the boot id is %s as before", id)
		}
		if got := says(t, ctx, m, "cat", "/root/kept"); got != "kept" {
			t.Errorf("the disk has %q", got)
		}
		if _, err := m.Output(ctx, "cat", "/run/lost"); err == nil {
			t.Error("/run survived")
		}
		out := says(t, ctx, m, "ip", "address", "show", "dev", "eth0")
		if !strings.Contains(out, m.Addr4.String()) || strings.Contains(out, "10.77.0.66") {
			t.Errorf("the card has %s", out)
		}
	}

	for _, unit := range []string{"apache2.service", "ssh.service", "systemd-networkd.service"} {
		if got := says(t, ctx, m, "systemctl", "is-active", unit); got != "active" {
			t.Errorf("%s is %s", unit, got)
		}
	}
	if got := says(t, ctx, m, "hostname"); got != "web1" {
		t.Errorf("host name %q", got)
	}

	for _, tt := range []struct {
		name string
		deed func() error
		dirt bool // nobody says goodbye
	}{
		{"reboot", func() error { return m.Reboot(ctx) }, false},
		{"power cut", func() error { return errors.Join(m.PowerOff(), m.PowerOn(ctx)) }, true},
		{"shutdown", func() error { return errors.Join(m.Shutdown(ctx), m.PowerOn(ctx)) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			says(t, ctx, m, "sh", "-c", `systemd-run --quiet --unit=bye -p ExecStop="/bin/touch /root/bye" sleep infinity`)
			leaveTraces()
			before := bootID()
			must(t, tt.deed())
			isNew(t, before)
			_, err := m.Output(ctx, "rm", "/root/bye")
			if said := err == nil; said == tt.dirt {
				t.Errorf("the services were stopped: %v", said)
			}
		})
	}

	must(t, m.PowerOff())
	if _, err := m.Output(ctx, "true"); !errors.Is(err, lab.ErrPoweredOff) {
		t.Errorf("a command on a machine that is off: %v", err)
	}
}

func TestOutput(t *testing.T) {
	m, ctx := boot(t)
	var exit *exec.ExitError
	if _, err := m.Output(ctx, "sh", "-c", "echo no >&2; exit 7"); !errors.As(err, &exit) || exit.ExitCode() != 7 || !strings.Contains(err.Error(), "no") {
		t.Errorf("a command that fails: %v", err)
	}
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if _, err := m.Output(short, "sleep", "1000"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a command that does not end: %v", err)
	}
	must(t, m.Write("/root/dir/file", "text", 0o600))
	from := filepath.Join(t.TempDir(), "x")
	must(t, os.WriteFile(from, []byte("longer"), 0o600))
	must(t, m.Put(from, "/root/dir/copy"))
	if got := says(t, ctx, m, "stat", "--format=%a %s", "/root/dir/file", "/root/dir/copy"); got != "600 4\n644 6" {
		t.Errorf("the files are %s", got)
	}
}
