package apply

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/template"
)

// patience is for what takes milliseconds on an idle machine.
const patience = 30 * time.Second

// fakeCommands does what the test says, and remembers what it was asked.
type fakeCommands struct {
	mu     sync.Mutex
	run    func(ctx context.Context, s Spec, kind Kind) error // nil: everything succeeds
	called []string
}

func (f *fakeCommands) Run(ctx context.Context, s Spec, kind Kind) error {
	f.mu.Lock()
	f.called = append(f.called, string(kind))
	run := f.run
	f.mu.Unlock()
	if run == nil {
		return nil
	}
	return run(ctx, s, kind)
}

func (f *fakeCommands) set(run func(ctx context.Context, s Spec, kind Kind) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.run = run
}

// calls returns what was run since the last time.
func (f *fakeCommands) calls() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer func() { f.called = nil }()
	return strings.Join(f.called, " ")
}

// bench is a task with a directory of its own.
type bench struct {
	*Task
	t        *testing.T
	spec     Spec
	source   string
	commands *fakeCommands
	changed  chan struct{}
	stop     func()

	mu     sync.Mutex
	events []string
}

const listTemplate = "{{range healthy \"web\"}}{{.Name}}\n{{end}}"

// newBench makes a task that does not run yet. A check that names {{.Path}} is alone, another in place.
func newBench(t *testing.T, check string, reload bool) *bench {
	t.Helper()
	dir := t.TempDir()
	b := &bench{t: t, source: listTemplate, commands: &fakeCommands{}, changed: make(chan struct{}, 1), stop: func() {}}
	b.spec = Spec{Name: "list", Source: filepath.Join(dir, "list.tmpl"), File: filepath.Join(dir, "list.conf"),
		Interval: time.Millisecond, Timeout: patience}
	if check != "" {
		b.spec.Check = strings.Fields(check)
	}
	if reload {
		b.spec.Reload = []string{"/bin/reload"}
	}
	return b
}

// start runs the task; a second start is that of another agent in its place.
func (b *bench) start() {
	b.t.Helper()
	b.stop()
	parsed, broken := template.Parse(b.spec.Source, b.source)
	b.Task = NewTask(b.spec, b.source, parsed, broken, Options{
		Commands: b.commands, RunDir: filepath.Join(filepath.Dir(b.spec.File), "run"), Logger: slog.New(slog.NewTextHandler(b.t.Output(), nil)),
		OnChange: func() {
			select {
			case b.changed <- struct{}{}:
			default:
			}
		},
		OnEvent: func(e Event) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.events = append(b.events, e.Template+" "+e.Reason+": "+e.Detail)
		},
	})
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan struct{})
	task := b.Task
	go func() {
		defer close(done)
		if err := task.Run(ctx); err != nil {
			b.t.Error(err)
		}
	}()
	b.stop = func() { cancel(); <-done }
	b.t.Cleanup(b.stop)
}

// view has these nodes in the list.
func view(names ...string) template.View {
	v := template.View{Self: "proxy", Voters: 3, Heard: 3, Needed: 2, Checks: []string{"web"}}
	for _, name := range names {
		v.Nodes = append(v.Nodes, template.Node{Name: name, Address: netip.IPv6Loopback(), Alive: true, Checks: map[string]template.Health{"web": template.Passing}})
	}
	return v
}

// show shows nodes and waits for a state.
func (b *bench) show(want template.State, message string, names ...string) {
	b.t.Helper()
	b.Show(view(names...))
	b.wait(want, message)
}

func (b *bench) wait(want template.State, message string) {
	b.t.Helper()
	deadline := time.After(patience)
	for {
		if s := b.Status(); s.State == want && strings.Contains(s.Message, message) {
			return
		}
		select {
		case <-b.changed:
		case <-time.After(10 * time.Millisecond): // the status may have been so before
		case <-deadline:
			b.t.Fatalf("%+v, want %v with %q", b.Status(), want, message)
		}
	}
}

// has compares the file; "-" stands for none.
func (b *bench) has(want string) {
	b.t.Helper()
	text, err := os.ReadFile(b.spec.File)
	got := string(text)
	if errors.Is(err, fs.ErrNotExist) {
		got = "-"
	}
	if got != want {
		b.t.Errorf("the file says %q, want %q", got, want)
	}
}

// clean asserts that nothing was left beside the file.
func (b *bench) clean() {
	b.t.Helper()
	left, err := filepath.Glob(filepath.Join(filepath.Dir(b.spec.File), ".*"))
	if err != nil || len(left) > 0 {
		b.t.Errorf("left behind: %v (%v)", left, err)
	}
}

func (b *bench) write(text string, mode fs.FileMode) {
	b.t.Helper()
	if err := errors.Join(os.WriteFile(b.spec.File, []byte(text), mode), os.Chmod(b.spec.File, mode)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) told() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer func() { b.events = nil }()
	return b.events
}
