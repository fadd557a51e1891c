package cli

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/hbagent/hbagent/internal/config"
)

// Chosen by us.
const (
	// keyMode lets a group read the key that the file is given to, and nobody else.
	keyMode = 0o640
)

func (a *app) keygen() *cobra.Command {
	var file string
	var force bool
	cmd := &cobra.Command{
		Use:   "keygen",
		Short: "Make a key for the messages between the nodes",
		Long: `Makes a random key (32 bytes, base64), with which the nodes encrypt what they
tell each other. Every node has the same file. As root it is given to the group
hbagent, if there is one: the agent reads it.

  hbagent keygen -o /etc/hbagent/gossip.key`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			key := config.GenerateKey() + "\n"
			if file == "" {
				_, err := fmt.Fprint(a.stdout, key)
				return err
			}
			err := placeFile(file, key, keyMode, a.neighbors.groupOfAgent(), force)
			if errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("%s exists: nodes with different keys do not hear each other; --force replaces it", file)
			}
			if err != nil {
				return fmt.Errorf("write the key: %w", err)
			}
			fmt.Fprintf(a.stderr, "%s: copy it to every node\n", file)
			return nil
		},
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "write it to this file, with mode 0640 (default: stdout)")
	cmd.Flags().BoolVar(&force, "force", false, "replace a file that exists")
	return cmd
}
