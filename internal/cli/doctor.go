package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/doctor"
)

type doctorOptions struct {
	doctor.Options
	json    bool
	verbose bool
}

func (a *app) doctor() *cobra.Command {
	o := doctorOptions{Options: doctor.Options{Default: defaultConfig, DefaultState: defaultStateDir}}
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Everything that can be wrong on this machine and towards the peers",
		Long: `Looks at this machine (interfaces, kernel settings, network managers, files,
clocks, services), asks the wire who has the floating addresses, and tries the
gossip port towards each peer, UDP and TCP, there and back. It works with the
agent and without, changes nothing, moves nothing, and is done within 10 s. An
ordinary user sees less; root sees everything.

Problems come first, then warnings, what could not be looked at, and what is
fine. docs/doctor.md has every check by the name in brackets.

Exit codes:
  0  nothing found
  1  warnings
  2  problems
  3  could not look (no config, no permission), or wrong usage`,
		Args:        cobra.NoArgs,
		Annotations: map[string]string{annotationPlugin: "yes"},
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.RunDir = a.runDir
			return a.runDoctor(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.ConfigFile, "config", "c", "", "config file (default: the running agent's, else "+defaultConfig+")")
	f.StringVar(&o.Node, "node", "", "name of this node (default: as the running agent has it, else found)")
	f.StringVar(&o.StateDir, "state-dir", "", "directory of what outlives a boot (default: the running agent's)")
	f.DurationVar(&o.Measure, "measure", doctor.DefaultMeasure, "how long to watch stalls, loss and VRRP, 200ms to 5s")
	f.StringArrayVar(&o.Ignore, "ignore", nil, "do not count the findings of a check `ID`; may be repeated")
	f.BoolVar(&o.json, "json", false, "print JSON (docs/cli-json.md)")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "show what is fine line by line")
	f.StringVar(&o.Root, "root", "/", "look for files of network managers and units below `DIR`")
	if err := cmd.RegisterFlagCompletionFunc("ignore", completeChecks); err != nil {
		panic(err) // the flag exists
	}
	return cmd
}

// completeChecks offers the identifiers of doctor's checks.
func completeChecks(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var ids []string
	for _, c := range doctor.Checks {
		ids = append(ids, c.ID+"\t"+c.Looks)
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) runDoctor(ctx context.Context, o doctorOptions) error {
	if o.Measure < doctor.MinMeasure || o.Measure > doctor.MaxMeasure {
		return usagef("--measure %v: it is %v to %v", o.Measure, doctor.MinMeasure, doctor.MaxMeasure)
	}
	r, err := a.neighbors.doctor(ctx, o.Options)
	if err != nil {
		fmt.Fprintf(a.stderr, "hbagent: %v\n", err)
		return exitCode(control.SeverityUnknown)
	}
	if o.json {
		err = a.printJSON(a.stdout, r, true)
	} else {
		err = a.writeDoctor(r, o.verbose)
	}
	switch {
	case err != nil:
		return err
	case r.Worst() == doctor.Problem:
		return exitCode(2)
	case r.Worst() == doctor.Warning:
		return exitCode(1)
	}
	return nil
}

func (a *app) writeDoctor(r doctor.Report, verbose bool) error {
	p := &page{w: a.stdout, screen: a.screen}
	p.wrapped("", doctorStyle(r.Worst()), doctorVerdict(r))
	for _, level := range []doctor.Level{doctor.Problem, doctor.Warning} {
		for _, f := range r.Findings {
			if f.Level == level {
				p.line("")
				p.wrapped(string(level)+": ", doctorStyle(level), fmt.Sprintf("%s [%s]", f.Text, f.ID))
				if f.Do != "" {
					p.wrapped("  > ", plain, f.Do)
				}
			}
		}
	}
	p.skipped(r)
	p.fine(r, verbose)
	return p.err
}

func doctorStyle(l doctor.Level) style {
	switch l {
	case doctor.Problem:
		return bad
	case doctor.Warning:
		return uneasy
	}
	return good
}

func doctorVerdict(r doctor.Report) string {
	who := cmp.Or(r.Node, "this machine")
	if r.Cluster != "" {
		who += " of cluster " + r.Cluster
	}
	took := time.Duration(r.TookMs) * time.Millisecond
	return fmt.Sprintf("%s, %s on %s (looked for %s)", count(r.Problems, "problem"), count(r.Warnings, "warning"), who, millis(float64(took.Milliseconds())))
}

// skipped prints what could not be looked at, once for each reason.
func (p *page) skipped(r doctor.Report) {
	var reasons []string
	ids := map[string][]string{}
	for _, f := range r.Findings {
		if f.Level != doctor.Skipped {
			continue
		}
		if ids[f.Text] == nil {
			reasons = append(reasons, f.Text)
		}
		if !slices.Contains(ids[f.Text], f.ID) {
			ids[f.Text] = append(ids[f.Text], f.ID)
		}
	}
	if len(reasons) > 0 {
		p.line("")
	}
	for _, why := range reasons {
		p.wrapped("not looked at: ", plain, strings.Join(ids[why], ", ")+": "+why)
	}
}

// fine prints what is good: its names, or everything.
func (p *page) fine(r doctor.Report, verbose bool) {
	bad := map[string]bool{}
	var ids, ignored []string
	for _, f := range r.Findings {
		switch {
		case f.Level == doctor.Ignored && !slices.Contains(ignored, f.ID):
			ignored = append(ignored, f.ID)
		case f.Level != doctor.OK && f.Level != doctor.Ignored:
			bad[f.ID] = true
		}
	}
	if len(ignored) > 0 {
		p.line("")
		p.wrapped("ignored: ", faint, strings.Join(ignored, ", "))
	}
	p.line("")
	for _, f := range r.Findings {
		switch {
		case f.Level != doctor.OK:
		case verbose:
			p.wrapped("fine: ", good, fmt.Sprintf("%s [%s]", f.Text, f.ID))
		case !bad[f.ID] && !slices.Contains(ids, f.ID):
			ids = append(ids, f.ID)
		}
	}
	if len(ids) > 0 {
		p.wrapped("fine: ", good, strings.Join(ids, ", "))
	}
}
