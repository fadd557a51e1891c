package booted

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// cgroups is where a machine's systemd, and systemd-nspawn, look for control groups (cgroups(7)).
	cgroups = "/sys/fs/cgroup"
	// groupEnv carries the name of this run's control group into the sandbox.
	groupEnv = "HBAGENT_HOSTS_CGROUP"
	// groupPrefix and the process id of the run are its name.
	groupPrefix = "hbagent-hosts-"
	// sweepWait is how long the processes of an ended sandbox may take to leave their groups. Chosen by us.
	sweepWait = 10 * time.Second
)

// nameGroup chooses the control group of this run, outside the sandbox.
func nameGroup() error {
	return os.Setenv(groupEnv, groupPrefix+strconv.Itoa(os.Getpid()))
}

// mountGroups makes cgroup2, and nothing else, visible at its usual place. Inside the sandbox.
func mountGroups() error {
	if err := unix.Mount("cgroup2", cgroups, "cgroup2", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount cgroup2: %w", err)
	}
	return nil
}

// sweepGroups removes this run's control groups, outside the sandbox, when that has ended; and those of runs that were
// killed before they could.
func sweepGroups() error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	at, ok := cgroup2Mount(string(mounts))
	if !ok {
		return nil // then there were none, either
	}
	all, _ := filepath.Glob(filepath.Join(at, groupPrefix+"*")) // a well-formed pattern
	for _, group := range all {
		if _, err := os.Stat("/proc/" + strings.TrimPrefix(filepath.Base(group), groupPrefix)); errors.Is(err, fs.ErrNotExist) {
			_ = removeGroupNow(group) // one that is in use refuses
		}
	}
	return removeGroup(filepath.Join(at, os.Getenv(groupEnv)))
}

// cgroup2Mount finds where cgroup2 is mounted, in the text of proc_pid_mounts(5).
func cgroup2Mount(mounts string) (string, bool) {
	for line := range strings.Lines(mounts) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			return f[1], true
		}
	}
	return "", false
}

// removeGroup removes a control group and all below it, once their processes have gone.
func removeGroup(dir string) error {
	deadline := time.Now().Add(sweepWait)
	for {
		err := removeGroupNow(dir)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(pollPause)
	}
}

func removeGroupNow(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, d := range slices.Backward(dirs) { // a walk names a directory before what is in it
		err = errors.Join(err, os.Remove(d))
	}
	return err
}
