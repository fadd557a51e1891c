package bench

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
)

// Where things are, below the root of the repository.
const (
	Dir       = "docs/benchmarks"
	DataDir   = Dir + "/data"
	RunFile   = DataDir + "/run.json"
	ScaleFile = DataDir + "/scale.json"
)

//go:embed report.md.tmpl
var reportText string

var reportTemplate = template.Must(template.New("report").Parse(reportText))

// Report rewrites every page and every plot that is made of the files in DataDir, and the marked blocks of the other
// docs. Root is the root of the repository. What was generated before and is no longer is removed.
func Report(root string) error {
	pages, err := Pages(root)
	if err != nil {
		return err
	}
	stale, err := Stale(root, pages)
	if err != nil {
		return err
	}
	for _, name := range stale {
		if err := os.Remove(filepath.Join(root, name)); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		if err := replace(filepath.Join(root, name), pages[name]); err != nil {
			return err
		}
	}
	return nil
}

// ReportRun writes what Report makes of one run into any directory, for a run that is not for the docs: the report, its
// plots, the configs. It removes nothing.
func ReportRun(dir string, run Run) error {
	pages := make(map[string][]byte)
	if err := run.pages(pages); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		if err := replace(filepath.Join(dir, strings.TrimPrefix(name, Dir)), pages[name]); err != nil {
			return err
		}
	}
	return nil
}

// Pages are the files that Report writes, by their names below root. Where no run has written its file yet, they are
// the marked docs alone, whose blocks say so.
func Pages(root string) (map[string][]byte, error) {
	data, err := readData(root)
	if err != nil {
		return nil, err
	}
	pages := make(map[string][]byte)
	if data.run != nil {
		if err := data.run.pages(pages); err != nil {
			return nil, err
		}
	}
	if data.scale != nil {
		for name, plot := range data.scale.plots() {
			pages[path.Join(Dir, name)] = plot
		}
	}
	return pages, marked(root, data, pages)
}

// Stale are the files that an earlier Report wrote, or a hand, and that are not among the pages.
func Stale(root string, pages map[string][]byte) (stale []string, err error) {
	dir := os.DirFS(root)
	err = fs.WalkDir(dir, Dir, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && name == Dir {
			return fs.SkipAll
		}
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name == DataDir {
				return fs.SkipDir
			}
			return nil
		}
		if _, ok := pages[name]; !ok {
			stale = append(stale, name)
		}
		return nil
	})
	return stale, err
}

// data is what runs have written.
type data struct {
	run     *Run
	scale   *Scale
	records map[string]Record
}

func readData(root string) (d data, err error) {
	if d.run, err = optional(filepath.Join(root, RunFile), Read); err != nil {
		return data{}, err
	}
	if d.scale, err = optional(filepath.Join(root, ScaleFile), ReadScale); err != nil {
		return data{}, err
	}
	d.records, err = readRecords(filepath.Join(root, DataDir))
	return d, err
}

// optional reads a file that may not be there.
func optional[T any](path string, read func(string) (T, error)) (*T, error) {
	v, err := read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &v, nil
}

// view is what the template sees: Markdown, ready to be put in.
type view struct {
	Machine  string
	Began    string
	Commit   string
	Loads    string
	Took     string
	Demands  string
	Tools    string
	Missing  []string
	Watched  bool // false moves were looked for
	Paces    []paceView
	PowerOff string
	Costs    string
	Batches  string
	Failures []string
	Plots    map[string]bool // by the name of the file
}

type paceView struct {
	Name, Title, Told, Quiet, Table, Plot string
}

// pages renders what is made of a run: the report, its plots, and the configs that it links to.
func (r Run) pages(pages map[string][]byte) error {
	plots := r.plots()
	v := view{
		Machine: text(r.Machine.Told()), Began: r.Began.UTC().Format("2006-01-02 15:04 UTC"), Took: length(r.Seconds),
		Commit: text(r.Commit), Loads: num(r.Machine.LoadBefore) + " before and " + num(r.Machine.LoadAfter) + " after",
		Demands: r.demandsTable(), Tools: r.toolsTable(), PowerOff: r.powerOffTable(), Costs: r.costsTable(), Batches: r.batchesTable(),
		Failures: r.failures(), Missing: r.leftOut(), Watched: r.watched(), Plots: make(map[string]bool),
	}
	for name, plot := range plots {
		pages[path.Join(Dir, name)] = plot
		v.Plots[name] = true
	}
	for _, pace := range Paces {
		if len(r.at(pace)) > 0 {
			v.Paces = append(v.Paces, paceView{Name: pace, Title: r.paceTitle(pace), Told: r.paceTold(pace), Quiet: r.quietTold(pace), Table: r.paceTable(pace), Plot: plotOf(pace)})
		}
	}
	var b bytes.Buffer
	if err := reportTemplate.Execute(&b, v); err != nil {
		return err
	}
	pages[path.Join(Dir, "README.md")] = b.Bytes()
	for _, c := range r.all() {
		for name, config := range c.Configs {
			pages[path.Join(Dir, "configs", c.dir(), name)] = []byte(config)
		}
	}
	return nil
}

// Told is the machine in one line.
func (m Machine) Told() string {
	var parts []string
	if m.CPU != "" {
		parts = append(parts, m.CPU)
	}
	parts = append(parts, plural(m.Cores, "core"), fmt.Sprintf("%d MB", m.MemoryMB))
	if m.Kernel != "" {
		parts = append(parts, "Linux "+m.Kernel)
	}
	if m.System != "" {
		parts = append(parts, m.System)
	}
	return strings.Join(strings.Fields(strings.Join(parts, ", ")), " ")
}
