package bench

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the docs from docs/benchmarks/data, and the expected output of the tests")

// root is that of the repository.
const root = "../.."

// Every figure in docs/benchmarks, and between the marks of the other docs, is in a file that a run wrote.
func TestDocsAreWhatTheRunsWrote(t *testing.T) {
	if *update {
		if err := Report(root); err != nil {
			t.Fatal(err)
		}
	}
	checkDocs(t, root, func(format string, args ...any) { t.Errorf(format, args...) })
}

// checkDocs compares the docs below root with what the data makes of them, and complains about each that differs.
func checkDocs(t *testing.T, root string, complain func(format string, args ...any)) {
	t.Helper()
	pages, err := Pages(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		got, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			complain("%v; `make report` writes it", err)
		} else if !bytes.Equal(got, pages[name]) {
			complain("%s is not what its data makes of it (%s); `make report` rewrites it", name, difference(got, pages[name]))
		}
	}
	stale, err := Stale(root, pages)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range stale {
		complain("%s is made of no data; `make report` removes it", name)
	}
}

// difference is the first line that differs.
func difference(got, want []byte) string {
	g, w := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return "got " + g[i] + ", want " + w[i]
		}
	}
	return "one of them ends earlier"
}

// A repository with data: Report writes what the test then finds as it is; a figure typed by hand, a page without data
// and a hand in the README are found.
func TestAFigureTypedByHandIsFound(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := replace(filepath.Join(dir, name), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	complaints := func() (all []string) {
		checkDocs(t, dir, func(format string, args ...any) { all = append(all, format) })
		return all
	}
	write("README.md", "a\n<!-- bench:begin summary -->\n<!-- bench:end -->\nz\n")
	write("docs/m.md", "<!-- bench:begin record latency -->\n<!-- bench:end -->\n")
	if err := Report(dir); err != nil {
		t.Fatal(err)
	}
	if got := complaints(); got != nil {
		t.Errorf("no data: %v", got)
	}
	readme, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil || string(readme) != "a\n<!-- bench:begin summary -->\n<!-- bench:end -->\nz\n" {
		t.Errorf("without data the README is %q, %v", readme, err)
	}

	if err := Write(filepath.Join(dir, RunFile), example()); err != nil {
		t.Fatal(err)
	}
	if err := WriteRecord(filepath.Join(dir, DataDir), aRecord()); err != nil {
		t.Fatal(err)
	}
	if got := complaints(); len(got) < 5 {
		t.Errorf("data without docs: %v", got)
	}
	write(Dir+"/configs/gone-tool/x.conf", "")
	if err := Report(dir); err != nil {
		t.Fatal(err)
	}
	if got := complaints(); got != nil {
		t.Errorf("after Report: %v", got)
	}
	for _, name := range []string{"README.md", "docs/m.md", Dir + "/README.md", Dir + "/takeover.svg", Dir + "/configs/hbagent-ttl-1s/hbagent.toml"} {
		old, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		// The last digit within what is generated becomes another one.
		at := bytes.LastIndexAny(old, "0123456789")
		by := slices.Clone(old)
		by[at] = '0' + (by[at]-'0'+1)%10
		write(name, string(by))
		if got := complaints(); len(got) != 1 {
			t.Errorf("%s with a figure changed: %v", name, got)
		}
		write(name, string(old))
	}
	// A scale test writes its file without knowing of plots.
	write("docs/s.md", "<!-- bench:begin scale -->\n<!-- bench:end -->\n")
	if err := WriteScale(filepath.Join(dir, ScaleFile), exampleScale()); err != nil {
		t.Fatal(err)
	}
	if got := complaints(); len(got) != 3 {
		t.Errorf("a scale test without its page and its two plots: %v", got)
	}
	if err := Report(dir); err != nil {
		t.Fatal(err)
	}
	if got := complaints(); got != nil {
		t.Errorf("after a scale test: %v", got)
	}
	write(Dir+"/outage-mine.svg", "<svg/>")
	if got := complaints(); len(got) != 1 {
		t.Errorf("a plot of nothing: %v", got)
	}
}

func TestReportRun(t *testing.T) {
	dir := t.TempDir()
	if err := ReportRun(dir, example()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"README.md", "takeover.svg", "configs/keepalived-advert_int-1/keepalived.conf"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

// The text around what is generated has no figures of its own: a digit stands in code or in a link, or is part of a name.
func TestNoFigureOutsideOfWhatRunsWrote(t *testing.T) {
	for name, read := range map[string]func() (string, error){
		"report.md.tmpl": func() (string, error) { return reportText, nil },
		"docs/measurements.md": func() (string, error) {
			data, err := os.ReadFile(filepath.Join(root, "docs/measurements.md"))
			if err != nil {
				return "", err
			}
			text, blocks, err := fill(string(data), func(string) (string, error) { return "", nil })
			if err == nil && blocks == 0 {
				t.Error("docs/measurements.md has no block of figures: what does this test look at?")
			}
			return text, err
		},
	} {
		text, err := read()
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(typed(text), "\n") {
			if figure.MatchString(line) {
				t.Errorf("%s:%d: a figure typed by hand: %s", name, i+1, line)
			}
		}
	}
	for text, want := range map[string]bool{"12 ms": true, "took 3": true, "`ttl = 3`": false, "IPv6 on web1": false, "[x](a-1.md)": false, "{{.F 2}}": false, "{{if 1}}7{{end}}": true} {
		if got := figure.MatchString(typed(text)); got != want {
			t.Errorf("%q has a figure typed by hand: %v, want %v", text, got, want)
		}
	}
}

var (
	figure  = regexp.MustCompile(`(^|[^\w.])\d`)
	notText = regexp.MustCompile("`[^`\n]*`|\\{\\{[^}]*\\}\\}|<!--[^\n]*?-->|\\]\\([^)\n]*\\)")
)

// typed is a text without its code, links, and actions of a template.
func typed(text string) string { return notText.ReplaceAllString(text, " ") }
