package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

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
tell each other. Every node has the same file.

  hbagent keygen -o /etc/hbagent/gossip.key`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			key := config.GenerateKey() + "\n"
			if file == "" {
				_, err := fmt.Fprint(a.stdout, key)
				return err
			}
			err := writeKey(file, key, force)
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

// writeKey puts a whole key at path or leaves what was there: an agent that starts meanwhile never
// reads half of one. Without force a file that exists is fs.ErrExist.
func writeKey(path, key string, force bool) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".hbagent-key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(key)
	err = errors.Join(err, f.Chmod(keyMode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if force {
		return os.Rename(f.Name(), path)
	}
	return os.Link(f.Name(), path) // unlike rename(2), link(2) never replaces
}
