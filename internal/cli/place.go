package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
)

// agentGroup is the group that the agent runs in (deploy/systemd/hbagent.sysusers): it reads the key.
const agentGroup = "hbagent"

// keepGroup leaves a file to the group of whoever writes it.
const keepGroup = -1

// placeFile puts a whole file at path or leaves what was there: whoever reads meanwhile never reads half of one, and
// whoever is interrupted leaves nothing half-written. Without replace, a file that exists is fs.ErrExist.
func placeFile(path, text string, mode os.FileMode, gid int, replace bool) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".hbagent-*") // mode 0600
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the directory %s does not exist: make it first", dir)
	}
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(text)
	if gid != keepGroup {
		err = errors.Join(err, f.Chown(-1, gid)) // before the mode lets the group in
	}
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if replace {
		return os.Rename(f.Name(), path)
	}
	return os.Link(f.Name(), path) // unlike rename(2), link(2) never replaces
}

// groupOfAgent returns the number of the agent's group, or keepGroup where there is none, or where only root could give
// a file to it.
func groupOfAgent() int {
	g, err := user.LookupGroup(agentGroup)
	if err != nil || os.Geteuid() != 0 {
		return keepGroup
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return keepGroup
	}
	return gid
}
