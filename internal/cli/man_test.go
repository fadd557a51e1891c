package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/config"
)

func TestMan(t *testing.T) {
	app, run := testApp(t)
	env := map[string]string{envRunDir: "/somewhere/else", envEpoch: "1767225599"} // the last second of 2025
	app.getenv = func(name string) string { return env[name] }
	dir := t.TempDir()
	if got := run("man", dir); got != (result{code: exitOK}) {
		t.Fatalf("got %+v", got)
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*.[58]"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, page := range pages {
		names[filepath.Base(page)] = true
		text := readFile(t, page)
		for _, want := range []string{"Dec 2025", "hbagent " + version, "hbagent", ".SH NAME"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s does not say %q", page, want)
			}
		}
		if strings.Contains(text, "/somewhere/else") || strings.Contains(text, "cobra") {
			t.Errorf("%s tells of the machine or of the tool that made it", page)
		}
	}
	for _, want := range []string{"hbagent.8", "hbagent-status.8", "hbagent-config-check.8", "hbagent.toml.5"} {
		if !names[want] {
			t.Errorf("no page %s", want)
		}
	}
	// A table in a long text keeps its lines.
	if text := readFile(t, filepath.Join(dir, "hbagent-status.8")); !strings.Contains(text, "\n  0  all well\n") {
		t.Errorf("the exit codes of status are mangled:\n%s", text)
	}
}

func TestManFails(t *testing.T) {
	if got := run(t, "man", filepath.Join(t.TempDir(), "none")); got.code != exitFailed || got.stderr == "" {
		t.Errorf("no directory: got %+v", got)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := run(t, "man", file); got.code != exitFailed {
		t.Errorf("a file: got %+v", got)
	}
	app, runIn := testApp(t)
	app.getenv = func(name string) string { return map[string]string{envEpoch: "yesterday"}[name] }
	if got := runIn("man", t.TempDir()); got.code != exitFailed || !strings.Contains(got.stderr, envEpoch) {
		t.Errorf("a date that is none: got %+v", got)
	}
}

// TestConfigManual: every key of the reference is the tag of a paragraph.
func TestConfigManual(t *testing.T) {
	page := configManual(config.Reference(), "hbagent test", time.Unix(0, 0).UTC())
	for _, key := range regexp.MustCompile(`(?m)^(?:# )?([a-z_]+) += `).FindAllStringSubmatch(config.Reference(), -1) {
		if key[1] != "on_standby" && key[1] != "on_fault" && // explained with on_active
			!regexp.MustCompile(`(?m)^\.TP\n\\fB`+key[1]+` += `).MatchString(page) {
			t.Errorf("no paragraph for %s", key[1])
		}
	}
	if nf, fi := strings.Count(page, "\n.nf\n"), strings.Count(page, "\n.fi\n"); nf == 0 || nf != fi {
		t.Errorf("%d .nf and %d .fi", nf, fi)
	}
}

func TestRoff(t *testing.T) {
	for in, want := range map[string]string{
		"plain":      "plain",
		".request":   `\&.request`,
		"'request":   `\&'request`,
		`a\b --flag`: `a\eb \-\-flag`,
	} {
		if got := roff(in); got != want {
			t.Errorf("roff(%q) = %q, want %q", in, got, want)
		}
	}
}
