package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/template"
	"github.com/hbagent/hbagent/internal/template/apply"
)

// templates keeps the files of this node. Its methods may be called from any
// goroutine, and wait for no command. The loop hands it views; each file has a
// goroutine of its own.
type templates struct {
	o    apply.Options
	life context.Context

	mu    sync.Mutex
	tasks []*templateTask // in the order of the config
	view  template.View   // the newest
	shown bool
	wg    sync.WaitGroup
}

// templateTask is a task that runs.
type templateTask struct {
	*apply.Task
	stop context.CancelFunc
	done chan struct{}
}

// loadedTemplate is a [[template]] with its source.
type loadedTemplate struct {
	spec   apply.Spec
	source string
	parsed *template.Template
	broken error
}

// newTemplates keeps nothing yet: see set. onChange is called when a status has changed.
func newTemplates(ctx context.Context, runDir string, h *history, log *slog.Logger, onChange func()) *templates {
	return &templates{life: ctx, o: apply.Options{
		Commands: apply.AsRoot{Socket: apply.RootSocket, Direct: apply.Direct{}, IsRoot: os.Geteuid() == 0},
		RunDir:   filepath.Join(runDir, "templates"),
		OnChange: onChange,
		OnEvent: func(e apply.Event) {
			h.add(control.Event{Kind: kindTemplate, Subject: e.Template, Reason: e.Reason, Detail: e.Detail})
		},
		Logger: log,
	}}
}

// loadTemplates reads the sources of a node's templates. What is wrong with one is in it, and all of it in err.
func loadTemplates(cfg *config.Config, node string) (list []loadedTemplate, err error) {
	var errs []error
	for _, c := range cfg.TemplatesFor(node) {
		l := loadedTemplate{spec: TemplateSpec(c)}
		l.source, l.parsed, l.broken = apply.Load(l.spec)
		errs = append(errs, l.broken)
		list = append(list, l)
	}
	return list, errors.Join(errs...)
}

// TemplateSpec is a [[template]] as internal/template/apply wants it.
func TemplateSpec(c config.Template) apply.Spec {
	return apply.Spec{
		Name: c.Name, Source: c.Source, File: c.File, Mode: c.Mode, Owner: c.Owner, Check: c.Check, Reload: c.Reload,
		Interval: c.Interval, Timeout: c.Timeout, AsRoot: c.AsRoot,
	}
}

// set makes list the templates to keep, and returns the names of those that are not as they were. A task that goes ends
// before the one that comes in its place begins.
func (t *templates) set(list []loadedTemplate) (changed []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.tasks
	t.tasks = make([]*templateTask, 0, len(list))
	var came []*templateTask
	for _, l := range list {
		i := slices.IndexFunc(old, func(o *templateTask) bool { return o.Same(l.spec, l.source, l.broken) })
		if i >= 0 {
			t.tasks = append(t.tasks, old[i])
			old = slices.Delete(slices.Clone(old), i, i+1)
			continue
		}
		n := &templateTask{Task: apply.NewTask(l.spec, l.source, l.parsed, l.broken, t.o), done: make(chan struct{})}
		changed = append(changed, l.spec.Name)
		came, t.tasks = append(came, n), append(t.tasks, n)
		if t.shown {
			n.Show(t.view)
		}
	}
	for _, o := range old {
		o.stop()
	}
	for _, n := range came {
		var ctx context.Context
		ctx, n.stop = context.WithCancel(t.life)
		t.wg.Go(func() {
			defer close(n.done)
			for _, o := range old { // they may keep the same file
				<-o.done
			}
			_ = n.Run(ctx) // it ends with ctx only
		})
	}
	return changed
}

// any reports whether this node keeps a file.
func (t *templates) any() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.tasks) > 0
}

// show hands a view on.
func (t *templates) show(v template.View) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.view, t.shown = v, true
	for _, task := range t.tasks {
		task.Show(v)
	}
}

// templatesLimit bounds the waiting for files that are being put back as the agent ends (chosen by us: killing a
// command takes milliseconds; a restart must be over within the ttl, and the next start puts back what is left).
const templatesLimit = 200 * time.Millisecond

// wait returns when every task has ended, after the context of newTemplates, or when the limit is over.
func (t *templates) wait(limit time.Duration) {
	done := make(chan struct{})
	go func() { t.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(limit):
		t.o.Logger.Warn("a template's command does not end")
	}
}

// statuses are those of this node, in the order of the config.
func (t *templates) statuses() []apply.Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []apply.Status
	for _, task := range t.tasks {
		list = append(list, task.Status())
	}
	return list
}

// RenderTemplates implements control.Agent. The source is read anew: that is what a reload would make of it.
func (a *api) RenderTemplates(ctx context.Context, name string) ([]control.TemplateRender, error) {
	var cfg *config.Config
	var view template.View
	if err := a.loop.do(ctx, func() { cfg, view = a.loop.cfg, a.loop.view() }); err != nil {
		return nil, err
	}
	var out []control.TemplateRender
	var names []string
	for _, c := range cfg.TemplatesFor(a.loop.node) {
		names = append(names, c.Name)
		if name == "" || name == c.Name {
			out = append(out, renderTemplate(TemplateSpec(c), view))
		}
	}
	if name != "" && len(out) == 0 {
		there := "none is kept here"
		if len(names) > 0 {
			there = "there are: " + strings.Join(names, ", ")
		}
		return nil, control.Errorf(control.CodeNotFound, "no template %q on this node; %s", name, there)
	}
	return out, nil
}

func renderTemplate(s apply.Spec, v template.View) control.TemplateRender {
	r := control.TemplateRender{Name: s.Name, File: s.File, Result: control.RenderChanges}
	present, exists, err := apply.Present(s)
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		r.Result, r.Reason = control.RenderFails, err.Error()
		return r
	}
	r.Present, r.Exists = present, exists
	_, parsed, err := apply.Load(s)
	if err != nil {
		r.Result, r.Reason = control.RenderFails, err.Error()
		return r
	}
	o := parsed.Render(v)
	r.Content = o.Content
	switch {
	case o.Err != nil:
		r.Result, r.Reason = control.RenderFails, o.Err.Error()
	case o.Wait != "" || o.Held != "":
		r.Result, r.Reason = control.RenderHeld, o.Wait+o.Held
	case exists && present == o.Content:
		r.Result = control.RenderUnchanged
	}
	return r
}

// sourceChange is the line of a reload for a template whose config is as before.
func sourceChange(name string) string {
	return fmt.Sprintf("template %s: its source has changed", name)
}
