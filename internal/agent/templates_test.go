package agent

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/template"
	"github.com/hbagent/hbagent/pkg/checks"
)

const listTemplate = `{{range healthy "web"}}{{.Name}} {{end}}`

// keeper lets a node keep one file, with the nodes that pass the check web.
type keeper struct {
	*testNode
	file, source string
}

func (w *world) keep(n *testNode) *keeper {
	w.t.Helper()
	k := &keeper{testNode: n, file: filepath.Join(w.dir, n.node+".list"), source: filepath.Join(w.dir, "list.tmpl")}
	if err := os.WriteFile(k.source, []byte(listTemplate), 0o644); err != nil {
		w.t.Fatal(err)
	}
	cfg := parse(w.t, w.text+"[[template]]\nname = \"list\"\nsource = \""+k.source+"\"\nfile = \""+k.file+"\"\ninterval = \"100ms\"\n")
	loaded, err := loadTemplates(cfg, n.node)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ts := newTemplates(ctx, filepath.Join(w.dir, n.node), n.history, n.log, func() { n.tell(func() { n.dirty = true }) })
	n.look(func() {
		n.cfg = cfg
		n.templates = ts
		ts.set(loaded)
		n.dirty = true
	})
	w.t.Cleanup(func() { cancel(); ts.wg.Wait() })
	return k
}

func (k *keeper) has(want string) {
	k.w.t.Helper()
	synctest.Wait()
	b, err := os.ReadFile(k.file)
	if got := strings.TrimSpace(string(b)); got != want {
		k.w.t.Errorf("the list of %s is %q (%v), want %q", k.node, got, err, want)
	}
}

// stands compares how the template stands on the node, as another one sees it.
func (k *keeper) stands(on *testNode, want control.TemplateStatus) {
	k.w.t.Helper()
	var got []control.Template
	on.look(func() {
		for _, n := range on.status().Nodes {
			if n.Name == k.node {
				got = n.Templates
			}
		}
	})
	if len(got) != 1 || got[0].Name != "list" || got[0].Status != want {
		k.w.t.Errorf("as %s sees it: %+v, want %s", on.node, got, want)
	}
}

func TestTemplateFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, db1 := settled(t, testConfig)
		k := w.keep(db1)
		k.has("web1 web2")
		w.wait(time.Second)
		k.stands(web1, control.TemplateCurrent)

		web1.check("web", checks.Failing, "refused")
		k.has("web2") // at once
		web1.check("web", checks.Passing, "")
		k.has("web1 web2")

		w.wait(testHold + latestPulse) // web1 may own the group again
		if res, err := web2.api.Maintenance(t.Context(), control.MaintenanceRequest{On: true, Reason: "kernel"}); err != nil || !res.Done {
			t.Fatalf("%+v, %v", res, err)
		}
		w.wait(time.Second)
		k.has("web1")
		web1.check("web", checks.Failing, "refused")
		w.wait(time.Second)
		k.has("web1") // nobody is left: the last ones stay
		k.stands(web2, control.TemplateHeld)
	})
}

// A restart of an agent, whose checks have not answered yet, takes nothing out.
func TestTemplateDuringARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, _, db1 := settled(t, testConfig)
		k := w.keep(db1)
		w.wait(template.StartPatience) // what is unknown counts from now on
		k.has("web1 web2")
		web1.kill(context.Canceled)
		web1 = w.boot("web1")
		w.wait(100 * time.Millisecond)
		k.has("web1 web2")
		web1.check("web", checks.Failing, "refused") // now it has
		k.has("web2")
	})
}

// A peer that goes down is out of the list as soon as a majority has answered; and not before.
func TestTemplateWhenAPeerGoesDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, db1 := settled(t, testConfig)
		k := w.keep(db1)
		w.wait(template.StartPatience)
		k.has("web1 web2")
		thaw := make(chan struct{})
		web1.mu.Lock()
		web1.onCall = func(method string) {
			if method == methodHello {
				<-thaw
			}
		}
		web1.mu.Unlock()
		web2.isolate(true)
		w.wait(5 * helloWait)
		k.has("web1 web2")
		k.stands(web1, control.TemplatePending)
		close(thaw)
		w.wait(2 * helloWait)
		k.has("web1")
		k.stands(web1, control.TemplateCurrent)
		web2.isolate(false)
		w.wait(time.Second)
		k.has("web1 web2")
	})
}

// A node that is cut off loses its peers one by one, and gets them back so. None of it shows in the file.
func TestTemplateWhenCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, db1 := settled(t, testConfig)
		k := w.keep(db1)
		w.wait(template.StartPatience)
		written := func() int { return len(db1.events(kindTemplate)) }
		before := written()
		db1.unplug()
		w.wait(time.Second)
		for _, peer := range []*testNode{web2, web1} {
			db1.look(func() { db1.peerAlive(peer.node, false, "does not answer") })
			w.wait(2 * time.Second)
			k.has("web1 web2")
		}
		k.stands(db1, control.TemplateHeld)
		db1.mu.Lock()
		db1.cut = false
		db1.mu.Unlock()
		for _, peer := range []*testNode{web1, web2} {
			db1.look(func() { db1.peerAlive(peer.node, true, "answers again") })
			w.wait(2 * time.Second)
			k.has("web1 web2")
		}
		k.stands(db1, control.TemplateCurrent)
		if changes := slices.DeleteFunc(db1.events(kindTemplate)[before:], func(e string) bool { return !strings.Contains(e, "written") }); len(changes) > 0 {
			t.Errorf("written: %q", changes)
		}
	})
}

func TestTemplateOfAStartingAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testConfig)
		db1 := w.boot("db1")
		k := w.keep(db1)
		w.wait(template.StartPatience / 2)
		k.has("")
		k.stands(db1, control.TemplatePending)
		web1 := w.boot("web1")
		web1.check("web", checks.Passing, "")
		w.wait(time.Second)
		k.has("") // web2 may be about to come
		w.wait(template.StartPatience)
		k.has("web1")
	})
}

func TestRenderTemplates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, _, db1 := settled(t, testConfig)
		k := w.keep(db1)
		w.wait(template.StartPatience)
		ask := func(name string) control.TemplateRender {
			t.Helper()
			list, err := db1.api.RenderTemplates(t.Context(), name)
			if err != nil || len(list) != 1 {
				t.Fatalf("%+v, %v", list, err)
			}
			return list[0]
		}
		diff(t, "unchanged", ask(""), control.TemplateRender{Name: "list", File: k.file, Result: control.RenderUnchanged,
			Content: "web1 web2 ", Present: "web1 web2 ", Exists: true})
		if err := os.WriteFile(k.source, []byte("# new\n"+listTemplate), 0o644); err != nil {
			t.Fatal(err)
		}
		diff(t, "as a reload would read it", ask("list"), control.TemplateRender{Name: "list", File: k.file, Result: control.RenderChanges,
			Content: "# new\nweb1 web2 ", Present: "web1 web2 ", Exists: true})
		k.has("web1 web2")
		if err := os.WriteFile(k.source, []byte("{{nonsense}}"), 0o644); err != nil {
			t.Fatal(err)
		}
		if r := ask("list"); r.Result != control.RenderFails || !strings.Contains(r.Reason, "nonsense") {
			t.Errorf("%+v", r)
		}
		for n, want := range map[*testNode]string{db1: `no template "lost" on this node; there are: list`, web1: `no template "lost" on this node; none is kept here`} {
			if _, err := n.api.RenderTemplates(t.Context(), "lost"); err == nil || err.Error() != want {
				t.Errorf("%v, want %q", err, want)
			}
		}
	})
}

// A reload takes over what has changed, and nothing else.
func TestReplaceTemplates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _, _, db1 := settled(t, testConfig)
		k := w.keep(db1)
		k.has("web1 web2")
		load := func() []loadedTemplate {
			t.Helper()
			loaded, err := loadTemplates(db1.cfg, "db1")
			if err != nil {
				t.Fatal(err)
			}
			return loaded
		}
		task := db1.templates.tasks[0]
		diff(t, "the same", db1.templates.set(load()), []string(nil))
		if db1.templates.tasks[0] != task {
			t.Error("a task that has not changed was replaced")
		}
		if err := os.WriteFile(k.source, []byte("# new\n"+listTemplate), 0o644); err != nil {
			t.Fatal(err)
		}
		diff(t, "another source", db1.templates.set(load()), []string{"list"})
		k.has("# new\nweb1 web2")
		diff(t, "none", db1.templates.set(nil), []string(nil))
		if err := os.Remove(k.file); err != nil {
			t.Fatal(err)
		}
		db1.look(func() { db1.dirty = true })
		k.has("")
	})
}
