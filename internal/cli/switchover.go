package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hbagent/hbagent/internal/control"
)

func (a *app) switchover() *cobra.Command {
	var req control.SwitchoverRequest
	var asJSON, noWait bool
	cmd := &cobra.Command{
		Use:        "switchover GROUP [--to NODE]",
		Short:      "Move a group to another node now",
		SuggestFor: []string{"failover", "move", "relocate"},
		Long: `Moves a group to another node: looks first whether the target can serve it, then
moves it, and moves it back if the target does not come up. If the answer is no,
nothing has changed, and the reason says why.

With handover = "drain" (the default) the old owner finishes the connections it
has, while new ones go to the new owner. This command waits for that and shows
how many are left.

Ctrl-C does not stop a move that has begun: the agent ends or undoes it.

Exit codes: 0 moved, 1 not moved, 2 wrong usage.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeGroups,
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Group = args[0]
			return a.runSwitchover(cmd.Context(), req, asJSON, !noWait)
		},
	}
	cmd.Flags().StringVar(&req.To, "to", "", "the new owner (default: the next by preference)")
	cmd.Flags().BoolVar(&req.Force, "force", false, "move even if the preflight advises against it")
	cmd.Flags().BoolVar(&req.Strict, "strict", false, "reset open connections instead of finishing them")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "return when the new owner is active")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON (docs/cli-json.md)")
	if err := cmd.RegisterFlagCompletionFunc("to", a.ownersOf); err != nil {
		panic(err) // no such flag: the program is wrong
	}
	return cmd
}

func (a *app) runSwitchover(ctx context.Context, req control.SwitchoverRequest, asJSON, wait bool) error {
	progress := a.printStep
	if asJSON {
		progress = nil
	}
	r, err := control.NewClient(a.runDir).Switchover(ctx, req, progress)
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("no longer watching; the agent goes on with the move: `hbagent status %s` and `hbagent events` tell how it ends",
			req.Group)
	}
	if err != nil {
		return err
	}
	if !asJSON {
		_, err = fmt.Fprintln(a.stdout, a.screen.paint(outcomeStyle(r.Outcome), clean(outcomeText(r))))
	}
	if err == nil && r.Drains && wait {
		err = a.watchDrain(ctx, r, asJSON)
	}
	if err == nil && asJSON {
		err = a.printJSON(a.stdout, r, true)
	}
	if err != nil {
		return err
	}
	if r.Outcome != control.OutcomeMoved {
		return exitCode(exitFailed)
	}
	return nil
}

func (a *app) printStep(step control.SwitchoverStep) {
	mark, st := "..", faint
	switch step.State {
	case control.StepRunning:
	case control.StepOK:
		mark, st = "ok", good
	case control.StepFailed:
		mark, st = "no", bad
	}
	line := clean(step.Step)
	if step.Detail != "" {
		line += ": " + clean(step.Detail)
	}
	fmt.Fprintf(a.stdout, "%s  %s\n", a.screen.paint(st, mark), line)
}

func outcomeStyle(o control.Outcome) style {
	switch o {
	case control.OutcomeMoved:
		return good
	case control.OutcomeRefused:
		return uneasy
	}
	return bad
}

// outcomeText says how it ended, what that cost, and where to look if it did not end well.
func outcomeText(r control.SwitchoverResult) string {
	because := ""
	if r.Reason != "" {
		because = ": " + r.Reason
	}
	from := r.From
	if from == "" {
		from = "nobody"
	}
	cost := "nobody owned it for " + millis(r.NoOwnerMs)
	switch r.Outcome {
	case control.OutcomeMoved:
		return fmt.Sprintf("%s moved from %s to %s; %s", r.Group, from, r.To, cost)
	case control.OutcomeRefused:
		return fmt.Sprintf("refused, nothing has changed%s", because)
	case control.OutcomeRolledBack:
		if r.Owner != "" && r.Owner != r.From {
			return fmt.Sprintf("rolled back, %s is on %s now%s; %s", r.Group, r.Owner, because, cost)
		}
		return fmt.Sprintf("rolled back, %s stays on %s%s; %s", r.Group, from, because, cost)
	case control.OutcomeFailed:
		return fmt.Sprintf("failed%s; look at `hbagent status %s`", because, r.Group)
	}
	return fmt.Sprintf("ended as %q, which this version does not know%s", r.Outcome, because)
}
