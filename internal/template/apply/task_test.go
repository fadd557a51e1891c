package apply

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hbagent/hbagent/internal/template"
)

func TestTask(t *testing.T) {
	for name, check := range map[string]string{"no check": "", "checked alone": "/bin/check {{.Path}}", "checked in place": "/bin/check"} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, check, true)
			b.commands.run = func(_ context.Context, s Spec, kind Kind) error {
				path := s.File
				if name == "checked alone" && kind == Check {
					path = s.argv(Check)[1]
				}
				if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), "web") {
					t.Errorf("%s looks at %q (%v)", kind, text, err)
				}
				return nil
			}
			calls := map[bool]string{true: "reload", false: "check reload"}[check == ""]
			b.start()
			b.wait(template.Pending, "")
			b.has("-")
			b.show(template.Current, "", "web1", "web2")
			b.has("web1\nweb2\n")
			if got := b.commands.calls(); got != calls {
				t.Errorf("ran %q, want %q", got, calls)
			}
			b.show(template.Held, "no node passes check web")
			b.has("web1\nweb2\n")
			b.show(template.Current, "", "web2", "web1")
			b.has("web2\nweb1\n")
			b.commands.calls()
			b.start() // and nothing is new
			b.show(template.Current, "", "web2", "web1")
			if got := b.commands.calls(); got != "" {
				t.Errorf("after a restart with nothing new, %q was run", got)
			}
			b.clean()
			want := []string{"list written: " + b.spec.File + ": +web1 +web2", "list the file stays as it is: no node passes check web"}
			if diff := cmp.Diff(want, b.told()[:2]); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRefusedChangesNothing(t *testing.T) {
	for name, check := range map[string]string{"alone": "/bin/check {{.Path}}", "in place": "/bin/check"} {
		for _, before := range []string{"-", "old\n"} {
			t.Run(name+", before: "+before, func(t *testing.T) {
				b := newBench(t, check, true)
				if before != "-" {
					b.write(before, 0o640)
				}
				b.commands.run = func(_ context.Context, _ Spec, kind Kind) error { return errors.New("line 3: nonsense\nfailed") }
				b.start()
				b.show(template.Faulty, "check refuses it: line 3: nonsense failed", "web1")
				b.has(before)
				b.clean()
				if got := strings.ReplaceAll(b.commands.calls(), "check", ""); strings.TrimSpace(got) != "" {
					t.Errorf("ran %q after a check that refused", got)
				}
				if diff := cmp.Diff([]string{"list fails: check refuses it: line 3: nonsense failed"}, b.told()); diff != "" {
					t.Errorf("events (-want +got):\n%s", diff)
				}
				b.start() // the file of a restart is the old one, and no reload is owed
				b.commands.set(nil)
				b.show(template.Current, "", "web1")
				b.has("web1\n")
				if got := b.commands.calls(); got != "check reload" {
					t.Errorf("ran %q", got)
				}
			})
		}
	}
}

// A process that is killed in the middle of a check leaves what it had put there. The next one puts the old one back
// before it does anything else.
func TestKilledInACheck(t *testing.T) {
	for _, before := range []string{"-", "old\n"} {
		t.Run("before: "+before, func(t *testing.T) {
			b := newBench(t, "/bin/check", true)
			if before != "-" {
				b.write(before, 0o644)
			}
			b.start()
			b.stop()
			if err := errors.Join(stage(b.spec, "unchecked\n"), keep(b.spec.File), b.commit()); err != nil {
				t.Fatal(err)
			}
			b.has("unchecked\n")
			b.start()
			b.stop()
			b.has(before)
			b.clean()
		})
	}
}

// The end of the agent ends a check, which has judged nothing.
func TestStoppedInACheck(t *testing.T) {
	b := newBench(t, "/bin/check", true)
	b.write("old\n", 0o644)
	checking := make(chan struct{})
	b.commands.run = func(ctx context.Context, _ Spec, _ Kind) error {
		close(checking)
		<-ctx.Done()
		return ctx.Err()
	}
	b.start()
	b.Show(view("web1"))
	<-checking
	b.has("web1\n")
	b.stop()
	b.has("old\n")
	b.clean()
	if got := b.told(); len(got) > 0 {
		t.Errorf("told %q", got)
	}
}

// What was written and not told to the service is told after a restart, and only once.
func TestOwedReload(t *testing.T) {
	b := newBench(t, "", true)
	reloading := make(chan struct{})
	b.commands.run = func(ctx context.Context, _ Spec, _ Kind) error {
		close(reloading)
		<-ctx.Done()
		return ctx.Err()
	}
	b.start()
	b.Show(view("web1"))
	<-reloading
	b.stop()
	b.has("web1\n")
	b.commands.calls()
	b.commands.set(nil)
	for _, want := range []string{"reload", ""} {
		b.start()
		b.show(template.Current, "", "web1")
		if got := b.commands.calls(); got != want {
			t.Errorf("ran %q, want %q", got, want)
		}
	}
}

func TestReloadIsTriedAgain(t *testing.T) {
	b := newBench(t, "", true)
	b.commands.run = func(context.Context, Spec, Kind) error { return errors.New("pid 17 is gone") }
	b.start()
	b.show(template.Faulty, "the file is written, but the reload fails: pid 17 is gone", "web1")
	b.has("web1\n")
	b.commands.set(nil)
	b.wait(template.Current, "")
	if diff := cmp.Diff(b.told()[1:], []string{
		"list fails: the file is written, but the reload fails: pid 17 is gone", "list follows the cluster again: "}); diff != "" {
		t.Errorf("events (-got +want):\n%s", diff)
	}
}

// While a command runs, views come and go: the last one counts, and none waits.
func TestShowDoesNotWait(t *testing.T) {
	b := newBench(t, "", true)
	first, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	b.commands.run = func(context.Context, Spec, Kind) error {
		once.Do(func() { close(first); <-goOn })
		return nil
	}
	b.start()
	b.Show(view("web0"))
	<-first
	for i := range 1000 {
		b.Show(view(fmt.Sprint("web", i)))
	}
	b.Show(view("web1", "web2"))
	close(goOn)
	b.wait(template.Current, "")
	b.has("web1\nweb2\n")
	if got := b.commands.calls(); got != "reload reload" {
		t.Errorf("ran %q", got)
	}
}

func TestBrokenSource(t *testing.T) {
	b := newBench(t, "", false)
	b.write("old\n", 0o644)
	b.source = "{{nonsense}}"
	b.start()
	b.show(template.Faulty, `function "nonsense" not defined`, "web1")
	b.has("old\n")
	b.source = `{{range healthy "wbe"}}{{end}}`
	b.start()
	b.show(template.Faulty, `no check "wbe"; there is web`, "web1")
	b.has("old\n")
}
