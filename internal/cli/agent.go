package cli

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/hbagent/hbagent/internal/agent"
)

func (a *app) agent() *cobra.Command {
	o := agent.Options{Version: buildVersion().Version}
	var level, format string
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "The daemon: one runs on each node",
		Long: `Runs the agent until SIGTERM. It needs CAP_NET_ADMIN and CAP_NET_RAW, which
hbagent.service gives it. SIGHUP reads the config file again, like "hbagent
reload".

Exit codes: 0 stopped as told, 1 could not start or gave up, 2 wrong usage,
78 the config or key file has to be mended first.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger, err := a.logger(level, format)
			if err != nil {
				return err
			}
			o.RunDir, o.Logger = a.runDir, logger
			err = a.neighbors.runAgent(cmd.Context(), o)
			var mend *agent.ConfigError
			if errors.As(err, &mend) {
				fmt.Fprintf(a.stderr, "hbagent: %v\n", err)
				return exitCode(exitConfig)
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.ConfigFile, "config", "c", defaultConfig, "config file, the same on every node")
	f.StringVar(&o.Node, "node", "", "name of this node (default: found by host name or address)")
	f.StringVar(&o.StateDir, "state-dir", defaultStateDir, "directory of what outlives a boot")
	f.BoolVar(&o.NewVoters, "new-voters", false, "accept a list of voters that is more than one step from the last run's\n(only when every agent of the old list is stopped)")
	f.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&format, "log-format", "text", "text or json")
	return cmd
}

// logger writes to stderr. Under systemd the journal stamps every line already.
func (a *app) logger(level, format string) (*slog.Logger, error) {
	var o slog.HandlerOptions
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usagef("--log-level %s: it is debug, info, warn or error", level)
	}
	o.Level = l
	if a.getenv("JOURNAL_STREAM") != "" {
		o.ReplaceAttr = dropTime
	}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(a.stderr, &o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(a.stderr, &o)), nil
	}
	return nil, usagef("--log-format %s: it is text or json", format)
}

func dropTime(groups []string, attr slog.Attr) slog.Attr {
	if len(groups) == 0 && attr.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return attr
}
