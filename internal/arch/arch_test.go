// Package arch_test holds the whole repository against its own rules: which package may import which, a
// comment for every package, and files that can be read in one sitting.
package arch_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/hbagent/hbagent"

// maxLines is for a file of Go, tests included (chosen by us: what a reader takes in at once).
const maxLines = 400

// tooLong are the files that were longer when the rule was made. Nothing is added here; one that has been split
// must be taken out.
var tooLong = []string{
	"pkg/lease/play_test.go",
}

// may says what the packages of this module may import of each other, tests excepted: dependencies point one
// way, cmd -> internal/cli -> internal/{agent,control,config,lab} -> pkg. A pattern that ends in /... also
// stands for what is below it; a package that no pattern names may import nothing of this module.
var may = []struct {
	pkg     string
	imports []string
}{
	{"cmd/...", []string{"internal/cli", "internal/lab"}},
	{"internal/cli", []string{"internal/agent", "internal/control", "internal/config", "internal/doctor", "internal/lab", "pkg/...",
		"internal/detect", "internal/setup", "internal/draft", "internal/keepalived", "internal/words", "internal/template/..."}},
	{"internal/agent", []string{"internal/control", "internal/config", "internal/metrics", "internal/realtime", "internal/role", "internal/role/...", "internal/template", "internal/template/...", "internal/web", "pkg/..."}},
	{"internal/metrics", []string{"internal/control", "pkg/..."}},
	{"internal/role/...", []string{"internal/role"}}, // a role knows nothing of the agent
	{"internal/web", []string{"internal/control", "internal/words"}},
	{"internal/words", nil},
	{"internal/doctor", []string{"internal/agent", "internal/control", "internal/config", "internal/detect", "pkg/cluster", "pkg/vip"}},
	{"internal/sim", []string{"internal/agent", "internal/config", "pkg/checks", "pkg/lease"}},
	{"internal/lab", []string{"internal/control", "deploy"}}, // the example that it runs
	{"deploy", nil},
	// Helpers for tests, below the package that they help with.
	{"internal/lab/...", []string{"internal/lab", "internal/bench", "internal/lab/booted", "internal/lab/chaos", "internal/lab/rivals", "internal/lab/scale", "internal/control"}},
	{"internal/lab/rivals", []string{"internal/lab", "pkg/lease"}}, // how often a lease is renewed
	{"internal/template", nil},
	{"internal/template/...", []string{"internal/template", "pkg/checks"}},
	{"internal/control/...", []string{"internal/control"}},
	{"internal/role", nil},
	{"internal/config", nil},
	{"internal/realtime", nil},
	// A config file in the making: by questions (setup, from what detect has seen), or from keepalived's.
	{"internal/draft", []string{"internal/config"}},
	{"internal/detect", []string{"pkg/checks"}},
	{"internal/setup", []string{"internal/config", "internal/detect", "internal/draft"}},
	{"internal/keepalived", []string{"internal/config", "internal/draft"}},
	{"internal/control", nil},
	{"internal/bench", nil},
	{"pkg/...", nil},
}

// leaf are the packages that import nothing but the standard library.
var leaf = []string{"internal/bench", "pkg/lease", "internal/role"}

// goPackage is what `go list -json` tells of a package.
type goPackage struct {
	ImportPath   string
	Dir          string
	Doc          string
	Imports      []string
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
	Standard     bool
}

// name is the import path within the module.
func (p goPackage) name() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

func list(t *testing.T, args ...string) []goPackage {
	t.Helper()
	const fields = "-json=ImportPath,Dir,Doc,Imports,GoFiles,TestGoFiles,XTestGoFiles,Standard"
	cmd := exec.Command("go", append([]string{"list", "-e", fields}, args...)...)
	cmd.Dir = root(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var packages []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if len(packages) == 0 {
		t.Fatal("go list found no packages")
	}
	return packages
}

// root is the directory of go.mod.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func matches(pattern, name string) bool {
	if below, ok := strings.CutSuffix(pattern, "/..."); ok {
		return strings.HasPrefix(name, below+"/")
	}
	return pattern == name
}

// allowed returns what a package may import. An exact name goes before a pattern.
func allowed(name string) []string {
	for _, exact := range []bool{true, false} {
		for _, rule := range may {
			if exact == (rule.pkg == name) && matches(rule.pkg, name) {
				return rule.imports
			}
		}
	}
	return nil
}

// forbidden returns the imports that a package must not have.
func forbidden(p goPackage) (bad []string) {
	for _, path := range p.Imports {
		name, ours := strings.CutPrefix(path, module+"/")
		if !ours {
			continue
		}
		if !slices.ContainsFunc(allowed(p.name()), func(pattern string) bool { return matches(pattern, name) }) {
			bad = append(bad, name)
		}
	}
	return bad
}

func TestImportsPointOneWay(t *testing.T) {
	for _, p := range list(t, "./...") {
		for _, bad := range forbidden(p) {
			t.Errorf("%s imports %s; it may import %v of this module", p.name(), bad, allowed(p.name()))
		}
	}
}

// The rules themselves refuse what they are there to refuse.
func TestRules(t *testing.T) {
	for _, tt := range []struct {
		pkg, imports string
		ok           bool
	}{
		{"cmd/hbagent", "internal/cli", true},
		{"cmd/hbagent", "pkg/lease", false},
		{"internal/cli", "pkg/vip", true},
		{"internal/agent", "internal/cli", false},
		{"internal/agent", "pkg/cluster", true},
		{"internal/config", "internal/control", false},
		{"internal/control", "pkg/lease", false},
		{"internal/web", "internal/control", true},
		{"internal/web", "internal/agent", false},
		{"internal/control/controltest", "internal/control", true},
		{"internal/lab", "internal/agent", false},
		{"internal/doctor", "internal/agent", true},
		{"internal/doctor", "internal/cli", false},
		{"internal/agent", "internal/doctor", false},
		{"internal/new", "pkg/lease", false},
		{"internal/agent", "internal/role/mysql", true},
		{"internal/role/mysql", "internal/role", true},
		{"internal/role/mysql", "internal/agent", false},
		{"internal/role", "internal/role/mysql", false},
		{"pkg/vip", "pkg/lease", false},
		{"pkg/vip", "internal/config", false},
		{"pkg/lease", "pkg/lease/sub", false},
	} {
		p := goPackage{ImportPath: module + "/" + tt.pkg, Imports: []string{"fmt", "golang.org/x/sys/unix", module + "/" + tt.imports}}
		if got := len(forbidden(p)) == 0; got != tt.ok {
			t.Errorf("%s may import %s: %v, want %v", tt.pkg, tt.imports, got, tt.ok)
		}
	}
}

func TestLeavesImportTheStandardLibraryOnly(t *testing.T) {
	for _, leaf := range leaf {
		for _, p := range list(t, "-deps", "./"+leaf) {
			if !p.Standard && p.name() != leaf {
				t.Errorf("%s depends on %s", leaf, p.ImportPath)
			}
		}
	}
}

// What is counted is told to internal/metrics; where it goes from there is that package's affair alone.
func TestOnlyMetricsKnowsPrometheus(t *testing.T) {
	known := false
	for _, p := range list(t, "./...") {
		if !slices.ContainsFunc(p.Imports, func(path string) bool { return strings.HasPrefix(path, "github.com/prometheus/") }) {
			continue
		}
		if p.name() == "internal/metrics" {
			known = true
		} else {
			t.Errorf("%s imports the client of Prometheus; tell internal/metrics what there is to count", p.name())
		}
	}
	if !known {
		t.Error("internal/metrics does not import the client of Prometheus: what does this test look at?")
	}
}

func TestEveryPackageHasAComment(t *testing.T) {
	for _, p := range list(t, "./...") {
		if p.Doc == "" && !(len(p.GoFiles) == 0 && testsHaveComment(t, p)) {
			t.Errorf("%s has no comment that says what it is", p.name())
		}
	}
}

// testsHaveComment looks into a package that has nothing but tests: go list does not.
func testsHaveComment(t *testing.T, p goPackage) bool {
	t.Helper()
	for _, name := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Fatal(err)
		}
		if f.Doc != nil {
			return true
		}
	}
	return false
}

func TestFilesAreShort(t *testing.T) {
	dir := root(t)
	seen := 0
	long := make(map[string]bool)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != dir && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // somebody else's temporary file
		}
		if err != nil {
			return err
		}
		seen++
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if n := bytes.Count(b, []byte("\n")); n > maxLines {
			long[name] = true
			if !slices.Contains(tooLong, name) {
				t.Errorf("%s has %d lines, at most %d: split it", name, n, maxLines)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen == 0 {
		t.Fatal(fmt.Errorf("no Go files below %s", dir))
	}
	for _, name := range tooLong {
		if !long[name] {
			t.Errorf("%s is short now: take it out of tooLong", name)
		}
	}
}
