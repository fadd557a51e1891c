package control_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/control/controltest"
)

// envAsk makes the test binary a client of the agent in that run directory. It is how a test becomes
// somebody else: credentials belong to processes.
const envAsk = "HBAGENT_TEST_ASK"

func TestMain(m *testing.M) {
	if dir := os.Getenv(envAsk); dir != "" {
		os.Exit(ask(control.NewClient(dir)))
	}
	os.Exit(m.Run())
}

// ask reads and commands, and prints what came of it.
func ask(c *control.Client) int {
	ctx := context.Background()
	_, statusErr := c.Status(ctx)
	_, eventsErr := c.Events(ctx, controltest.Now, 1)
	_, planErr := c.Plan(ctx, control.PlanRequest{})
	_, reloadErr := c.Reload(ctx, false)
	_, checksErr := c.RunChecks(ctx, "")
	_, moveErr := c.Switchover(ctx, control.SwitchoverRequest{Group: "web"}, nil)
	for _, r := range []struct {
		what string
		err  error
	}{{"status", statusErr}, {"events", eventsErr}, {"plan", planErr}, {"reload", reloadErr}, {"checks", checksErr}, {"switchover", moveErr}} {
		class := "ok"
		if r.err != nil {
			class = "failed: " + r.err.Error()
		}
		if errors.Is(r.err, control.ErrPermission) {
			class = "forbidden: " + r.err.Error()
		}
		fmt.Printf("%s %s\n", r.what, class)
	}
	return 0
}

func TestWhoMayCommand(t *testing.T) {
	if os.Getuid() != 0 {
		skip(t, "needs root: it becomes another user; run it with sudo")
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	daemon, err := user.LookupGroup("daemon")
	if err != nil {
		t.Fatal(err)
	}
	uid, gid, daemonGID := number(t, nobody.Uid), number(t, nobody.Gid), number(t, daemon.Gid)
	const yes, no = "ok", "forbidden: "
	tests := []struct {
		name string
		cred *syscall.Credential
		want string
	}{
		{"root", &syscall.Credential{}, yes},
		{"a stranger", &syscall.Credential{Uid: uid, Gid: gid}, no},
		{"a member of the group", &syscall.Credential{Uid: uid, Gid: daemonGID}, yes},
		{"the group alone is not root's", &syscall.Credential{Uid: uid, Gid: 0}, no},
	}
	binary, dir := publicCopy(t)
	controltest.ServeIn(t, control.ServerOptions{RunDir: dir, Agent: controltest.Agent{}, Group: "daemon"})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.CommandContext(testContext(t), binary)
			cmd.Env = append(os.Environ(), envAsk+"="+dir)
			cmd.Dir = dir
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: tt.cred}
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Split(strings.TrimSpace(string(out)), "\n")
			want := []string{"status ok", "events ok", "plan ok", "reload " + tt.want, "checks " + tt.want, "switchover " + tt.want}
			if len(got) != len(want) {
				t.Fatalf("got %q, want %q", got, want)
			}
			for i := range want {
				if got[i] != want[i] && !(tt.want == no && strings.HasPrefix(got[i], want[i])) {
					t.Errorf("got %q, want %q", got[i], want[i])
				}
			}
			if tt.want == no && !strings.Contains(string(out), "usermod -aG daemon nobody") {
				t.Errorf("the refusal does not say what to do: %s", out)
			}
		})
	}
}

// publicCopy puts the test binary and a run directory where every user can get at them.
func publicCopy(t *testing.T) (binary, dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "hbagent-control-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	binary = filepath.Join(dir, "client")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(binary, self, 0o755)); err != nil {
		t.Fatal(err)
	}
	return binary, dir
}

func number(t *testing.T, s string) uint32 {
	t.Helper()
	var n uint32
	if _, err := fmt.Sscan(s, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("HBAGENT_TEST_NO_SKIP") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}
