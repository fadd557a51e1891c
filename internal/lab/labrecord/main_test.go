package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hbagent/hbagent/internal/bench"
)

// A command that succeeds is recorded with the commit, and stands in the docs; one that fails, or prints nothing, changes
// nothing.
func TestRun(t *testing.T) {
	t.Chdir(t.TempDir())
	const doc = "docs/m.md"
	if err := os.Mkdir("docs", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(doc, []byte("<!-- bench:begin record it -->\n<!-- bench:end -->\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "commit", "-q", "-m", "m"}} {
		if out, err := exec.Command("git", args...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	head, err := commit(t.Context())
	if err != nil || strings.HasSuffix(head, "-dirty") {
		t.Fatalf("commit %q, %v", head, err)
	}
	file := filepath.Join(bench.DataDir, "it.txt")
	for _, bad := range [][]string{{"sh", "-c", "echo 3 ms; exit 1"}, {"true"}} {
		if err := run(t.Context(), "it", false, bad); err == nil {
			t.Errorf("%v is recorded", bad)
		}
		if _, err := os.Stat(file); !os.IsNotExist(err) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if err := os.WriteFile("it.sh", []byte("printf '=== RUN   Test\n    x_test.go:7: 3 ms\nPASS\n'\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), "it", true, []string{"sh", "it.sh"}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(doc)
	if err != nil || !strings.Contains(string(got), "```text\n3 ms\n```") || !strings.Contains(string(got), "`sh it.sh`") || !strings.Contains(string(got), "commit "+head) {
		t.Errorf("the doc is %s, %v", got, err)
	}
	// What was recorded makes no other source; a changed program does.
	if again, err := commit(t.Context()); err != nil || again != head {
		t.Errorf("commit %q, %v, want %q", again, err, head)
	}
	if err := os.WriteFile("main.go", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("git", "add", "-N", "main.go").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if again, err := commit(t.Context()); err != nil || again != head+"-dirty" {
		t.Errorf("commit %q of a changed source, %v", again, err)
	}
	if err := run(t.Context(), "it", false, nil); err == nil {
		t.Error("a name without a command")
	}
}
