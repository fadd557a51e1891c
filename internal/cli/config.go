package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hbagent/hbagent/internal/config"
)

func (a *app) config() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config COMMAND",
		Short: "Check a config file, see what can be in one, or make one of keepalived's",
	}
	cmd.AddCommand(a.configCheck(), a.configImport(),
		a.configPrint("example", "Print a short config to start from", config.Example),
		a.configPrint("reference", "Print every key with its meaning, unit and default", config.Reference))
	return needsVerb(cmd)
}

func (a *app) configPrint(use, short string, text func() string) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(a.stdout, text())
			return err
		},
	}
}

func (a *app) configCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check a config file without using it",
		Long: `Checks a config file (default ` + defaultConfig + `) and prints every problem
with its line. It does not look at the machine, so it can be run anywhere.

Exit codes: 0 valid (warnings go to stderr), 1 not valid, 2 wrong usage.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			file := defaultConfig
			if len(args) == 1 {
				file = args[0]
			}
			return a.checkConfig(file)
		},
	}
}

func (a *app) checkConfig(file string) error {
	cfg, err := config.Load(file)
	if err != nil {
		fmt.Fprintln(a.stderr, err) // names file and line by itself, the way editors understand
		return exitCode(exitFailed)
	}
	for _, w := range cfg.Warnings {
		fmt.Fprintf(a.stderr, "%v\n", w)
	}
	_, err = fmt.Fprintf(a.stdout, "ok: cluster %s, %s, %s, %s, hash %s\n", cfg.Cluster.Name,
		count(len(cfg.Nodes), "node"), count(len(cfg.Groups), "group"), count(len(cfg.Checks), "check"), cfg.Hash)
	return err
}
