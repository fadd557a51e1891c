package lab_test

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

// launch starts a sandbox within ours, by a process of its own.
func launch(t *testing.T, worker ...string) (*exec.Cmd, io.Reader) {
	t.Helper()
	labtest.Need(t)
	cmd := exec.CommandContext(labtest.Within(t, 30*time.Second), "/proc/self/exe")
	cmd.Args = append([]string{"hbagent", "launch"}, worker...)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, stdout
}

func TestSandboxPassesExitCode(t *testing.T) {
	cmd, _ := launch(t, "exit")
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("Wait() = %v, want exit code 7", err)
	}
}

// The worker's stdout is our pipe: its end proves that every process with it is gone.
func TestSandboxEndsWithItsParent(t *testing.T) {
	cmd, stdout := launch(t, "hold")
	r := bufio.NewReader(stdout)
	if line, err := r.ReadString('\n'); line != "inside true\n" {
		t.Fatalf("worker says %q (%v), want to be inside", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("after SIGKILL: %q, %v; want the end of the pipe", rest, err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the launcher survived SIGKILL")
	}
}

func TestSandboxPassesSignals(t *testing.T) {
	cmd, stdout := launch(t, "hold")
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 128+int(syscall.SIGTERM) {
		t.Errorf("Wait() = %v, want exit code %d", err, 128+int(syscall.SIGTERM))
	}
}

func TestSandboxHasRunOfItsOwn(t *testing.T) {
	labtest.Need(t)
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(mounts), "tmpfs /run tmpfs") {
		t.Errorf("no tmpfs of our own on /run:\n%s", mounts)
	}
	if os.Getppid() != 1 {
		t.Errorf("parent is %d, want 1: own PID namespace with an init", os.Getppid())
	}
	if !lab.Inside() {
		t.Error("Inside() = false in the sandbox")
	}
}
