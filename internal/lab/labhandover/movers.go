package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/hbagent/hbagent/internal/lab"
)

func moverOf(w *lab.World, with string) (mover, error) {
	switch with {
	case "hbagent":
		return &agents{w: w, handover: "drain"}, nil
	case "hbagent-strict":
		return &agents{w: w, handover: "strict"}, nil
	case "keepalived-priority", "keepalived-stop":
		return &keepalived{w: w, stop: with == "keepalived-stop", running: make(map[string]*lab.Process)}, nil
	}
	return nil, fmt.Errorf("-with %s: it is hbagent, hbagent-strict, keepalived-priority or keepalived-stop", with)
}

// agents is hbagent: `hbagent switchover`.
type agents struct {
	w        *lab.World
	handover string
}

func (a *agents) start(ctx context.Context) error {
	c := a.w.Config()
	c.Checks = []lab.CheckConfig{{Name: "web", Type: "http", URL: "http://127.0.0.1/", Interval: "500ms", Timeout: "2s", Fall: 2, Rise: 1, Nodes: []string{"web1", "web2"}}}
	g := a.w.WebGroup("web1", "web2")
	g.Checks, g.Hold, g.MaxMoves, g.Handover = []string{"web"}, "0s", "1000/1m", a.handover
	c.Groups = []lab.GroupConfig{g}
	if err := a.w.WriteConfig(c); err != nil {
		return err
	}
	return a.w.StartAgents(ctx)
}

func (a *agents) move(ctx context.Context, from, to string) error {
	out, err := a.w.Node(from).Hbagent(ctx, "switchover", "web", "--to", to, "--no-wait")
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// keepalived is VRRP as its manual has it: advertisements every second, one machine with the higher priority.
// The address moves by a change of priorities and a reload, or by stopping the owner's daemon.
type keepalived struct {
	w       *lab.World
	stop    bool
	running map[string]*lab.Process
}

const (
	high, low = 150, 100

	keepalivedConf = `global_defs {
	router_id %s
	vrrp_garp_master_delay 1
}
vrrp_instance web {
	state BACKUP
	interface eth0
	virtual_router_id 51
	priority %d
	advert_int 1
	virtual_ipaddress {
		%s dev eth0
	}
}
`
)

func (k *keepalived) start(ctx context.Context) error {
	for name, priority := range map[string]int{"web1": high, "web2": low} {
		if err := k.run(name, priority); err != nil {
			return err
		}
	}
	return nil
}

func (k *keepalived) dir(name string) string {
	return filepath.Join(k.w.Node(name).Dir(), "keepalived")
}

func (k *keepalived) write(name string, priority int) (file string, err error) {
	if err := os.MkdirAll(k.dir(name), 0o755); err != nil {
		return "", err
	}
	file = filepath.Join(k.dir(name), "keepalived.conf")
	return file, os.WriteFile(file, fmt.Appendf(nil, keepalivedConf, name, priority, lab.Floating4.Addr()), 0o644)
}

func (k *keepalived) run(name string, priority int) error {
	program, err := exec.LookPath("keepalived")
	if err != nil {
		return fmt.Errorf("keepalived is not installed (package keepalived): %w", err)
	}
	file, err := k.write(name, priority)
	if err != nil {
		return err
	}
	cmd := exec.Command(program, "--dont-fork", "--log-console", "--vrrp", "--use-file", file,
		"--pid", filepath.Join(k.dir(name), "main.pid"), "--vrrp_pid", filepath.Join(k.dir(name), "vrrp.pid"))
	k.running[name], err = k.w.Node(name).Start("keepalived", cmd)
	return err
}

func (k *keepalived) move(ctx context.Context, from, to string) error {
	if k.stop { // the daemon that was stopped last comes back as the lower one
		if err := k.running[from].Stop(ctx); err != nil {
			return err
		}
		return k.run(from, low)
	}
	for name, priority := range map[string]int{from: low, to: high} {
		if _, err := k.write(name, priority); err != nil {
			return err
		}
	}
	for _, name := range []string{from, to} {
		if err := k.running[name].Signal(syscall.SIGHUP); err != nil {
			return err
		}
	}
	return nil
}
