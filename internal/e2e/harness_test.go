package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

var (
	must = labtest.Must
	pass = labtest.Pass
)

// within bounds the waiting for one thing.
func within(t testing.TB) context.Context {
	t.Helper()
	return labtest.Within(t, patience)
}

// eventually waits until try returns nil.
func eventually(t testing.TB, try func(context.Context) error) {
	t.Helper()
	labtest.Eventually(t, patience, t.Name(), try)
}

func clock(at time.Time) string { return at.UTC().Format("15:04:05.000") }

// prefixes are the floating addresses of a group.
func prefixes(t testing.TB, g lab.GroupConfig) []netip.Prefix {
	t.Helper()
	var list []netip.Prefix
	for _, a := range g.Addresses {
		p, err := netip.ParsePrefix(a)
		must(t, err)
		list = append(list, p)
	}
	return list
}

// A said is what a command of hbagent answered.
type said struct {
	command string
	code    int
	stdout  string
	stderr  string
	all     string // stdout, and stderr where the command failed
}

// verb runs a command of hbagent on a node.
func (s *site) verb(t testing.TB, node string, args ...string) said {
	t.Helper()
	return run(t, s.Node(node), command(args...))
}

// command is a command of hbagent.
func command(args ...string) *exec.Cmd {
	cmd := exec.Command(labtest.Program(), args...)
	cmd.Args[0] = "hbagent"
	return cmd
}

// run runs a program on a node to its end.
func run(t testing.TB, n *lab.Node, cmd *exec.Cmd) said {
	t.Helper()
	out, errs, err := n.Outputs(within(t), cmd)
	r := said{command: fmt.Sprintf("%s on %s", strings.Join(cmd.Args, " "), n.Name), stdout: string(out), stderr: string(errs), all: string(out)}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		r.code = exit.ExitCode()
		r.all += err.Error()
	case err != nil:
		t.Fatal(err)
	}
	return r
}

// wants compares the exit code, and looks for each phrase in what was said.
func (r said) wants(t testing.TB, code int, phrases ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("%s: exit code %d, want %d; it said:\n%s", r.command, r.code, code, r.all)
		return
	}
	flat := func(s string) string { return strings.Join(strings.Fields(s), " ") } // where lines break hangs on the lengths of paths
	for _, p := range phrases {
		if !strings.Contains(flat(r.all), flat(p)) {
			t.Errorf("%s: it does not say %q:\n%s", r.command, p, r.all)
		}
	}
}

// failure is nil if the command succeeded.
func (r said) failure() error {
	if r.code == 0 {
		return nil
	}
	return fmt.Errorf("%s: exit code %d: %s", r.command, r.code, r.all)
}

// events reads the history that a node has recorded since a moment.
func (s *site) events(t testing.TB, node string, since time.Time) []control.Event {
	t.Helper()
	r := s.verb(t, node, "events", "--local", "--json")
	r.wants(t, 0)
	var list []control.Event
	for line := range strings.Lines(r.stdout) {
		var e control.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v in %q", r.command, err, line)
		}
		if !e.At.Before(since.Truncate(time.Millisecond)) {
			list = append(list, e)
		}
	}
	return list
}

// waitEvent waits until a node has recorded an event that is like one of those looked for.
func (s *site) waitEvent(t testing.TB, node string, since time.Time, what string, like func(control.Event) bool) control.Event {
	t.Helper()
	var found control.Event
	eventually(t, func(context.Context) error {
		var all []string
		for _, e := range s.events(t, node, since) {
			if like(e) {
				found = e
				return nil
			}
			all = append(all, fmt.Sprintf("%+v", e))
		}
		return fmt.Errorf("no event %q on %s among:\n%s", what, node, strings.Join(all, "\n"))
	})
	return found
}

// waitStatus waits until a node's status is as wanted; wrong says what is not.
func (s *site) waitStatus(t testing.TB, node string, wrong func(control.Status) string) control.Status {
	t.Helper()
	var last control.Status
	eventually(t, func(ctx context.Context) error {
		st, err := s.Node(node).Status(ctx)
		if err != nil {
			return err
		}
		last = st
		if w := wrong(st); w != "" {
			return fmt.Errorf("status of %s: %s", node, w)
		}
		return nil
	})
	return last
}

// waitPeer waits until a node sees another one up, or down.
func (s *site) waitPeer(t testing.TB, node, peer string, alive bool) {
	t.Helper()
	s.waitStatus(t, node, func(st control.Status) string {
		if n := nodeOf(st, peer); n.Alive != alive {
			return fmt.Sprintf("%s alive: %v", peer, n.Alive)
		}
		return ""
	})
}

// waitCheck waits until a node sees a check of a node pass or fail.
func (s *site) waitCheck(t testing.TB, node, of, check string, want control.CheckStatus) {
	t.Helper()
	s.waitStatus(t, node, func(st control.Status) string {
		for _, c := range nodeOf(st, of).Checks {
			if c.Name == check && c.Status == want {
				return ""
			}
		}
		return fmt.Sprintf("check %s of %s is not %s: %+v", check, of, want, nodeOf(st, of).Checks)
	})
}

func nodeOf(st control.Status, name string) control.Node {
	for _, n := range st.Nodes {
		if n.Name == name {
			return n
		}
	}
	return control.Node{}
}

func groupOf(st control.Status, name string) control.Group {
	for _, g := range st.Groups {
		if g.Name == name {
			return g
		}
	}
	return control.Group{}
}

// waitLog waits until the agent of a node has logged all of these phrases in one line.
func waitLog(t testing.TB, n *lab.Node, phrases ...string) {
	t.Helper()
	eventually(t, func(context.Context) error {
		for line := range strings.Lines(agentLog(n)) {
			if containsAll(line, phrases) {
				return nil
			}
		}
		return fmt.Errorf("the agent of %s has not logged %q", n.Name, phrases)
	})
}

func containsAll(line string, phrases []string) bool {
	for _, p := range phrases {
		if !strings.Contains(line, p) {
			return false
		}
	}
	return true
}

// agentLog is everything the agents of a node have said.
func agentLog(n *lab.Node) string { return processLog(n, lab.AgentLog) }

// processLog is everything that the programs that were started on a node under a name have said.
func processLog(n *lab.Node, name string) string {
	b, err := os.ReadFile(filepath.Join(n.Dir(), name+".log"))
	if err != nil {
		return "" // none was started there
	}
	return string(b)
}
