package apply

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/hbagent/hbagent/internal/template"
)

// Chosen by us. maxMessage bounds what a Status says, in bytes: it travels in every
// node's gossiped state, as that of a check does.
const (
	maxMessage = 200
	maxDetail  = 1000 // of an Event: it is kept, and not gossiped
)

// A Status is how a template stands on this node.
type Status struct {
	Name, File string
	State      template.State
	Message    string // why; one line of at most maxMessage bytes
	Since      time.Time
	Changed    time.Time // when this run of the agent last replaced the file; zero: never
}

// An Event is something for the history.
type Event struct {
	Template string
	Reason   string
	Detail   string
}

// Options are what tasks share.
type Options struct {
	Commands Commands
	RunDir   string           // for notes of what is owed; made when needed
	OnChange func()           // some Status has changed; called from a task's goroutine
	OnEvent  func(Event)      // likewise
	Now      func() time.Time // with a monotonic reading; nil: time.Now
	Logger   *slog.Logger
}

// A Task keeps one file. Show, Status and Preview may be called from any goroutine
// and do not wait for commands.
type Task struct {
	spec   Spec
	source string
	parsed *template.Template
	broken error // why there is no parsed
	o      Options
	log    *slog.Logger
	news   chan struct{} // capacity 1: views that come together are one

	mu     sync.Mutex
	view   template.View // the newest
	shown  bool
	status Status

	// What follows belongs to Run.
	machine template.Machine
}

// NewTask makes the task for a spec whose source was loaded, or could not be.
func NewTask(s Spec, source string, parsed *template.Template, broken error, o Options) *Task {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Task{
		spec: s, source: source, parsed: parsed, broken: broken, o: o, log: o.Logger.With("template", s.Name),
		news: make(chan struct{}, 1), machine: template.Machine{Interval: s.Interval},
		status: Status{Name: s.Name, File: s.File, State: template.Pending, Since: o.Now()},
	}
}

// Same reports whether the task would do the same as one for s and source.
func (t *Task) Same(s Spec, source string, broken error) bool {
	return t.spec.same(s) && t.source == source && t.broken == nil && broken == nil
}

// Show tells the task how the cluster is now.
func (t *Task) Show(v template.View) {
	t.mu.Lock()
	t.view, t.shown = v, true
	t.mu.Unlock()
	select {
	case t.news <- struct{}{}:
	default: // it has not looked at the last one yet, and will see this one
	}
}

// Status says how things stand.
func (t *Task) Status() Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status
}

// Run keeps the file until ctx ends; a command that runs then is killed. It returns
// nil.
func (t *Task) Run(ctx context.Context) error {
	t.inherit()
	timer := time.NewTimer(0)
	timer.Stop()
	defer timer.Stop()
	for {
		if again := t.act(ctx); !again.IsZero() {
			timer.Reset(again.Sub(t.o.Now()))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.news:
		case <-timer.C:
		}
	}
}

// act does what there is to do, and returns when to look again (zero: at news).
func (t *Task) act(ctx context.Context) time.Time {
	for ctx.Err() == nil {
		t.want()
		now := t.o.Now()
		action, again := t.machine.Next(now)
		t.tell()
		switch action {
		case template.Idle:
			return again
		case template.Place:
			t.replace(ctx, now)
		case template.Reload:
			t.reload(ctx)
		}
	}
	return time.Time{}
}

// want renders the newest view, and compares it with the file.
func (t *Task) want() {
	t.mu.Lock()
	view, shown := t.view, t.shown
	t.mu.Unlock()
	if !shown && t.broken == nil {
		return
	}
	// A file that cannot be read cannot be replaced either, and that says why.
	present, exists, _ := read(t.spec.File)
	t.machine.Want(t.render(view), present, exists)
}

func (t *Task) render(v template.View) template.Outcome {
	if t.broken != nil {
		return template.Outcome{Err: t.broken}
	}
	return t.parsed.Render(v)
}

func (t *Task) replace(ctx context.Context, began time.Time) {
	before, _, _ := read(t.spec.File)
	content := t.machine.Content()
	err := t.place(ctx, content)
	if ctx.Err() != nil {
		return // the agent ends: nobody has judged anything
	}
	t.machine.Placed(began, len(t.spec.Reload) > 0, err)
	if err != nil {
		return // State says it
	}
	changed := difference(before, content)
	t.log.Info("file written", "file", t.spec.File, "changes", changed)
	t.o.OnEvent(Event{Template: t.spec.Name, Reason: "written: " + t.spec.File, Detail: changed})
	t.mu.Lock()
	t.status.Changed = t.o.Now()
	t.mu.Unlock()
}

func (t *Task) reload(ctx context.Context) {
	err := t.o.Commands.Run(ctx, t.spec, Reload)
	if ctx.Err() != nil {
		return // it is owed still
	}
	if err == nil {
		err = t.settle()
	}
	t.machine.Reloaded(t.o.Now(), err)
}

// tell publishes the state where it has changed.
func (t *Task) tell() {
	state, why := t.machine.State()
	short := oneLine(why, maxMessage)
	t.mu.Lock()
	old := t.status
	if old.State == state && old.Message == short {
		t.mu.Unlock()
		return
	}
	t.status.State, t.status.Message = state, short
	if old.State != state {
		t.status.Since = t.o.Now()
	}
	t.mu.Unlock()
	if old.State == state && alike(old.Message, short) {
		return // one more try, with the same result: no news
	}
	why = oneLine(why, maxDetail)
	switch state {
	case template.Faulty:
		t.log.Error("the file does not follow the cluster", "file", t.spec.File, "reason", why)
		t.o.OnEvent(Event{Template: t.spec.Name, Reason: "fails", Detail: why})
	case template.Held:
		t.log.Warn("the file stays as it is", "file", t.spec.File, "reason", why)
		t.o.OnEvent(Event{Template: t.spec.Name, Reason: "the file stays as it is", Detail: why})
	case template.Current:
		if old.State == template.Faulty || old.State == template.Held {
			t.o.OnEvent(Event{Template: t.spec.Name, Reason: "follows the cluster again"})
		}
	}
	t.o.OnChange()
}
