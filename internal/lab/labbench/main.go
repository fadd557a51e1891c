// Labbench measures hbagent beside other programs that move a floating address: the same machines, client, faults and
// observers for every one, in throw-away namespaces.
//
//	labbench -hbagent bin/hbagent -docs .
//	labbench -hbagent bin/hbagent -tools hbagent,keepalived -only power-off,busy -runs 3
//
// It is two programs in one. Outside a sandbox it makes the plan, runs each job of it in a sandbox of its own (some side
// by side, see plan.go), and writes what came back. Inside it does one job, given as JSON, and prints what it found as
// JSON. What is measured, and how, is told in scenarios.go, quiet.go, batch.go and cost.go.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hbagent/hbagent/internal/bench"
	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/rivals"
)

func main() {
	lab.Reexec()
	hbagent := flag.String("hbagent", "bin/hbagent", "the program to measure")
	docs := flag.String("docs", "", "root of the repository whose docs/benchmarks become those of this run")
	out := flag.String("out", "", "directory for run.json and its report, instead")
	runs := flag.Int("runs", 4, "how often a scenario is played: a power cut three times as often, planned moves and services that fail twice; at slow settings half as often")
	only := flag.String("only", "", "these alone: scenarios, batch, cost, rest, busy (with commas)")
	tools := flag.String("tools", "", "these tools alone (with commas)")
	settings := flag.String("settings", "", "these settings alone (with commas)")
	rest := flag.Duration("rest", 10*time.Minute, "how long nothing is asked for, side by side")
	busy := flag.Duration("busy", 2*time.Minute, "how long nothing is asked for on a busy machine, one after the other")
	span := flag.Duration("cost", time.Minute, "how long the cost at rest is measured")
	slack := flag.Duration("timer-slack", 0, "how late hbagent's timers may be, instead of what its unit says")
	work := flag.String("job", "", "used by itself: one job, as JSON")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var err error
	if *work != "" {
		err = inside(ctx, *work)
	} else {
		program, abs := filepath.Abs(*hbagent)
		p := &plan{hbagent: program, runs: *runs, only: words(*only), tools: words(*tools), settings: words(*settings), rest: *rest, busy: *busy, cost: *span, slack: *slack}
		if err = errors.Join(abs, p.check()); err == nil {
			err = outside(ctx, p, *docs, *out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "labbench:", err)
		os.Exit(1)
	}
}

func words(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}

// inside does one job and prints the part of the run that it found.
func inside(ctx context.Context, text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return fmt.Errorf("job: %w", err)
	}
	found, err := j.do(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", j, err)
	}
	return json.NewEncoder(os.Stdout).Encode(found)
}

// outside does the whole plan. It writes what it has even where some of it failed, and then says so.
func outside(ctx context.Context, p *plan, docs, out string) error {
	run := bench.Run{Format: bench.Format, Began: time.Now().UTC().Truncate(time.Second), Machine: bench.ThisMachine()}
	var err error
	if run.Commit, err = (rivals.Hbagent{Program: p.hbagent}).Version(ctx); err != nil {
		return err
	}
	p.find(ctx, &run)
	m := &merge{run: &run}
	for _, phase := range p.quiet() {
		err = errors.Join(err, m.do(ctx, phase))
	}
	p.choose(run.Quiet)
	p.tell(&run)
	for _, phase := range p.work() {
		err = errors.Join(err, m.do(ctx, phase))
	}
	run.Machine.LoadAfter = bench.Load()
	run.Seconds = time.Since(run.Began).Round(time.Second).Seconds()
	printTables(os.Stdout, run)
	if docs != "" && (err != nil || !p.whole() || ctx.Err() != nil) { // half a run replaces no whole one
		dir, mkdir := os.MkdirTemp("", "hbagent-bench-")
		err = errors.Join(err, mkdir, fmt.Errorf("the run is not whole, and docs/benchmarks as it was: to take it all the same, copy %s/run.json to %s and `make report`", dir, bench.RunFile))
		docs, out = "", cmp.Or(out, dir)
	}
	return errors.Join(err, write(run, docs, out))
}

// write writes the run and its report to the docs of the repository, or to a directory.
func write(run bench.Run, docs, out string) error {
	if docs != "" {
		if err := bench.Write(filepath.Join(docs, bench.RunFile), run); err != nil {
			return err
		}
		return bench.Report(docs)
	}
	if out == "" {
		return nil
	}
	file := filepath.Join(out, "run.json")
	if err := bench.Write(file, run); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "written:", file)
	return bench.ReportRun(out, run)
}
