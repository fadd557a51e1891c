// Labchaos makes random faults in a site of three machines (or of five, or of two
// with a witness), one or several at once, and watches from outside what a client
// sees: who answers for the floating addresses, and whether it is ever two.
//
//	labchaos -hbagent bin/hbagent -for 10m -seed 7
//
// With -steady it makes one fault that should move nothing, for long: loss of frames, load.
//
// It prints a table of the faults and what came of them, and every broken promise
// with what happened around it; then it exits with 1. The same seed makes the same
// faults again. Ctrl-C ends it early, with the table. It needs no root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/chaos"
)

// errBroken is returned when a promise was seen to be broken.
var errBroken = errors.New("promises were broken")

type options struct {
	site   chaos.Options
	plan   chaos.PlanOptions
	run    chaos.Run
	kinds  string
	single bool
	steady string
	runs   int
}

func main() {
	lab.Reexec()
	var o options
	flag.StringVar(&o.site.Hbagent, "hbagent", "bin/hbagent", "the program to test")
	flag.IntVar(&o.site.Nodes, "nodes", 3, "machines; 2 have a witness")
	flag.DurationVar(&o.site.TTL, "ttl", time.Second, "ttl of the leases")
	flag.Uint64Var(&o.plan.Seed, "seed", 0, "the list of faults; 0: by the clock")
	flag.DurationVar(&o.plan.Pace, "pace", 1200*time.Millisecond, "between two faults, on average")
	flag.DurationVar(&o.plan.Short, "short", 50*time.Millisecond, "shortest fault")
	flag.DurationVar(&o.plan.Long, "long", 10*time.Second, "longest fault")
	flag.StringVar(&o.kinds, "kinds", "", "which faults, with commas between; default: all")
	flag.StringVar((*string)(&o.plan.At), "at", "", "whom the faults meet: owner, standby or anybody; default: mostly the owner")
	flag.DurationVar(&o.run.For, "for", 10*time.Minute, "how long new faults begin")
	flag.IntVar(&o.run.Faults, "faults", 0, "how many faults at most; 0: no limit")
	flag.IntVar(&o.run.Every, "every", 10, "faults between two recoveries")
	flag.IntVar(&o.run.AtOnce, "at-once", 3, "faults under way at most")
	flag.DurationVar(&o.run.Bound, "bound", 0, "of a recovery; 0: 2 ttl, at least 2 s")
	flag.BoolVar(&o.single, "single", false, "one fault at a time, with a recovery after each: measures them")
	flag.StringVar(&o.steady, "steady", "", "instead: one fault that should move nothing, -for each of -runs: loss-everywhere, loss, load")
	flag.IntVar(&o.runs, "runs", 4, "how often, with -steady")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if !lab.Inside() {
		if o.plan.Seed == 0 { // here, so that it is among the arguments of the sandbox
			o.plan.Seed = uint64(time.Now().UnixNano() % 1_000_000)
		}
		args := append(os.Args[:1:1], "-seed", strconv.FormatUint(o.plan.Seed, 10))
		args = append(args, withoutSeed(os.Args[1:])...)
		// The sandbox passes signals on; its worker ends by itself then, and says what it saw.
		code, err := lab.Sandbox{Args: args, Stdout: os.Stdout, Stderr: os.Stderr}.Run(context.Background())
		if err != nil {
			fmt.Fprintln(os.Stderr, "labchaos:", err)
		}
		os.Exit(code)
	}
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "labchaos:", err)
		os.Exit(1)
	}
}

// withoutSeed takes -seed and its value out of the arguments: of several the last would count.
func withoutSeed(args []string) []string {
	var kept []string
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case "-seed", "--seed":
			i++
		default:
			kept = append(kept, args[i])
		}
	}
	return kept
}

func run(ctx context.Context, o options) (err error) {
	if o.plan.Kinds, err = chaos.ParseKinds(o.kinds); err != nil {
		return err
	}
	if !slices.Contains([]chaos.Role{"", chaos.Owner, chaos.Standby, chaos.Anybody}, o.plan.At) {
		return fmt.Errorf("nobody is %q", o.plan.At)
	}
	o.site.Witness = o.site.Nodes == 2
	if o.kinds == "" {
		o.plan.Kinds = chaos.KindsOf(o.site.Witness)
	}
	if o.run.Bound == 0 {
		o.run.Bound = max(2*time.Second, 2*o.site.TTL)
	}
	if o.single {
		o.plan.Single, o.run.Every, o.run.AtOnce = true, 1, 1
	}
	if o.steady != "" {
		fmt.Printf("%d nodes, ttl %v\n", o.site.Nodes, o.site.TTL)
	} else {
		fmt.Printf("%d nodes, ttl %v, seed %d; again with: labchaos -seed %d and the same other flags\n", o.site.Nodes, o.site.TTL, o.plan.Seed, o.plan.Seed)
	}

	// The site outlives Ctrl-C: faults are ended, and the observers read to the end.
	seen, done := context.WithCancel(context.WithoutCancel(ctx))
	s, err := chaos.NewSite(seen, o.site)
	if err != nil {
		done()
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	defer s.Wait()
	defer done()
	if o.steady != "" {
		f, err := steadyFault(o.steady, o.run.For)
		if err != nil {
			return err
		}
		j := chaos.NewJudge(s)
		return errors.Join(steady(ctx, s, j, f, o.runs), report(j))
	}
	r := &o.run
	r.Site, r.Plan, r.Judge, r.Log = s, chaos.NewPlan(o.plan), chaos.NewJudge(s), os.Stdout
	err = r.Do(ctx)
	r.Report(os.Stdout)
	if _, broken := r.Judge.Violations(); broken > 0 {
		err = errors.Join(err, fmt.Errorf("%w: %d times, with seed %d", errBroken, broken, o.plan.Seed))
	}
	return err
}
