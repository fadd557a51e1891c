package booted

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/hbagent/hbagent/internal/lab"
)

// A Laptop is from where an administrator reaches the machines: the client of the world, with an ssh and an scp that
// know them by name.
type Laptop struct {
	Dir  string // where commands run; for what is to be copied to the machines
	bin  string
	node *lab.Node
}

// Laptop prepares it. The machines must have booted once.
func (s *Site) Laptop() (*Laptop, error) {
	l := &Laptop{Dir: filepath.Join(s.Dir, "laptop"), bin: filepath.Join(s.Dir, "laptop-bin"), node: s.Client}
	key, err := os.ReadFile(filepath.Join(s.machines[0].Root(), "root/.ssh/id_ed25519"))
	if err != nil {
		return nil, err
	}
	file := filepath.Join(l.bin, "config")
	var hosts strings.Builder
	for _, m := range s.machines {
		fmt.Fprintf(&hosts, "Host %s\n\tHostName %s\n", m.Name, m.Addr4.Addr())
	}
	// Another boot of the same name may be another machine.
	fmt.Fprintf(&hosts, "Host *\n\tUser root\n\tIdentityFile %s\n\tUserKnownHostsFile /dev/null\n\tStrictHostKeyChecking no\n\tLogLevel ERROR\n",
		filepath.Join(l.bin, "key"))
	err = errors.Join(os.MkdirAll(l.Dir, 0o755), os.MkdirAll(l.bin, 0o755),
		os.WriteFile(filepath.Join(l.bin, "key"), key, 0o600), os.WriteFile(file, []byte(hosts.String()), 0o644))
	for _, name := range []string{"ssh", "scp"} {
		program, lookErr := exec.LookPath(name)
		text := fmt.Sprintf("#!/bin/sh\nexec %s -F %s \"$@\"\n", program, file)
		err = errors.Join(err, lookErr, os.WriteFile(filepath.Join(l.bin, name), []byte(text), 0o755))
	}
	return l, err
}

// Shell prepares a command for a shell on the laptop: start it with [lab.Node.Output] of the client, or within its Do.
func (l *Laptop) Shell(args ...string) *exec.Cmd {
	cmd := exec.Command("bash", args...)
	cmd.Dir = l.Dir
	cmd.Env = []string{"PATH=" + l.bin + ":" + os.Getenv("PATH")}
	return cmd
}

// AddCommand gives the laptop another command, a script.
func (l *Laptop) AddCommand(name, script string) error {
	return os.WriteFile(filepath.Join(l.bin, name), []byte(script), 0o755)
}
