package cli

import (
	"github.com/spf13/cobra"

	"github.com/hbagent/hbagent/internal/control"
)

func (a *app) check() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check [NAME]",
		Short: "Run this node's checks once, now",
		Long: `Lets the agent run this node's checks once, all of them or one, and shows what
they say. It changes nothing: rise and fall go on counting as before.

Exit codes: 0 all pass, 1 one fails, 2 wrong usage.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := ""
			if len(args) == 1 {
				name = args[0]
			}
			runs, err := control.NewClient(a.runDir).RunChecks(cmd.Context(), name)
			if err != nil {
				return err
			}
			if asJSON {
				err = a.printJSON(a.stdout, runs, true)
			} else {
				err = runsTable(runs).write(a.stdout, a.screen, 0)
			}
			if err != nil {
				return err
			}
			for _, r := range runs {
				if !r.OK {
					return exitCode(exitFailed)
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON (docs/cli-json.md)")
	return cmd
}

func runsTable(runs []control.CheckRun) *table {
	t := &table{head: []string{"CHECK", "TYPE", "RESULT", "TOOK", "MESSAGE"}}
	for _, r := range runs {
		name, result := r.Name, styled(good, "ok")
		if !r.OK {
			result = styled(bad, "fails")
		}
		if !r.Required {
			name += " (optional)"
		}
		t.add(text(name), text(r.Type), result, text(millis(r.TookMs)), text(orDash(r.Message)))
	}
	return t
}
