package cli

import (
	"context"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/control/controltest"
)

func serveStatus(t *testing.T, s control.Status) (runDir string) {
	return controltest.Serve(t, controltest.Agent{
		OnStatus: func(context.Context) (control.Status, error) { return s, nil },
	})
}

func TestStatus(t *testing.T) {
	for name, make := range controltest.Cases {
		s := make()
		dir := serveStatus(t, s)
		t.Run(name, func(t *testing.T) {
			got := run(t, "status", "--run-dir", dir)
			if got.code != int(s.Severity()) || got.stderr != "" {
				t.Errorf("code %d, stderr %q; want %d and nothing", got.code, got.stderr, s.Severity())
			}
			golden(t, "status/"+name+".txt", got.stdout)
			for line := range strings.Lines(got.stdout) {
				line = strings.TrimRight(line, "\n")
				if n := len([]rune(line)); n > defaultWidth {
					t.Errorf("%d columns: %s", n, line)
				}
				if strings.HasSuffix(line, " ") {
					t.Errorf("ends in spaces: %q", line)
				}
			}
		})
		t.Run(name+"/group", func(t *testing.T) {
			golden(t, "status/"+name+".web.txt", run(t, "status", "web", "--run-dir", dir).stdout)
		})
		t.Run(name+"/json", func(t *testing.T) {
			got := run(t, "status", "--json", "--run-dir", dir)
			var back control.Status
			if err := json.Unmarshal([]byte(got.stdout), &back); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(s, back); diff != "" || got.code != int(s.Severity()) {
				t.Errorf("code %d, want %d; JSON (-want +got):\n%s", got.code, s.Severity(), diff)
			}
		})
	}
}

func TestStatusJSONText(t *testing.T) {
	golden(t, "status/check-failing.json", run(t, "status", "--json", "--run-dir", serveStatus(t, controltest.CheckFailing())).stdout)
}

func TestStatusVerbose(t *testing.T) {
	golden(t, "status/check-failing.verbose.txt", run(t, "status", "-v", "--run-dir", serveStatus(t, controltest.CheckFailing())).stdout)
}

// TestStatusOfOneGroup: a monitor that watches `db` is not alarmed because `web` has no owner.
func TestStatusOfOneGroup(t *testing.T) {
	dir := serveStatus(t, controltest.NoOwner())
	if got := run(t, "status", "web", "--run-dir", dir); got.code != 2 {
		t.Errorf("status web: code %d, want 2", got.code)
	}
	if got := run(t, "status", "db", "--run-dir", dir); got.code != 1 {
		t.Errorf("status db: code %d, want 1 (a check fails)", got.code)
	}
	got := run(t, "status", "wbe", "--run-dir", dir)
	if want := "unknown: no group \"wbe\": there is web, db\n"; got.code != 3 || got.stdout != want {
		t.Errorf("got %+v, want code 3 and %q", got, want)
	}
}

// TestStatusIsHarmlessForTheTerminal: what a service answers reaches the screen of whoever asks.
func TestStatusIsHarmlessForTheTerminal(t *testing.T) {
	s := controltest.CheckFailing()
	s.Nodes[1].Checks[0].Message = "\x1b[2J\x1b]0;owned\x07all well\r\n\u202egnp.exe"
	got := run(t, "status", "--run-dir", serveStatus(t, s))
	if i := strings.IndexFunc(got.stdout, func(r rune) bool { return r == 0x1b || r == '\r' || r == 0x07 || r == 0x202e }); i >= 0 {
		t.Errorf("control character in: %q", got.stdout[i:])
	}
}

func TestStatusColours(t *testing.T) {
	a, run := testApp(t)
	a.screen = screen{width: defaultWidth, colours: true, terminal: true}
	got := run("status", "--run-dir", serveStatus(t, controltest.AllWell()))
	first, _, _ := strings.Cut(got.stdout, "\n")
	if !strings.HasPrefix(first, string(good)) || !strings.HasSuffix(first, reset) {
		t.Errorf("the verdict is not green: %q", first)
	}
	if got := ansiFree(got.stdout); got != string(readGolden(t, "status/all-well.txt")) {
		t.Error("colours move the columns")
	}
}

func TestScreenOf(t *testing.T) {
	s := screenOf(new(strings.Builder), func(string) string { return "" })
	if diff := cmp.Diff(screen{width: defaultWidth}, s, cmp.AllowUnexported(screen{})); diff != "" {
		t.Errorf("a pipe (-want +got):\n%s", diff)
	}
}

// TestStatusWatch: the agent is there, goes away, and the watch goes on until it is ended.
func TestStatusWatch(t *testing.T) {
	var asked atomic.Int32
	tick := make(chan time.Time, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	dir := controltest.Serve(t, controltest.Agent{OnStatus: func(context.Context) (control.Status, error) {
		switch asked.Add(1) {
		case 1:
			tick <- time.Time{}
			return controltest.AllWell(), nil
		case 2:
			tick <- time.Time{}
			return control.Status{}, control.Errorf(control.CodeUnavailable, "the agent is stopping")
		}
		cancel()
		return controltest.AllWell(), nil
	}})
	a, _ := testApp(t)
	var out strings.Builder
	a.stdout = &out
	a.tick = func(time.Duration) <-chan time.Time { return tick }
	if code := a.run(ctx, []string{"status", "--watch", "--run-dir", dir}); code != exitOK {
		t.Errorf("code %d, want 0", code)
	}
	want := string(readGolden(t, "status/all-well.txt")) + "\nunknown: the agent is stopping\n\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("watch (-want +got):\n%s", diff)
	}
}
