package cli

import (
	"context"
	"fmt"
	"net"
	"os"

	"github.com/spf13/cobra"

	"github.com/hbagent/hbagent/internal/agent"
	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/template/apply"
)

// templateCommands is what hbagent-commands@.service runs as root for an agent that is not root: one command of
// one template, as the config has it.
func (a *app) templateCommands() *cobra.Command {
	file := defaultConfig
	cmd := &cobra.Command{
		Use:    "template-commands",
		Short:  "Run one command of a template for the agent (by systemd)",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conn, err := net.FileConn(os.Stdin)
			if err != nil {
				return fmt.Errorf("stdin is no socket: this command is for hbagent-commands@.service (%w)", err)
			}
			return serveTemplateCommand(cmd.Context(), conn, file)
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", file, "the config `FILE`")
	return cmd
}

// serveTemplateCommand reads the config anew each time: what root runs is what the file says now.
func serveTemplateCommand(ctx context.Context, conn net.Conn, file string) error {
	return apply.Serve(ctx, conn, func(name string) (apply.Spec, error) {
		if err := apply.OnlyRootMayWrite(file); err != nil {
			return apply.Spec{}, err
		}
		cfg, err := config.Load(file)
		if err != nil {
			return apply.Spec{}, err
		}
		for _, t := range cfg.Templates {
			if t.Name == name {
				return agent.TemplateSpec(t), nil
			}
		}
		return apply.Spec{}, fmt.Errorf("no template %q in %s", name, file)
	})
}
