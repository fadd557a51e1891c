package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hbagent/hbagent/internal/control"
)

func (a *app) plan() *cobra.Command {
	var down, fail []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "plan [--down NODE | --fail CHECK@NODE]",
		Short: "What would happen, without doing it",
		Long: `Asks the failover policy what it would do if a node went down or a check failed:
who would own each group, why, and roughly how long its address would be gone.
Nothing is changed. Several flags together are assumed all at once; without any,
each node goes down in turn. The answer is as this node knows the cluster now.

  hbagent plan --down web1
  hbagent plan --fail apache@web1 --fail apache@web2

Exit codes: 0 every group would have an owner, 1 one would have none (or the
agent cannot be asked), 2 wrong usage.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			req := control.PlanRequest{Down: down}
			for _, n := range down {
				if n == "" {
					return usagef("--down wants the name of a node")
				}
			}
			for _, s := range fail {
				check, node, ok := strings.Cut(s, "@")
				if !ok || check == "" || node == "" {
					return usagef("--fail %q: want CHECK@NODE, for example apache@web1", s)
				}
				req.Fail = append(req.Fail, control.PlanCheck{Check: check, Node: node})
			}
			return a.runPlan(cmd.Context(), req, asJSON)
		},
	}
	cmd.Flags().StringArrayVar(&down, "down", nil, "assume that `NODE` is gone; may be repeated")
	cmd.Flags().StringArrayVar(&fail, "fail", nil, "assume that a check fails: `CHECK@NODE`; may be repeated")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON (docs/cli-json.md)")
	a.completeFlag(cmd, "down", nodeNames)
	a.completeFlag(cmd, "fail", checksOnNodes)
	return cmd
}

func (a *app) runPlan(ctx context.Context, req control.PlanRequest, asJSON bool) error {
	plan, err := control.NewClient(a.runDir).Plan(ctx, req)
	if err != nil {
		return err
	}
	if asJSON {
		err = a.printJSON(a.stdout, plan, true)
	} else {
		err = a.writePlan(plan)
	}
	if err == nil && plan.Unowned() {
		return exitCode(exitFailed)
	}
	return err
}

func (a *app) writePlan(plan control.Plan) error {
	p := &page{w: a.stdout, screen: a.screen}
	p.wrapped("", faint, fmt.Sprintf("cluster %s as %s sees it, %s; nothing is done",
		plan.Cluster, plan.Node, plan.At.In(a.zone).Format(timeLayout)))
	for _, c := range plan.Cases {
		p.line("")
		p.wrapped("", plain, fmt.Sprintf("If %s: %d of %d voters left, %d needed", assumed(c), c.Left, c.Voters, c.Needed))
		for _, n := range c.Notes {
			p.wrapped("note: ", uneasy, n)
		}
		t := &table{head: []string{"GROUP", "NOW", "THEN", "GAP", "WHY"}}
		for _, g := range c.Groups {
			t.add(text(g.Name), text(orDash(g.Owner)), thenCell(g), text(gapText(g)), whyCell(g))
		}
		if p.err == nil {
			p.err = t.write(p.w, p.screen, 2)
		}
	}
	return p.err
}

// assumed is what a case takes for granted: "web1 goes down and check web fails on web2".
func assumed(c control.PlanCase) string {
	var parts []string
	for _, n := range c.Down {
		parts = append(parts, n+" goes down")
	}
	for _, f := range c.Fail {
		parts = append(parts, "check "+f.Check+" fails on "+f.Node)
	}
	return strings.Join(parts, " and ")
}

func thenCell(g control.PlanGroup) cell {
	switch g.Outcome {
	case control.PlanNobody:
		return styled(bad, "nobody")
	case control.PlanMoves:
		return styled(uneasy, g.After)
	}
	return styled(good, g.After)
}

func gapText(g control.PlanGroup) string {
	switch {
	case g.GapMs < 0:
		return "no end"
	case g.GapMs == 0:
		return "none"
	}
	return "~" + millis(float64(g.GapMs))
}

func whyCell(g control.PlanGroup) cell {
	var lines []string
	if g.Cause != "" {
		lines = append(lines, g.Cause+": "+g.Reason)
	} else if g.Reason != "" {
		lines = append(lines, g.Reason)
	}
	if g.GapMs != 0 && g.Gap != "milliseconds" { // the column says that
		lines = append(lines, g.Gap)
	}
	switch {
	case g.Outcome == control.PlanNobody:
	case g.NextOwner != "":
		lines = append(lines, g.NextOwner+" would be next")
	default:
		lines = append(lines, "nobody would be next")
	}
	return styled(plain, lines...)
}
