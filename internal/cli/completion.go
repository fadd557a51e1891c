package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hbagent/hbagent/internal/control"
)

func (a *app) completion() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print the completion script of a shell",
		Long: `Prints a script that completes commands, flags, and the names of groups, nodes
and checks.

  hbagent completion bash > /etc/bash_completion.d/hbagent`,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, args []string) error {
			switch args[0] {
			case "bash":
				return cmd.Root().GenBashCompletionV2(a.stdout, true)
			case "zsh":
				return cmd.Root().GenZshCompletion(a.stdout)
			default:
				return cmd.Root().GenFishCompletion(a.stdout, true)
			}
		},
	}
}

// completionLimit keeps the shell from hanging at a Tab.
const completionLimit = time.Second

// offer asks the running agent for what a word may become.
func (a *app) offer(cmd *cobra.Command, names func(control.Status) []string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionLimit)
	defer cancel()
	s, err := control.NewClient(a.runDir).Status(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names(s), cobra.ShellCompDirectiveNoFileComp
}

// completeGroups offers the groups of the running agent as the first argument.
func (a *app) completeGroups(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.offer(cmd, groupNames)
}

// completeFlag offers names as the values of a flag.
func (a *app) completeFlag(cmd *cobra.Command, flag string, names func(control.Status) []string) {
	err := cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return a.offer(cmd, names)
	})
	if err != nil {
		panic(err) // no such flag: the program is wrong
	}
}

func nodeNames(s control.Status) []string {
	names := make([]string, len(s.Nodes))
	for i, n := range s.Nodes {
		names[i] = n.Name
	}
	return names
}

// checksOnNodes are what --fail takes: "apache@web1".
func checksOnNodes(s control.Status) []string {
	var names []string
	for _, n := range s.Nodes {
		for _, c := range n.Checks {
			names = append(names, c.Name+"@"+n.Name)
		}
	}
	return names
}

// ownersOf offers, for `switchover GROUP --to`, the nodes that may own the group.
func (a *app) ownersOf(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.offer(cmd, func(s control.Status) []string {
		return slices.DeleteFunc(nodeNames(s), func(name string) bool {
			i := slices.IndexFunc(s.Nodes, func(n control.Node) bool { return n.Name == name })
			_, may := s.Nodes[i].Groups[strings.Join(args[:min(len(args), 1)], "")]
			return len(args) > 0 && !may
		})
	})
}
