package doctor_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/doctor"
	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

// Chosen by us.
const (
	patience = 30 * time.Second
	// A long ttl: stalls of a machine that runs other tests, too, are no finding.
	ttl = 3 * time.Second
	// measure is what doctor takes in most tests: what they plant shows at once.
	measure = 400 * time.Millisecond
	pause   = 20 * time.Millisecond // between two looks at something that sends no event
)

// A site is three machines with agents, web servers on two of them, and hooks.
type site struct {
	*lab.World
	config lab.Config
	web    map[string]*lab.Service
	hook   string
	key    string                            // the gossip key, a file that all share
	stalls struct{ now, worst atomic.Int64 } // how late this process woke up, in nanoseconds
}

var must = labtest.Must

var errNotYet = errors.New("not yet")

// tables lists those of nf_tables.
func tables() *exec.Cmd {
	cmd := exec.Command("sh", "-c", "nft list tables")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin"}
	return cmd
}

func within(t testing.TB) context.Context {
	t.Helper()
	return labtest.Within(t, patience)
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{World: labtest.New(t, lab.Options{Hbagent: labtest.Program()}), web: map[string]*lab.Service{}}
	s.feelStalls(t)
	s.hook = filepath.Join(s.Dir, "hook")
	must(t, os.WriteFile(s.hook, []byte("#!/bin/sh\nexit 0\n"), 0o755))
	for _, name := range []string{"web1", "web2"} {
		web, err := s.Node(name).Web()
		must(t, err)
		must(t, web.Start(within(t)))
		s.web[name] = web
	}
	c := s.Config()
	s.key = c.Cluster.KeyFile
	c.Lease.TTL = ttl.String()
	c.Checks = []lab.CheckConfig{{Name: "web", Type: "http", URL: "http://127.0.0.1/", Interval: "500ms", Nodes: []string{"web1", "web2"}}}
	g := s.WebGroup("web1", "web2")
	g.Checks, g.Hold, g.MaxMoves, g.OnActive = []string{"web"}, "500ms", "100/10m", []string{s.hook}
	c.Groups = []lab.GroupConfig{g}
	s.config = c
	must(t, s.WriteConfig(c))
	must(t, s.StartAgents(within(t)))
	s.settle(t)
	return s
}

// settle waits until web1 owns the group, and everybody is fit.
func (s *site) settle(t *testing.T) {
	t.Helper()
	ctx := within(t)
	owner, err := s.WaitAnyOwner(ctx, "web", "web1", "web2")
	must(t, err)
	must(t, s.WaitEligible(ctx, "web", "web1", "web2"))
	if owner != "web1" {
		_, err := s.Node("web2").Hbagent(ctx, "switchover", "web", "--to", "web1", "--strict")
		must(t, err)
	}
	must(t, s.WaitOwner(ctx, "web", "web1"))
	must(t, s.meshed(ctx))
}

// meshed waits until every node sees every other one, with the same config, and who owns web.
func (s *site) meshed(ctx context.Context) error {
	return retry(ctx, func() error {
		for _, n := range s.Nodes() {
			st, err := n.Status(ctx)
			if err != nil {
				return err
			}
			for _, other := range st.Nodes {
				if !other.Alive || other.ConfigHash != st.ConfigHash {
					return fmt.Errorf("%s does not see %s as it should: %+v", n.Name, other.Name, other)
				}
			}
			if st.Groups[0].Owner != "web1" {
				return fmt.Errorf("%s sees owner %q", n.Name, st.Groups[0].Owner)
			}
		}
		return nil
	})
}

func retry(ctx context.Context, try func() error) error {
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(pause):
		}
	}
}

// root makes an empty root directory for what a machine's managers would have written.
func root(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(text), 0o644))
	}
	return dir
}

// A run is how doctor is called in a test.
type run struct {
	on      string // node
	root    string
	args    []string
	prefix  []string // a program in front of it, as setpriv
	noNode  bool
	measure time.Duration
}

// weather is what an overloaded machine is told, and rightly: it is no fault of ours.
var weather = []string{"stalls", "peer-latency", "peer-loss"}

// looks is how often doctor looks on a machine that stands still while it does.
const looks = 4

// doctor runs it and returns what it found and its exit code. Where the machine under the test stands still, which the test
// process notices by itself, it looks again; what the agents remember of it (stalls) is taken out of the report then.
func (s *site) doctor(t testing.TB, r run, want ...string) (doctor.Report, int) {
	t.Helper()
	for look := 1; ; look++ {
		s.stalls.now.Store(0)
		report, code := s.look(t, r)
		unasked := slices.DeleteFunc(bad(report), func(id string) bool { return !slices.Contains(weather, id) || slices.Contains(want, id) })
		switch {
		case len(unasked) == 0:
			return report, code
		case look < looks && time.Duration(s.stalls.now.Load()) > ttl/64:
			t.Logf("the machine stood still for %v while doctor looked on %s, and it says %v: again", time.Duration(s.stalls.now.Load()), r.on, unasked)
			continue
		case time.Duration(s.stalls.worst.Load()) < ttl/16:
			return report, code
		}
		t.Logf("the machine stood still for %v during this test: no word of stalls on %s", time.Duration(s.stalls.worst.Load()), r.on)
		report.Findings = slices.DeleteFunc(report.Findings, func(f doctor.Finding) bool { return f.ID == "stalls" && f.Level == doctor.Warning })
		code = 0
		for _, f := range report.Findings {
			code = max(code, map[doctor.Level]int{doctor.Problem: 2, doctor.Warning: 1}[f.Level])
		}
		return report, code
	}
}

// feelStalls watches how late this process wakes up, until the test ends.
func (s *site) feelStalls(t *testing.T) {
	const nap = 5 * time.Millisecond
	go func() {
		for t.Context().Err() == nil {
			before := time.Now()
			time.Sleep(nap)
			late := int64(time.Since(before) - nap)
			s.stalls.now.Store(max(s.stalls.now.Load(), late))
			s.stalls.worst.Store(max(s.stalls.worst.Load(), late))
		}
	}()
}

// look runs it once.
func (s *site) look(t testing.TB, r run) (doctor.Report, int) {
	t.Helper()
	if r.root == "" {
		r.root = root(t, nil)
	}
	if r.measure == 0 {
		r.measure = measure
	}
	n := s.Node(r.on)
	args := append(slices.Clone(r.prefix), labtest.Program(), "doctor", "--json", "--measure", r.measure.String(), "--root", r.root,
		"-c", n.ConfigFile(), "--state-dir", n.StateDir())
	if !r.noNode {
		args = append(args, "--node", r.on)
	}
	cmd := exec.Command(args[0], append(args[1:], r.args...)...)
	out, err := n.Output(within(t), cmd)
	code := 0
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		code = exit.ExitCode()
	case err != nil:
		t.Fatal(err)
	}
	var report doctor.Report
	if e := json.Unmarshal(out, &report); e != nil {
		t.Fatalf("doctor on %s: %v: %v\n%s", r.on, err, e, out)
	}
	if limit := doctor.Limit + 2*time.Second; time.Duration(report.TookMs)*time.Millisecond > limit {
		t.Errorf("doctor on %s took %d ms, at most %v", r.on, report.TookMs, limit)
	}
	return report, code
}

// bad lists the problems and warnings of a report by identifier, once each.
func bad(r doctor.Report) []string {
	var ids []string
	for _, f := range r.Findings {
		if (f.Level == doctor.Problem || f.Level == doctor.Warning) && !slices.Contains(ids, f.ID) {
			ids = append(ids, f.ID)
		}
	}
	return ids
}

// said is every problem and warning of a report, for messages.
func said(r doctor.Report) string {
	var b strings.Builder
	for _, f := range r.Findings {
		if f.Level == doctor.Problem || f.Level == doctor.Warning {
			fmt.Fprintf(&b, "  %s %s (%s): %s\n    > %s\n", f.Level, f.ID, f.Subject, f.Text, f.Do)
		}
	}
	return b.String()
}

// healthy fails the test if there is anything to find on any of the nodes, which are looked at side by side, each so many
// times.
func (s *site) healthy(t *testing.T, times int, nodes ...string) {
	t.Helper()
	t.Run("doctors", func(t *testing.T) {
		for _, name := range nodes {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				for range times {
					if r, code := s.doctor(t, run{on: name}); code != 0 || len(bad(r)) > 0 {
						t.Errorf("nothing is wrong on %s, and doctor exits %d:\n%s", name, code, said(r))
					}
				}
			})
		}
	})
}
