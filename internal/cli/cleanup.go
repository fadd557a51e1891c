package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/hbagent/hbagent/internal/agent"
)

// Given by a specification.
const (
	// Set by systemd for ExecStopPost= (systemd.exec(5)): why the service ended, and how its main process did.
	envServiceResult = "SERVICE_RESULT"
	envExitStatus    = "EXIT_STATUS"
)

func (a *app) cleanup() *cobra.Command {
	var force bool
	var file string
	cmd := &cobra.Command{
		Use:   "cleanup",
		Short: "Remove what a dead agent left on this machine",
		Long: `Removes every address that the run directory records as added by an agent, and
the nftables tables named hbagent, and nothing else; a service that the config
gives this machine a role for (MySQL) is made read-only. hbagent.service runs it
after each stop; then it spares the groups that the agent may resume when it is
started again within their lease, unless it has ended for a bad config.

Exit codes: 0 nothing is left, 1 failed or an agent is running, 2 wrong usage.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.runCleanup(file, force) },
	}
	cmd.Flags().StringVarP(&file, "config", "c", defaultConfig, "config file, to find the services with a role")
	cmd.Flags().BoolVar(&force, "force", false, "remove them under a running agent, too")
	return cmd
}

func (a *app) runCleanup(file string, force bool) error {
	unlock, err := lockRunDir(a.runDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		_, err := fmt.Fprintf(a.stdout, "nothing to remove: %s does not exist\n", a.runDir)
		return err
	case errors.Is(err, agent.ErrRunning) && !force:
		return fmt.Errorf("an agent is running on %s, and would put everything back: stop it first (systemctl stop hbagent), or use --force", a.runDir)
	case err != nil && !force:
		return err
	case err == nil:
		defer unlock()
	}
	var spared []string
	// After exitConfig no start follows (RestartPreventExitStatus=), and so nobody resumes anything.
	if a.getenv(envServiceResult) != "" && a.getenv(envExitStatus) != strconv.Itoa(exitConfig) {
		if spared, err = a.neighbors.resumableGroups(a.runDir); err != nil {
			// What cannot be read cannot be resumed either.
			fmt.Fprintf(a.stderr, "hbagent: sparing nothing: %v\n", err)
			spared = nil
		}
	}
	spare := func(group string) bool { return slices.Contains(spared, group) }
	removed, err := a.neighbors.cleanup(a.runDir, spare)
	for _, r := range removed {
		fmt.Fprintf(a.stdout, "removed %s\n", r)
	}
	for _, group := range spared {
		fmt.Fprintf(a.stderr, "spared %s: the agent may resume it\n", group)
	}
	if err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	// The addresses first: a server that does not answer takes a while.
	services, err := a.neighbors.deactivate(agent.Options{ConfigFile: file, Logger: slog.New(slog.DiscardHandler)}, spare)
	for _, group := range services {
		fmt.Fprintf(a.stdout, "read-only: the service of %s\n", group)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // without a config there is no service to know of
		return fmt.Errorf("clean up: %w", err)
	}
	if len(removed)+len(spared)+len(services) > 0 {
		return nil
	}
	_, err = fmt.Fprintln(a.stdout, "nothing to remove")
	return err
}

// lockRunDir keeps an agent from starting while things are removed under it.
func lockRunDir(runDir string) (unlock func(), err error) {
	if _, err := os.Stat(runDir); err != nil {
		return nil, fmt.Errorf("lock the run directory: %w", err)
	}
	f, err := agent.LockRunDir(runDir)
	if err != nil {
		return nil, err
	}
	return func() { f.Close() }, nil
}
