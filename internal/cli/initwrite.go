package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hbagent/hbagent/internal/agent"
	"github.com/hbagent/hbagent/internal/config"
)

// Chosen by us: the config holds no secret, and the directory lets in whom it may.
const (
	configMode = 0o644
	configDir  = 0o750
)

// An installer writes what an interview has brought: the key, then the config, each whole or not at all.
type installer struct {
	*interview
	text    string
	cfg     *config.Config
	gid     int
	madeKey bool
	madeDSN bool

	stateDir string // of this machine's agent
}

func (in *installer) install() error {
	old, err := os.ReadFile(in.s.File)
	exists := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the config that stands there: %w", err)
	}
	same := exists && string(old) == in.text
	replace, err := in.mayWrite(exists, same)
	if err != nil {
		return err
	}
	if in.ctx.Err() != nil {
		return in.ctx.Err()
	}
	if exists && !same && !replace {
		return in.beside()
	}
	in.gid = in.neighbors.groupOfAgent()
	for _, step := range []func() error{in.dir, in.key, in.dsn, func() error { return in.config(old, exists, same) }} {
		if err := step(); err != nil {
			return err
		}
	}
	in.next(exists)
	return nil
}

// mayWrite asks before anything is changed. A config that exists is not touched by a default.
func (in *installer) mayWrite(exists, same bool) (replace bool, err error) {
	switch {
	case exists && !same:
		in.differences()
		if in.o.force || !in.asks {
			return in.o.force, nil
		}
		return in.yes(in.s.File+" exists. Replace it, and keep the old one as "+filepath.Base(in.s.File)+".old?", "no")
	case !in.asks:
		return true, nil
	}
	go_, err := in.yes("Write "+in.s.File+"?", "yes")
	if err == nil && !go_ {
		err = errors.New("nothing was changed")
	}
	return true, err
}

func (in *installer) yes(question, def string) (yes bool, err error) {
	err = in.until(question, def, func(answer string) error {
		switch strings.ToLower(answer) {
		case "y", "yes":
			yes = true
		case "n", "no":
		default:
			return errors.New("answer yes or no")
		}
		return nil
	})
	return yes, err
}

// differences tells what a replacement would change.
func (in *installer) differences() {
	if in.s.Prior == nil {
		in.say("\nThe config that stands there is not valid: hbagent config check %s", in.s.File)
		return
	}
	changes := config.Diff(in.s.Prior, in.cfg)
	if changes.Empty() {
		in.say("\nThe config that stands there says the same in other words.")
		return
	}
	in.say("\nAgainst the config that stands there:")
	for _, line := range changes.Lines(in.s.Self()) {
		in.say("  %s", line)
	}
	if err := changes.Voters.Check(); err != nil {
		in.say("warning: %v", err)
	}
}

func (in *installer) beside() error {
	file := in.s.File + ".new"
	if err := placeFile(file, in.text, configMode, keepGroup, true); err != nil {
		return fmt.Errorf("write the config: %w", err)
	}
	in.say("%s is as it was. The new config is in %s:\n  diff -u %s %s\n--force replaces it.", in.s.File, file, in.s.File, file)
	return exitCode(exitFailed)
}

func (in *installer) dir() error {
	dir := filepath.Dir(in.s.File)
	err := os.Mkdir(dir, configDir)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return fmt.Errorf("make the directory of the config: %w", err)
	case in.gid != keepGroup:
		return os.Chown(dir, -1, in.gid)
	}
	return nil
}

// key makes the key if there is none. One that exists is what the other nodes have.
func (in *installer) key() error {
	if _, err := os.Lstat(in.s.KeyFile); err == nil {
		if _, err := config.ReadKeys(in.s.KeyFile); err != nil {
			return fmt.Errorf("the key that stands there cannot be used: %w", err)
		}
		in.say("%s: kept", in.s.KeyFile)
		if newer, _, err := agent.LearntKeys(in.stateDir, in.s.KeyFile); err != nil || newer != "" {
			in.say("note: a rotation has brought another key than that file has: `hbagent key write` before you copy it")
		}
		return nil
	}
	err := placeFile(in.s.KeyFile, config.GenerateKey()+"\n", keyMode, in.gid, false)
	if err != nil {
		return fmt.Errorf("write the key: %w", err)
	}
	in.madeKey = true
	in.say("%s: written", in.s.KeyFile)
	return nil
}

// dsn makes the file of the mysql check where the server is on this machine: the server knows the agent by its
// system user, so there is no password in it.
func (in *installer) dsn() error {
	nodes, ok := in.s.Has("mysql")
	if !ok || !slices.Contains(nodes, in.s.Self()) {
		return nil
	}
	err := placeFile(in.s.DSNFile, fmt.Sprintf("hbagent@unix(%s)/\n", in.socket()), keyMode, in.gid, false)
	switch {
	case errors.Is(err, fs.ErrExist):
		in.say("%s: kept", in.s.DSNFile)
		return nil
	case err != nil:
		return fmt.Errorf("write the data source of the mysql check: %w", err)
	}
	in.madeDSN = true
	in.say("%s: written", in.s.DSNFile)
	return nil
}

// usualSocket is where Debian and its like have it.
const usualSocket = "/run/mysqld/mysqld.sock"

func (in *installer) socket() string {
	for _, f := range in.s.Machine.Services {
		if f.Type == "mysql" && f.Socket != "" {
			return f.Socket
		}
	}
	return usualSocket
}

func (in *installer) config(old []byte, exists, same bool) error {
	if same {
		in.say("%s: is so already", in.s.File)
		return nil
	}
	if exists {
		if err := placeFile(in.s.File+".old", string(old), configMode, keepGroup, true); err != nil {
			return fmt.Errorf("keep the old config: %w", err)
		}
	}
	if err := placeFile(in.s.File, in.text, configMode, keepGroup, exists); err != nil {
		return fmt.Errorf("write the config: %w", err)
	}
	in.say("%s: written", in.s.File)
	return nil
}
