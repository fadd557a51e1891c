package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hbagent/hbagent/internal/control"
)

func (a *app) reload() *cobra.Command {
	var force, asJSON bool
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Let the agent read its config file again",
		Long: `Lets the agent read its config file again. The file is checked first: one that
is not valid changes nothing. A reload by itself never moves a group.

Exit codes: 0 done, 1 refused (the reason says why), 2 wrong usage.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := control.NewClient(a.runDir).Reload(cmd.Context(), force)
			if err != nil {
				return err
			}
			for _, warning := range r.Warnings {
				fmt.Fprintf(a.stderr, "hbagent: warning: %s\n", strings.TrimRight(warning, "\n"))
			}
			if asJSON {
				err = a.printJSON(a.stdout, r, true)
			} else {
				_, err = fmt.Fprint(a.stdout, reloadText(r))
			}
			if err == nil && len(r.NeedsRestart) > 0 {
				return exitCode(exitFailed) // nothing of the file is in force: `systemctl reload` must show it
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "allow changes that cost, for example a new list of voters")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON (docs/cli-json.md)")
	return cmd
}

func reloadText(r control.ReloadResult) string {
	if len(r.Changed) == 0 && len(r.NeedsRestart) == 0 {
		return "nothing has changed\n"
	}
	var b strings.Builder
	for _, c := range r.Changed {
		fmt.Fprintf(&b, "changed: %s\n", clean(c))
	}
	for _, c := range r.NeedsRestart {
		fmt.Fprintf(&b, "after a restart: %s\n", clean(c))
	}
	if len(r.NeedsRestart) > 0 {
		b.WriteString("`systemctl restart hbagent` moves no group\n")
	}
	return b.String()
}
