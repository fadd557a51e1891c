package systemdtest_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/lab/booted"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

// again lists what may be asked again until the answer is the right one: the reader is slower than the test.
var again = []string{"hbagent status", "hbagent events", "hbagent plan", "hbagent check", "hbagent doctor", "curl ", "journalctl "}

// judging lists whose exit code says what they have found.
var judging = []string{"hbagent status", "hbagent doctor", "hbagent key status"}

// endless lists what goes on until the reader ends it: it runs beside what follows, and is looked at in the end.
var endless = []string{"--watch", "--follow"}

// The guide, word by word, on three machines that know nothing.
func TestGuide(t *testing.T) { newReader(t).follow(t, "../../docs/guide.md") }

// The page that people see first makes a site, and the runbook keeps it running. There is a fourth machine with the package on it.
func TestReadmeAndOperations(t *testing.T) {
	r := newReader(t, "web1", "web2", "db1", "db2")
	r.follow(t, "../../README.md")
	r.do(t, "the new machine", "laptop", step{does: "scp hbagent_*.deb root@db2:"})
	r.do(t, "the new machine", "db2", step{does: "apt-get install -y ./hbagent_*.deb"})
	r.follow(t, "../../docs/operations.md")
}

// A reader does what a document says, at a site of his own.
type reader struct {
	*site
	laptop *booted.Laptop
}

func newReader(t *testing.T, machines ...string) *reader {
	t.Helper()
	deb, newer := needFile(t, "HBAGENT_TEST_DEB"), needFile(t, "HBAGENT_TEST_NEWER")
	r := &reader{site: newSite(t, machines...)}
	var err error
	r.laptop, err = r.Laptop()
	must(t, err)
	must(t, copyFile(deb, filepath.Join(r.laptop.Dir, filepath.Base(deb))))
	must(t, os.Mkdir(filepath.Join(r.laptop.Dir, "newer"), 0o755))
	must(t, copyFile(newer, filepath.Join(r.laptop.Dir, "newer", filepath.Base(newer))))
	return r
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}

// follow does all steps of a document.
func (r *reader) follow(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	must(t, err)
	all, err := steps(strings.ReplaceAll(string(b), "10.0.0.", "10.77.0.")) // the network of the lab
	must(t, err)
	if len(all) == 0 {
		t.Fatalf("%s has no block ```console", file)
	}
	began := time.Now()
	var beside sync.WaitGroup
	defer beside.Wait()
	end, stop := context.WithCancel(t.Context())
	defer stop()
	for _, s := range all {
		if t.Failed() {
			return
		}
		at := fmt.Sprintf("%s:%d: %s# %s", filepath.Base(file), s.line, s.where, s.does)
		if contains(s.does, endless) {
			beside.Go(func() {
				said, err := r.shell(end, s.where, s.does)
				if line, no := missing(s.answer, said); no {
					t.Errorf("%s: it never said %q (%v):\n%s", at, line, err, said)
				}
			})
			continue
		}
		for _, where := range r.machines(s.where) {
			r.do(t, at, where, s)
		}
	}
	t.Logf("%s: %d steps in %.0f s", file, len(all), time.Since(began).Seconds())
}

func contains(text string, any []string) bool {
	for _, a := range any {
		if strings.Contains(text, a) {
			return true
		}
	}
	return false
}

func (r *reader) machines(where string) []string {
	if where == "all" {
		return everywhere
	}
	return []string{where}
}

// do does one step, and looks at the answer.
func (r *reader) do(t *testing.T, at, where string, s step) {
	t.Helper()
	ctx := labtest.Within(t, patience)
	if where == "test" {
		r.help(t, s.does)
		return
	}
	boots := 0
	if where != "laptop" {
		boots = r.Machine(where).Boots()
	}
	var last string
	for {
		said, err := r.shell(ctx, where, s.does)
		if ctx.Err() != nil {
			said = last // this one was cut off
		}
		last = said
		line, no := missing(s.answer, said)
		switch {
		case strings.Contains(s.does, "systemctl reboot"), strings.Contains(s.does, "systemctl poweroff"):
			must(t, r.gone(ctx, where, boots, strings.Contains(s.does, "poweroff")))
			return
		case no && contains(s.does, again) && ctx.Err() == nil:
			pass(t, pollPause)
			continue
		case no:
			t.Errorf("%s: it does not say %q; it says (%v):\n%s", at, line, err, said)
		case err != nil && !contains(s.does, judging):
			t.Errorf("%s: %v\n%s", at, err, said)
		}
		return
	}
}

// gone waits until a machine has rebooted, or is off.
func (r *reader) gone(ctx context.Context, name string, boots int, off bool) error {
	m := r.Machine(name)
	for {
		switch _, err := m.Leader(); {
		case off && err != nil:
			return nil
		case !off && m.Boots() > boots:
			return m.WaitBooted(ctx)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is still the same: %w", name, ctx.Err())
		case <-time.After(pollPause):
		}
	}
}

// help does what the reader does without a command.
func (r *reader) help(t *testing.T, what string) {
	t.Helper()
	words := strings.SplitN(what, " ", 3)
	switch {
	case strings.HasPrefix(what, "power on "):
		must(t, r.Machine(words[2]).PowerOn(labtest.Within(t, patience)))
	case strings.HasPrefix(what, "power off "):
		must(t, r.Machine(words[2]).PowerOff())
	case words[0] == "on" && len(words) == 3: // what an editor does
		if out, err := r.shell(labtest.Within(t, patience), words[1], words[2]); err != nil {
			t.Fatalf("%s: %v: %s", what, err, out)
		}
	case what == "take your time": // longer than hold
		r.settled(t)
	default:
		t.Fatalf("the test does not know how to %s", what)
	}
}

// shell runs a command line somewhere as a person does who is logged in, and returns what they see.
func (r *reader) shell(ctx context.Context, where, line string) (string, error) {
	line = "exec 2>&1\n" + line
	if where == "laptop" {
		out, err := r.Client.Output(ctx, r.laptop.Shell("-c", line))
		return string(out), err
	}
	return r.Machine(where).Output(ctx, "bash", "-lc", "cd\n"+line)
}
