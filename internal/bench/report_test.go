package bench

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// golden compares with a file of testdata, and rewrites it with -update.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := replace(path, got); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs: %s", path, difference(got, want))
	}
}

// A run that was narrowed says so at the top, and calls nothing safe that it has not watched.
func TestReportOfANarrowedRun(t *testing.T) {
	r := example()
	r.Quiet = nil
	r.Tools = slices.DeleteFunc(r.Tools, func(t Tool) bool { return t.Name == UCARP })
	r.Results = slices.DeleteFunc(r.Results, func(res Result) bool { return res.Tool == UCARP || res.Scenario == Kill })
	r.Costs = slices.DeleteFunc(r.Costs, func(c Cost) bool { return c.Tool == UCARP })
	r.Batches = slices.DeleteFunc(r.Batches, func(b Batch) bool { return b.Tool == UCARP })
	pages := map[string][]byte{}
	if err := r.pages(pages); err != nil {
		t.Fatal(err)
	}
	page := string(pages[Dir+"/README.md"])
	for _, want := range []string{"- ucarp: this run was not asked for it\n", "- scenarios: kill", "- false moves, rest\n- false moves, busy\n"} {
		if !strings.Contains(page, want) {
			t.Errorf("the report does not say %q", want)
		}
	}
	if strings.Contains(page, "fastest safe setting\n") || strings.Contains(r.summary(), "fastest safe") {
		t.Error("it calls a setting safe")
	}
	half := example()
	half.Quiet = slices.DeleteFunc(half.Quiet, func(q Quiet) bool { return q.Load == Rest })
	if strings.Contains(half.summary(), "fastest safe") {
		t.Error("it calls a setting safe that it has not watched at rest")
	}
	whole := example()
	if left := whole.leftOut(); slices.ContainsFunc(left, func(s string) bool { return strings.HasPrefix(s, "false moves") }) {
		t.Errorf("a run that watched: %v", left)
	}
}

func TestExample(t *testing.T) {
	r := example()
	if err := r.Validate(); err != nil {
		t.Fatal(err)
	}
	pages := make(map[string][]byte)
	if err := r.pages(pages); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.md", pages[Dir+"/README.md"])
	golden(t, "summary.md", []byte(r.summary()))
	golden(t, "takeover.svg", pages[Dir+"/takeover.svg"])
	golden(t, "cost.svg", pages[Dir+"/cost.svg"])
	few := r
	few.Results = slices.DeleteFunc(slices.Clone(r.Results), func(res Result) bool { return res.Scenario != PowerOff && res.Scenario != Service })
	golden(t, "outage.svg", few.strips(Default))
	wellMade(t, pages)
}

// wellMade looks at pages as a browser and GitHub do: every drawing is XML that needs nothing from elsewhere and says what
// it shows; every row of a table has as many cells as its head; every link to a file of ours leads to one.
func wellMade(t *testing.T, pages map[string][]byte) {
	t.Helper()
	for name, page := range pages {
		switch filepath.Ext(name) {
		case ".svg":
			wellDrawn(t, name, page)
		case ".md":
			wellWritten(t, name, string(page), pages)
		}
	}
}

func wellDrawn(t *testing.T, name string, svg []byte) {
	t.Helper()
	said := map[string]string{}
	in := ""
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			in = e.Name.Local
			for _, a := range e.Attr {
				if strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") || a.Name.Local == "href" || a.Name.Local == "onload" {
					t.Errorf("%s: <%s %s=%q>", name, in, a.Name.Local, a.Value)
				}
			}
		case xml.CharData:
			said[in] += string(e)
		case xml.EndElement:
			in = ""
		}
	}
	if said["title"] == "" || said["desc"] == "" {
		t.Errorf("%s has no title, or no description", name)
	}
	if regexp.MustCompile(`url\(|@import|https?:`).MatchString(said["style"]) {
		t.Errorf("%s: its style needs something from elsewhere", name)
	}
}

var (
	cellEnd  = regexp.MustCompile(`(?:^|[^\\])\|`)
	linkInto = regexp.MustCompile(`\]\(<(configs/[^>]*)>\)`)
)

func wellWritten(t *testing.T, name, page string, pages map[string][]byte) {
	t.Helper()
	cells := 0
	for line := range strings.Lines(page) {
		if !strings.HasPrefix(line, "|") {
			cells = 0
			continue
		}
		n := len(cellEnd.FindAllString(strings.ReplaceAll(line, `\\`, ""), -1))
		if cells == 0 {
			cells = n
		}
		if n != cells {
			t.Errorf("%s: %d cells under a head of %d: %s", name, n-1, cells-1, line)
		}
	}
	unescape := strings.NewReplacer("%25", "%", "%3C", "<", "%3E", ">", "%0A", "\n", "%0D", "\r", "%7C", "|")
	for _, m := range linkInto.FindAllStringSubmatch(page, -1) {
		if _, ok := pages[Dir+"/"+unescape.Replace(m[1])]; !ok {
			t.Errorf("%s links to %s, which is not there", name, m[1])
		}
	}
}

// anyRun makes a valid run of anything that the file format allows.
func anyRun(r *rand.Rand) Run {
	names := []string{"hbagent", "keepalived", "a|b", "<b>x</b>", "`code`", "\x00\x1b[1m", "line\nline", "ttl 1s", "ttl 300 ms", "ÄÖ日本", "{{.}}", "](x)", blockEnd, `a\|b`, strings.Repeat("long ", 20)}
	word := func() string { return names[r.IntN(len(names))] }
	number := func() float64 {
		return [...]float64{0, 5e-324, 1e-9, .5, 1, 3, 99.95, 1000, 12345, 1e9, 1e300, math.MaxFloat64}[r.IntN(12)]
	}
	numbers := func() (out []float64) {
		for range r.IntN(25) {
			out = append(out, number())
		}
		return out
	}
	run := Run{Format: Format, Began: example().Began, Seconds: number(), Commit: word(), Machine: Machine{CPU: word(), Cores: r.IntN(9), Kernel: word(), System: word(), LoadBefore: number()}}
	for range r.IntN(6) {
		tool := Tool{Name: word(), Version: word()}
		if r.IntN(4) == 0 {
			tool.Missing = word()
		}
		for range r.IntN(5) {
			pace := []string{"", Equal, Default, Fastest, "equal default fastest"}[r.IntN(5)]
			tool.Settings = append(tool.Settings, Setting{Name: word(), Pace: pace, Heartbeat: number(), Configs: map[string]string{word(): word()}})
		}
		run.Tools = append(run.Tools, tool)
	}
	for _, t := range run.Tools {
		for _, s := range t.Settings {
			res := Result{Tool: t.Name, Setting: s.Name, Scenario: Scenarios[r.IntN(len(Scenarios))], Failed: word()}
			for _, f := range numbers() {
				res.Samples = append(res.Samples, Sample{Outage: f, Two: number(), None: number(), Moves: 3, Unwanted: r.IntN(4)})
			}
			run.Results = append(run.Results, res)
			run.Quiet = append(run.Quiet, Quiet{Tool: t.Name, Setting: s.Name, Load: Busy, Seconds: number(), Moves: r.IntN(3), Outage: number(), Two: number()})
			run.Costs = append(run.Costs, Cost{Tool: t.Name, Setting: s.Name, Groups: r.IntN(102), Node: word(), Owner: r.IntN(2) == 0, MemoryMB: number(), CPUPercent: number(), PacketsPerS: number(), BytesPerS: number()})
			run.Batches = append(run.Batches, Batch{Tool: t.Name, Setting: s.Name, Addresses: []int{0, 1, 1000}[r.IntN(3)], Spread: numbers(), Outage: numbers(), Failed: word()})
		}
	}
	return run
}

// Whatever a run has in it: it is refused with reasons, or rendered well, and comes back from its file as it was.
func TestAnyRun(t *testing.T) {
	valid := 0
	for seed := range uint64(500) {
		run := anyRun(rand.New(rand.NewPCG(seed, 1)))
		if run.Validate() == nil {
			valid++
		}
		checkAnyRun(t, run)
		if t.Failed() {
			t.Fatalf("seed %d: %+v", seed, run)
		}
	}
	if valid < 50 {
		t.Errorf("%d of 500 runs were valid: this test looks at nothing", valid)
	}
}

func checkAnyRun(t *testing.T, run Run) {
	t.Helper()
	pages := make(map[string][]byte)
	if err := run.pages(pages); err != nil {
		t.Fatal(err)
	}
	pages["docs/m.md"] = []byte(run.summary())
	if run.Validate() != nil { // rendered without a panic, but by nobody
		return
	}
	wellMade(t, pages)
	if _, _, err := fill(blockBegin+"summary"+blockMark+blockEnd, (data{run: &run}).block); err != nil {
		t.Error(err)
	}
	file, err := json.Marshal(run)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Decode(file)
	if err != nil {
		t.Fatal(err)
	}
	second := make(map[string][]byte)
	if err := again.pages(second); err != nil {
		t.Fatal(err)
	}
	second["docs/m.md"] = []byte(again.summary())
	if !maps.EqualFunc(pages, second, bytes.Equal) {
		t.Error("what is read from the file is rendered in another way than what was written")
	}
}

func FuzzRun(f *testing.F) {
	for _, r := range []Run{small(), {}, anyRun(rand.New(rand.NewPCG(3, 1)))} {
		file, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		var run Run
		if decode(file, &run) == nil {
			checkAnyRun(t, run)
		}
	})
}
