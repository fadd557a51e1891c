package systemdtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/booted"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

// Chosen by us.
const (
	// ttl is that of the config. What has to be over within one, a restart or an upgrade, shares the processors with two other
	// machines, the client and the observers.
	ttl       = 2 * time.Second
	patience  = 60 * time.Second // for what must happen, on a machine that is busy
	calm      = 3 * ttl / 2      // watched for what must not happen: whoever lost a lease would show by then
	slack     = 3                // measured outages may be so many times the promise: the machine is not ours alone
	pollPause = 50 * time.Millisecond
)

var floating = lab.Floating4

// A site is three machines with nothing of ours on them, and observers of the floating address.
type site struct {
	*booted.Site
	began  time.Time
	client *lab.HTTPProbe // a new connection each time
	stayer *lab.HTTPProbe // one connection for as long as it lasts
	arp    *lab.ARPWatch
	report []string // one line for each measured thing
}

// newSite boots the machines, by default web1, web2 and db1. The web servers answer with their machine's name.
func newSite(t *testing.T, machines ...string) *site {
	t.Helper()
	w := labtest.New(t, lab.Options{Nodes: machines})
	b, err := booted.New(labtest.Within(t, patience), w)
	if errors.Is(err, booted.ErrNoBase) {
		labtest.Skip(t, err.Error())
	}
	must(t, err)
	s := &site{Site: b, began: time.Now()}
	t.Cleanup(func() {
		if t.Failed() {
			s.showLogs(t)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, m := range s.Machines() {
		must(t, m.Write("/var/www/html/index.html", m.Name+"\n", 0o644))
	}
	return s
}

// observe starts the observers, and at the end of the test looks for two owners.
func (s *site) observe(t *testing.T) {
	t.Helper()
	web := netip.AddrPortFrom(floating.Addr(), 80)
	var err error
	s.client, err = s.ProbeHTTP(t.Context(), lab.HTTPOptions{Target: web, Interval: 10 * time.Millisecond, Timeout: time.Second, InFlight: 128})
	must(t, err)
	s.stayer, err = s.ProbeHTTP(t.Context(), lab.HTTPOptions{Target: web, Interval: 10 * time.Millisecond, Timeout: time.Second, KeepAlive: true})
	must(t, err)
	s.arp, err = s.WatchARP(t.Context(), floating.Addr(), 0)
	must(t, err)
	t.Cleanup(func() {
		<-s.arp.Done()
		asked := s.arp.Questions(s.began, time.Now())
		if !slices.ContainsFunc(asked, func(q lab.Question) bool { return len(q.Nodes) > 0 }) {
			t.Errorf("who has %s: nobody answered any of %d questions: the observer saw nothing", floating.Addr(), len(asked))
		}
		two := s.arp.OwnersOverlap(s.began, time.Now())
		for _, q := range two {
			t.Errorf("who has %s, asked at %s: answered by %v", floating.Addr(), clock(q.Sent), q.Nodes)
		}
		s.note("%d questions on the wire, %d answered by two machines", len(asked), len(two))
		t.Log("measured:\n" + strings.Join(s.report, "\n"))
	})
}

// note adds a line to the report.
func (s *site) note(format string, args ...any) {
	s.report = append(s.report, fmt.Sprintf(format, args...))
}

// showLogs shows what the agents and the boots had to say.
func (s *site) showLogs(t *testing.T) {
	for _, m := range s.Machines() {
		out, err := m.Output(context.Background(), "journalctl", "--no-pager", "--lines=60", "--output=short-precise", "--unit=hbagent")
		t.Logf("journal of %s (%v):\n%s", m.Name, err, out)
	}
}

// A said is what a command answered.
type said struct {
	command string
	code    int
	stdout  string
	all     string // with stderr, where the command failed
}

// run runs a command on a machine to its end, whatever its exit code.
func (s *site) run(t *testing.T, machine string, args ...string) said {
	t.Helper()
	out, err := s.Machine(machine).Output(labtest.Within(t, patience), args...)
	r := said{command: strings.Join(args, " ") + " on " + machine, stdout: out, all: out}
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

// on runs a command that must succeed, and returns what it said.
func (s *site) on(t *testing.T, machine string, args ...string) string {
	t.Helper()
	r := s.run(t, machine, args...)
	if r.code != 0 {
		t.Fatalf("%s: exit code %d: %s", r.command, r.code, r.all)
	}
	return strings.TrimSpace(r.stdout)
}

// show reads properties of a unit on a machine.
func (s *site) show(t *testing.T, machine, unit, property string) string {
	t.Helper()
	return s.on(t, machine, "systemctl", "show", "--value", "--property="+property, unit)
}

// status is what the agent of a machine says.
func (s *site) status(t *testing.T, machine string) (control.Status, error) {
	t.Helper()
	r := s.run(t, machine, "hbagent", "status", "--json")
	var st control.Status
	if r.code > 2 {
		return st, errors.New(r.all)
	}
	return st, json.Unmarshal([]byte(r.stdout), &st)
}

// waitStatus waits until every one of the machines says what is wanted; wrong says what is not.
func (s *site) waitStatus(t *testing.T, machines []string, wrong func(control.Status) string) {
	t.Helper()
	for _, m := range machines {
		eventually(t, func() error {
			st, err := s.status(t, m)
			if err != nil {
				return err
			}
			if w := wrong(st); w != "" {
				return fmt.Errorf("status of %s: %s", m, w)
			}
			return nil
		})
	}
}

var everywhere = []string{"web1", "web2", "db1"}

// others are the machines without one.
func others(but string) []string {
	return slices.DeleteFunc(slices.Clone(everywhere), func(m string) bool { return m == but })
}

// waitWell waits until all three machines say that web is at owner, that all of them are up, and that the others may take over.
func (s *site) waitWell(t *testing.T, owner string) {
	t.Helper()
	s.waitStatus(t, everywhere, func(st control.Status) string {
		if g := st.Groups[0]; g.Owner != owner || g.State != control.StateActive {
			return fmt.Sprintf("owner %q, %s, want %s", g.Owner, g.State, owner)
		}
		for _, n := range st.Nodes {
			if g, may := n.Groups["web"]; !n.Alive || may && !g.Eligible {
				return fmt.Sprintf("%s: alive %v, eligible %v: %s", n.Name, n.Alive, g.Eligible, g.Reason)
			}
		}
		return ""
	})
}

// settled waits until the site is well, and returns who has the address.
func (s *site) settled(t *testing.T) string {
	t.Helper()
	var at string
	s.waitStatus(t, []string{"db1"}, func(st control.Status) string {
		if at = st.Groups[0].Owner; at == "" {
			return "nobody owns web: " + st.Groups[0].Reason
		}
		return ""
	})
	s.waitWell(t, at)
	return at
}

// owner is who has the floating address, as a machine sees it.
func (s *site) owner(t *testing.T, machine string) (name string, epoch uint64) {
	t.Helper()
	st, err := s.status(t, machine)
	must(t, err)
	return st.Groups[0].Owner, st.Groups[0].Epoch
}

// other is the second web server.
func other(web string) string {
	if web == "web1" {
		return "web2"
	}
	return "web1"
}

// moves does something after which the address must be at a machine, and notes how long the client got no answer: at most
// promise, with slack; and in a planned move no connection fails.
func (s *site) moves(t *testing.T, what, to string, promise time.Duration, deed func(context.Context) error) {
	t.Helper()
	ctx, began := labtest.Within(t, patience), time.Now()
	must(t, deed(ctx))
	must(t, s.arp.WaitAnswers(ctx, began, to))
	must(t, s.client.WaitAnswer(ctx, time.Now(), to))
	gap := s.client.LongestGap(began, time.Now()).Length()
	tally := s.client.Tally(began, time.Now())
	s.note("%-50s %5d ms without an answer, promised %v; %d of %d new connections failed", what, gap.Milliseconds(), promise, tally.Failed, tally.Asked)
	if promise == promisePlanned && tally.Failed > 0 {
		t.Errorf("%s: of %d new connections %d failed, want none%s", what, tally.Asked, tally.Failed, firstFailure(s.client, began))
	}
	if gap > slack*promise {
		t.Errorf("%s: the client got no answer for %v; the promise is %v, and %d times that is allowed here", what, gap, promise, slack)
	}
}

// stays does something that must not move the address, and watches for a while: the client loses no question, everybody who
// answers for the address is the machine that did before, and nobody has been granted a new lease.
func (s *site) stays(t *testing.T, what, at string, deed func(context.Context) error) {
	t.Helper()
	ctx, began := labtest.Within(t, patience), time.Now()
	before, epoch := s.owner(t, at)
	must(t, deed(ctx))
	took := time.Since(began)
	pass(t, calm)
	must(t, s.client.WaitAnswer(ctx, time.Now(), at))
	after, now := s.owner(t, at)
	if before != at || after != at || now != epoch {
		t.Errorf("%s: owner %q epoch %d, then owner %q epoch %d: want %s and the same epoch", what, before, epoch, after, now, at)
	}
	for _, q := range s.arp.Questions(began, time.Now()) {
		if len(q.Nodes) > 0 && !slices.Equal(q.Nodes, []string{at}) {
			t.Errorf("%s: at %s the address was answered for by %v", what, clock(q.Sent), q.Nodes)
			break
		}
	}
	var asked, failed int
	for _, probe := range []*lab.HTTPProbe{s.client, s.stayer} {
		tally := probe.Tally(began, time.Now())
		asked, failed = asked+tally.Asked, failed+tally.Failed
		if tally.Failed > 0 || tally.Asked == 0 {
			t.Errorf("%s: of %d questions %d were lost, want none%s", what, tally.Asked, tally.Failed, firstFailure(probe, began))
		}
	}
	gap := s.client.LongestGap(began, time.Now()).Length()
	s.note("%-50s %d of %d requests failed, %d ms the longest without an answer, took %.1f s", what, failed, asked, gap.Milliseconds(), took.Seconds())
}

func firstFailure(p *lab.HTTPProbe, since time.Time) string {
	for _, a := range p.Answers(since, time.Now()) {
		if a.Err != nil {
			return "; the first at " + clock(a.Sent) + ": " + a.Err.Error()
		}
	}
	return ""
}

// command does something on a machine as a deed.
func (s *site) command(machine string, args ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := s.Machine(machine).Output(ctx, args...)
		return err
	}
}

var (
	must = labtest.Must
	pass = labtest.Pass
)

// eventually waits until try returns nil.
func eventually(t testing.TB, try func() error) {
	t.Helper()
	labtest.Eventually(t, patience, t.Name(), func(context.Context) error { return try() })
}

func clock(at time.Time) string { return at.UTC().Format("15:04:05.000") }

// needFile is a file that `make test-systemd` has made.
func needFile(t *testing.T, env string) string {
	t.Helper()
	file := os.Getenv(env)
	if file == "" {
		labtest.Skip(t, env+": make test-systemd sets it")
	}
	return file
}
