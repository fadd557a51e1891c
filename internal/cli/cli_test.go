package cli

import (
	"bytes"
	"context"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hbagent/hbagent/internal/agent"
	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/control/controltest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// result is what a command leaves behind.
type result struct {
	code           int
	stdout, stderr string
}

// testApp is an app without the outside world: no environment, UTC, a plain 80-column screen.
func testApp(t *testing.T) (*app, func(args ...string) result) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	a := &app{
		stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr,
		getenv: func(string) string { return "" },
		now:    func() time.Time { return controltest.Now },
		zone:   time.UTC,
		screen: screen{width: defaultWidth},
		tick:   func(time.Duration) <-chan time.Time { return nil },
	}
	a.neighbors.groupOfAgent = func() int { return keepGroup }
	a.neighbors.deactivate = func(agent.Options, func(string) bool) ([]string, error) { return nil, fs.ErrNotExist }
	return a, func(args ...string) result {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		code := a.run(ctx, args)
		return result{code, stdout.String(), stderr.String()}
	}
}

// run runs one command in such an app.
func run(t *testing.T, args ...string) result {
	t.Helper()
	_, run := testApp(t)
	return run(args...)
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test -update writes it; then read it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestWrongUsage(t *testing.T) {
	tests := []struct {
		args   []string
		code   int
		stderr string
	}{
		{nil, exitUsage, "hbagent [command]"},
		{[]string{"stauts"}, exitUsage, `unknown command "stauts": did you mean status?`},
		{[]string{"frobnicate"}, exitUsage, `unknown command "frobnicate"` + "\n"},
		{[]string{"config"}, exitUsage, "hbagent config [command]"},
		{[]string{"config", "chekc"}, exitUsage, `unknown command "chekc": did you mean check?`},
		{[]string{"events", "--folow"}, exitUsage, "unknown flag --folow: did you mean --follow?"},
		{[]string{"events", "--rundir=/x"}, exitUsage, "did you mean --run-dir?"},
		{[]string{"events", "--since", "yesterday"}, exitUsage, "yesterday"},
		{[]string{"events", "--lines", "-3"}, exitUsage, "1 or more"},
		{[]string{"events", "--since", "-1h"}, exitUsage, "in the future"},
		{[]string{"events", "-f", "-n", "3"}, exitUsage, "does not go with --follow"},
		{[]string{"switchover"}, exitUsage, "accepts 1 arg"},
		{[]string{"agent", "--log-level", "loud"}, exitUsage, "--log-level loud"},
		{[]string{"agent", "--log-format", "xml"}, exitUsage, "--log-format xml"},
		{[]string{"completion", "tcsh"}, exitUsage, "tcsh"},
		{[]string{"status", "--jsno"}, 3, "unknown flag --jsno: did you mean --json?"},
		{[]string{"status", "web", "db"}, 3, "accepts at most 1 arg"},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			got := run(t, tt.args...)
			if got.code != tt.code || got.stdout != "" || !strings.Contains(got.stderr, tt.stderr) {
				t.Errorf("got %+v, want code %d, nothing on stdout, and on stderr: %s", got, tt.code, tt.stderr)
			}
		})
	}
}

// TestEveryVerbExplainsItself: help is a result, fits 80 columns, and names the exit codes where a
// script would ask for them.
func TestEveryVerbExplainsItself(t *testing.T) {
	a, _ := testApp(t)
	for _, cmd := range a.root().Commands() {
		t.Run(cmd.Name(), func(t *testing.T) {
			got := run(t, cmd.Name(), "--help")
			if got.code != exitOK || got.stderr != "" {
				t.Fatalf("got %+v, want help on stdout", got)
			}
			for line := range strings.Lines(got.stdout) {
				if n := len([]rune(strings.TrimRight(line, "\n"))); n > 80 {
					t.Errorf("%d columns: %s", n, line)
				}
			}
		})
	}
}

func TestNoAgent(t *testing.T) {
	dir := t.TempDir()
	const words = "is hbagent running? systemctl status hbagent"
	for _, args := range [][]string{{"switchover", "web"}, {"check"}, {"events", "--json"}, {"events", "-f", "--json"}, {"reload"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			got := run(t, append(args, "--run-dir", dir)...)
			if got.code != exitFailed || got.stdout != "" || !strings.Contains(got.stderr, words) {
				t.Errorf("got %+v, want code 1 and %q on stderr", got, words)
			}
		})
	}
	t.Run("status", func(t *testing.T) {
		got := run(t, "status", "--run-dir", dir)
		if got.code != 3 || !strings.HasPrefix(got.stdout, "unknown: no agent answers on ") || got.stderr != "" {
			t.Errorf("got %+v, want code 3 and the verdict unknown", got)
		}
	})
	t.Run("status --json", func(t *testing.T) {
		got := run(t, "status", "--json", "--run-dir", dir)
		if got.code != 3 || got.stdout != "" || !strings.Contains(got.stderr, words) {
			t.Errorf("got %+v, want code 3 and nothing on stdout", got)
		}
	})
}

func TestRunDirFromEnvironment(t *testing.T) {
	dir := controltest.Serve(t, controltest.Agent{OnStatus: func(context.Context) (control.Status, error) { return controltest.AllWell(), nil }})
	a, run := testApp(t)
	a.getenv = func(name string) string { return map[string]string{envRunDir: dir}[name] }
	if got := run("status"); got.code != exitOK {
		t.Errorf("got %+v, want that the agent of $%s answers", got, envRunDir)
	}
}

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(m.Run())
}

func readGolden(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var ansi = regexp.MustCompile("\x1b\\[[0-9;]*m")

func ansiFree(s string) string { return ansi.ReplaceAllString(s, "") }
