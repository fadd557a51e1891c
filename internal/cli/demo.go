package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/hbagent/hbagent/internal/lab"
)

func (a *app) demo() *cobra.Command {
	o := lab.DemoOptions{Out: a.stdout, Err: a.stderr}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See it work: three nodes, a client and faults, harming nothing",
		Long: `Runs three nodes and a client on this machine, in throw-away network namespaces,
breaks things, and shows what the client notices. It needs no root where user
namespaces are allowed, and says what to do where they are not.

--stage 3 shows the whole site of the example stage3: two proxies (nginx), two
web servers (Apache, PHP, memcached), two databases (MariaDB). All of them must
be installed.

Exit codes: 0 all went as promised, 1 it did not, 2 wrong usage.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program, which the demo starts as agents: %w", err)
			}
			if o.Stage != 1 && o.Stage != 3 {
				return usagef("--stage %d: it is 1, a web server and its standby, or 3, the whole site", o.Stage)
			}
			o.Self = self
			err = a.neighbors.runDemo(cmd.Context(), o)
			if errors.Is(err, context.Canceled) {
				return errors.New("stopped; nothing is left behind")
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&o.JSON, "json", false, "print what is measured as JSON (docs/cli-json.md)")
	cmd.Flags().IntVar(&o.Stage, "stage", 1, "which site: 1, a web server and its standby, or 3, proxies, web servers and databases")
	cmd.Flags().BoolVar(&o.Keep, "keep", false, "give a shell at the end, beside the client, to look around")
	return cmd
}
