// Labscale measures what grows with the number of nodes, voters and groups: real agents in throw-away namespaces, one
// cluster after the other.
//
//	labscale -hbagent bin/hbagent -out docs/benchmarks/data/scale.json
//
// For each it prints the cost of an agent at rest, how long `hbagent status` takes, and how long the groups of a node
// that loses its power are without an owner. -only 3x3x1,100x5x1 takes some of the clusters: nodes, voters, groups. It
// needs no root.
//
// Until the run is whole, what it has is in FILE.partial, as valid as FILE; an interrupted run leaves it there.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/hbagent/hbagent/internal/bench"
	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/scale"
)

// plans are the clusters of a whole run. Those that tell most come first: a run may be interrupted.
var plans = []scale.Plan{
	{Nodes: 3, Voters: 3, Groups: 1, Candidates: 3},
	{Nodes: 5, Voters: 5, Groups: 1, Candidates: 5},
	{Nodes: 9, Voters: 5, Groups: 1, Candidates: 9},
	{Nodes: 25, Voters: 5, Groups: 1, Candidates: 25},
	{Nodes: 3, Voters: 3, Groups: 10, Candidates: 3},
	{Nodes: 3, Voters: 3, Groups: 100, Candidates: 3},
	{Nodes: 3, Voters: 3, Groups: 500, Candidates: 3},
	{Nodes: 25, Voters: 25, Groups: 1, Candidates: 25},
	{Nodes: 100, Voters: 5, Groups: 1, Candidates: 100},
	{Nodes: 9, Voters: 9, Groups: 1, Candidates: 9},
	{Nodes: 100, Voters: 5, Groups: 100, Candidates: 3, TTL: spreadTTL},
	{Nodes: 100, Voters: 5, Groups: 500, Candidates: 3, TTL: spreadTTL},
	{Nodes: 100, Voters: 100, Groups: 1, Candidates: 100},
}

// Chosen by us.
const (
	each = 4 * time.Minute // bounds one cluster
	// spreadTTL is the ttl where a hundred nodes own something. A hundred owners on the processors of one machine wait longer for
	// them than a lease of a second bears.
	spreadTTL = 3 * time.Second
)

func main() {
	lab.Reexec()
	o := options{}
	flag.StringVar(&o.hbagent, "hbagent", "bin/hbagent", "the program to measure")
	flag.StringVar(&o.out, "out", "", "file for the results; none: they are only printed")
	flag.StringVar(&o.only, "only", "", "clusters to take, as NODESxVOTERSxGROUPS,...; default all")
	flag.DurationVar(&o.span, "for", 20*time.Second, "how long each cluster is watched at rest")
	flag.IntVar(&o.takeovers, "takeovers", 3, "how often the node with most groups loses its power")
	flag.IntVar(&o.runs, "status", 10, "how often the status is asked for, on two nodes")
	flag.BoolVar(&o.dirty, "dirty", false, "the program was built from a tree with changes that no commit has")
	flag.Parse()
	lab.RunTool("labscale", o.run)
}

type options struct {
	hbagent, out, only string
	span               time.Duration
	takeovers, runs    int
	dirty              bool
}

func (o options) run(ctx context.Context) error {
	todo, err := chosen(o.only)
	if err != nil {
		return err
	}
	if o.span <= 0 || o.takeovers < 0 || o.runs < 1 {
		return fmt.Errorf("-for %v: more than nothing; -takeovers %d: none or more; -status %d: at least 1", o.span, o.takeovers, o.runs)
	}
	s := bench.Scale{Format: bench.Format, Began: time.Now(), Machine: bench.ThisMachine()}
	if s.Commit, err = commit(ctx, o.hbagent); err != nil {
		return err
	}
	if o.dirty {
		s.Commit += "-dirty"
	}
	return collect(ctx, s, todo, o.out, o.point)
}

// collect measures every plan and writes the results to out, if that is a name. A cluster that fails says so in its point,
// and the next one follows. After each, all until then is written to out.partial. When ctx ends that is all that is left,
// without the cluster that was cut short: half a run replaces no whole one.
func collect(ctx context.Context, s bench.Scale, todo []scale.Plan, out string, measure func(context.Context, scale.Plan) bench.ScalePoint) error {
	write := func(file string) error {
		if out == "" {
			return nil
		}
		s.Seconds, s.Machine.LoadAfter = time.Since(s.Began).Seconds(), bench.Load()
		return bench.WriteScale(file, s)
	}
	partial := out + ".partial"
	var failed []string
	for _, plan := range todo {
		p := measure(ctx, plan)
		if err := ctx.Err(); err != nil {
			return interrupted(err, len(s.Points), len(todo), out, partial)
		}
		s.Points = append(s.Points, p)
		fmt.Println(line(p))
		if p.Failed != "" {
			failed = append(failed, fmt.Sprintf("%dx%dx%d", p.Nodes, p.Voters, p.Groups))
		}
		if err := write(partial); err != nil { // the end tells it again; what is still to be measured is worth going on
			fmt.Fprintln(os.Stderr, "labscale:", err)
		}
	}
	if err := write(out); err != nil {
		return err
	}
	if out != "" {
		if err := os.Remove(partial); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if len(failed) > 0 {
		return errors.New("not all was well in " + strings.Join(failed, ", "))
	}
	return nil
}

// interrupted says what there is of a run that was cut short.
func interrupted(err error, done, todo int, out, partial string) error {
	err = fmt.Errorf("after %d of %d clusters: %w", done, todo, err)
	if out == "" || done == 0 {
		return err
	}
	return fmt.Errorf("%w; %s is as it was, these are in %s", err, out, partial)
}

// chosen are the plans that a list names.
func chosen(only string) ([]scale.Plan, error) {
	if only == "" {
		return plans, nil
	}
	var out []scale.Plan
	for name := range strings.SplitSeq(only, ",") {
		var p scale.Plan
		if _, err := fmt.Sscanf(name, "%dx%dx%d", &p.Nodes, &p.Voters, &p.Groups); err != nil || p.Nodes < 1 || p.Voters < 1 || p.Groups < 1 {
			return nil, fmt.Errorf("%q is no cluster: want NODESxVOTERSxGROUPS, such as 25x5x1", name)
		}
		if p.Voters > p.Nodes {
			return nil, fmt.Errorf("%q: of %d nodes at most %d can vote", name, p.Nodes, p.Nodes)
		}
		p.Candidates = p.Nodes
		if i := slices.IndexFunc(plans, func(q scale.Plan) bool { return q.Nodes == p.Nodes && q.Voters == p.Voters && q.Groups == p.Groups }); i >= 0 {
			p = plans[i]
		}
		out = append(out, p)
	}
	return out, nil
}

// point measures one cluster. What goes wrong is in Failed, beside what was measured all the same.
func (o options) point(ctx context.Context, plan scale.Plan) bench.ScalePoint {
	ctx, cancel := context.WithTimeout(ctx, each)
	defer cancel()
	w, err := lab.New(ctx, lab.Options{Hbagent: o.hbagent, Nodes: plan.Names(), Wide: true})
	if err != nil {
		p := plan.Point()
		p.Failed = err.Error()
		return p
	}
	p := scale.Measure(ctx, w, plan, o.hbagent, o.span, o.runs, o.takeovers)
	if err := w.Close(); err != nil {
		p.Failed = strings.TrimPrefix(p.Failed+"; ", "; ") + "taking it down: " + err.Error()
	}
	return p
}

// line is a point for people.
func line(p bench.ScalePoint) string {
	cost := func(name string, c *bench.ScaleCost) string {
		if c == nil {
			return ""
		}
		return fmt.Sprintf("; %s %.2f %% CPU, %.1f MB, %.0f packets/s, %.0f B/s", name, c.CPUPercent, c.MemoryMB, c.PacketsPerS, c.BytesPerS)
	}
	s := fmt.Sprintf("%d nodes, %d voters, %d groups: ready after %.1f s", p.Nodes, p.Voters, p.Groups, p.Ready)
	s += cost(fmt.Sprintf("owner of %d", p.Owned), &p.Owner) + cost("voters", p.Voter) + cost("others", p.Other)
	s += fmt.Sprintf("; status %.1f ms, %.1f kB; takeovers", p.Status, p.StatusKB)
	for _, t := range p.Takeovers {
		s += fmt.Sprintf(" %.0f..%.0f ms", t.First, t.Last)
		if t.Two > 0 {
			s += fmt.Sprintf(" (%d addresses by two nodes)", t.Two)
		}
	}
	if p.Failed != "" {
		s += "\n  FAILED: " + p.Failed
	}
	return s
}

// commit is what the program says of itself.
func commit(ctx context.Context, hbagent string) (string, error) {
	out, err := exec.CommandContext(ctx, hbagent, "version", "--json").Output()
	if err != nil {
		return "", fmt.Errorf("%s version: %w", hbagent, err)
	}
	var v struct{ Commit string }
	if err := json.Unmarshal(out, &v); err != nil {
		return "", fmt.Errorf("%s version: %w", hbagent, err)
	}
	return v.Commit, nil
}
