package rivals

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
)

// Ucarp is ucarp (CARP of OpenBSD in user space) on web1 and web2, with its defaults. Its fastest is its default: a
// heartbeat is a whole number of seconds, at least 1, and a machine is dead after three.
type Ucarp struct{}

// Name is "ucarp".
func (Ucarp) Name() string { return "ucarp" }

var ucarpVersion = regexp.MustCompile(`ucarp [0-9.]+`)

// Version is the first line of its help.
func (Ucarp) Version(ctx context.Context) (string, error) {
	program, err := lookup("ucarp", "ucarp")
	if err != nil {
		return "", err
	}
	out, _ := exec.CommandContext(ctx, program, "--help").CombinedOutput() // exits with 1
	version := ucarpVersion.Find(out)
	if version == nil {
		return "", fmt.Errorf("ucarp --help names no version")
	}
	return string(version), nil
}

// Settings is one, for every pace.
func (Ucarp) Settings() []Setting {
	return []Setting{{Name: "advbase 1", Pace: Equal + " " + Default + " " + Fastest, Heartbeat: time.Second, Value: time.Second}}
}

type ucarp struct {
	*daemons
	s Setting
	o Options
}

// Prepare writes the scripts that add and remove the address.
func (Ucarp) Prepare(w *lab.World, s Setting, o Options) (Cluster, error) {
	o = o.withDefaults()
	if o.Service {
		return nil, fmt.Errorf("ucarp watches no service: %w", ErrCannot)
	}
	if len(o.Addresses) > 1 {
		return nil, fmt.Errorf("ucarp has and announces one address: %w", ErrCannot)
	}
	u := &ucarp{newDaemons(w, "ucarp"), s, o}
	for _, node := range u.Nodes() {
		err := os.MkdirAll(u.dir(node), 0o755)
		for script, verb := range map[string]string{"up": "add", "down": "del"} {
			text := fmt.Sprintf("#!/bin/sh\nexec ip address %s %s dev \"$1\"\n", verb, o.Addresses[0])
			err = errors.Join(err, os.WriteFile(filepath.Join(u.dir(node), script), []byte(text), 0o755))
		}
		if err != nil {
			return nil, err
		}
	}
	return u, nil
}

func (u *ucarp) dir(node string) string { return filepath.Join(u.w.Node(node).Dir(), "ucarp") }

// args are the command line: all the configuration that ucarp has. --shutdown takes the address off at its end, and
// web2 is a trace slower, so that two that start at once agree.
func (u *ucarp) args(node string) []string {
	skew := "0"
	if node != u.Nodes()[0] {
		skew = "1"
	}
	return []string{"--interface=eth0", "--srcip=" + u.w.Node(node).Addr4.Addr().String(), "--vhid=1", "--pass=lab",
		"--addr=" + u.o.Addresses[0].Addr().String(), fmt.Sprintf("--advbase=%d", u.s.Value/time.Second), "--advskew=" + skew, "--deadratio=3",
		"--upscript=" + filepath.Join(u.dir(node), "up"), "--downscript=" + filepath.Join(u.dir(node), "down"), "--shutdown"}
}

func (u *ucarp) Start(_ context.Context, node string) error {
	program, err := lookup("ucarp", "ucarp")
	if err != nil {
		return err
	}
	return u.start(node, exec.Command(program, u.args(node)...))
}

// Restart has no unit to follow: the Debian package starts ucarp with the card.
func (u *ucarp) Restart(ctx context.Context, node string) error {
	if err := u.Stop(ctx, node); err != nil {
		return err
	}
	return u.Start(ctx, node)
}

// Ready goes by what the daemons log of their states: "Switching to state: BACKUP".
func (u *ucarp) Ready(ctx context.Context, owner string) error {
	return u.waitStates(ctx, owner, "Switching to state: ")
}

// Switchover demotes the owner, which is what SIGUSR2 is for (ucarp(8)).
func (u *ucarp) Switchover(_ context.Context, from, _ string) error {
	p, err := u.process(from)
	if err != nil {
		return err
	}
	return p.Signal(syscall.SIGUSR2)
}

func (u *ucarp) Configs() map[string]string {
	all := files(filepath.Join(u.dir("web1"), "up"), filepath.Join(u.dir("web1"), "down"))
	line := "ucarp"
	for _, arg := range u.args("web1") {
		line += " \\\n\t" + arg
	}
	all["command"] = line + "\n"
	return all
}
