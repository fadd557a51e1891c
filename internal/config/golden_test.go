package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the messages of testdata/*/*.txt anew; read them before you commit them")

// minBroken files must be there, so that an empty directory is no success.
const minBroken = 100

// files returns the TOML files of a directory of testdata.
func files(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", dir, "*.toml"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// golden compares got with the .txt beside the .toml.
func golden(t *testing.T, toml, got string) {
	t.Helper()
	path := strings.TrimSuffix(toml, ".toml") + ".txt"
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("no expected message: write it with -update: %v", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
}

// TestBroken holds every message against what it should be, and every problem against
// the promise: a place, and something to do.
func TestBroken(t *testing.T) {
	names := files(t, "bad")
	if len(names) < minBroken {
		t.Fatalf("%d broken files in testdata/bad, want at least %d", len(names), minBroken)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".toml"), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			cfg, err := Parse(filepath.Base(name), data)
			if cfg != nil || err == nil {
				t.Fatal("the file was accepted")
			}
			var problems Problems
			if !errors.As(err, &problems) || len(problems) == 0 {
				t.Fatalf("error is %T, want Problems with an entry", err)
			}
			for _, p := range problems {
				if p.Hint == "" {
					t.Errorf("no hint: %s", p.Message)
				}
				if p.Line > 0 && (p.Col < 1 || p.Width < 1) {
					t.Errorf("column %d, width %d: %s", p.Col, p.Width, p.Message)
				}
			}
			golden(t, name, err.Error()+"\n")
		})
	}
}

func TestWarnings(t *testing.T) {
	names := files(t, "warn")
	if len(names) == 0 {
		t.Fatal("no files in testdata/warn")
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".toml"), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			cfg, err := Parse(filepath.Base(name), data)
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			for _, w := range cfg.Warnings {
				if w.Hint == "" || !w.Warning {
					t.Errorf("no hint, or not marked as a warning: %s", w.Message)
				}
				b.WriteString(w.Error() + "\n")
			}
			golden(t, name, b.String())
		})
	}
}
