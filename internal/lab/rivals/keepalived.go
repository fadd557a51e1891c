package rivals

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"text/template"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
)

// Keepalived is keepalived with VRRP version 3 on web1 and web2. Both start as BACKUP with nopreempt, so that a machine
// that comes back takes nothing away, and with the highest priorities, so that the skew of a takeover is the shortest
// (RFC 5798, section 6.1).
type Keepalived struct {
	// By is how a planned move is asked for: "fault" (the default; a tracked file puts the owner into FAULT, and it
	// says goodbye), "priority" (the priorities are exchanged, and both reload; without nopreempt), "stop" (its
	// daemon is stopped, and started again).
	By string
}

// Name is "keepalived".
func (Keepalived) Name() string { return "keepalived" }

// Version is the first line of `keepalived --version`.
func (Keepalived) Version(ctx context.Context) (string, error) {
	program, err := lookup("keepalived", "keepalived")
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, program, "--version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("keepalived --version: %w", err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line, nil
}

// Settings are adverts every second, which is its default, at the pace of hbagent's default, and shorter ones.
func (Keepalived) Settings() []Setting {
	at := func(pace, seconds string, every time.Duration) Setting {
		return Setting{Name: "advert_int " + seconds, Pace: pace, Heartbeat: every, Value: every}
	}
	return []Setting{at(Equal+" "+Default, "1", time.Second), at("", "0.3", 300*time.Millisecond), at("", "0.1", 100*time.Millisecond),
		at(Fastest, "0.05", 50*time.Millisecond), at("", "0.01", 10*time.Millisecond)}
}

type keepalived struct {
	w  *lab.World
	s  Setting
	o  Options
	by string

	mu      sync.Mutex // guards running
	running map[string]*lab.Process
}

// Prepare writes keepalived.conf for both machines.
func (t Keepalived) Prepare(w *lab.World, s Setting, o Options) (Cluster, error) {
	k := &keepalived{w: w, s: s, o: o.withDefaults(), by: cmp.Or(t.By, "fault"), running: make(map[string]*lab.Process)}
	for i, node := range k.Nodes() {
		if err := k.write(node, highest-i); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// highest is the highest priority of a router that does not own the address (RFC 5798, section 5.2.4).
const highest = 254

// inAdvert is how many addresses the packet of an advertisement holds, by keepalived's manual; further ones are
// virtual_ipaddress_excluded.
const inAdvert = 20

var keepalivedConf = template.Must(template.New("").Parse(`global_defs {
	router_id {{.Node}}
	vrrp_version 3
	vrrp_garp_master_delay 1
	vrrp_garp_master_refresh 60
	vrrp_rt_priority 50
	vrrp_no_swap
	script_user root
	enable_script_security
}
track_file move {
	file "{{.Dir}}/away"
	weight 0
	init_file 0
}
{{- if .Service}}
vrrp_script web {
	script "{{.Dir}}/ask-web"
	interval 1
	timeout 1
	fall 2
	rise 1
}
{{- end}}
vrrp_instance web {
	state BACKUP
{{- if .NoPreempt}}
	nopreempt
{{- end}}
	interface eth0
	virtual_router_id 51
	priority {{.Priority}}
	advert_int {{.Advert}}
	virtual_ipaddress {
{{- range .Advertised}}
		{{.}} dev eth0
{{- end}}
	}
{{- if .Excluded}}
	virtual_ipaddress_excluded {
{{- range .Excluded}}
		{{.}} dev eth0
{{- end}}
	}
{{- end}}
	track_file {
		move
	}
{{- if .Service}}
	track_script {
		web
	}
{{- end}}
}
`))

// askWeb asks the web server of its machine, without any program but the shell.
const askWeb = `#!/bin/bash
exec 3<>/dev/tcp/127.0.0.1/80 || exit 1
printf 'GET / HTTP/1.0\r\n\r\n' >&3
read -r -t 1 -u 3 line && [[ $line == *" 200 "* ]]
`

func (k *keepalived) write(node string, priority int) error {
	dir := k.dir(node)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	advertised, excluded := k.o.Addresses, []netip.Prefix(nil)
	if len(advertised) > inAdvert {
		advertised, excluded = advertised[:inAdvert], advertised[inAdvert:]
	}
	var conf strings.Builder
	err := keepalivedConf.Execute(&conf, map[string]any{"Node": node, "Dir": dir, "Priority": priority, "NoPreempt": k.by != "priority",
		"Advert": k.s.Value.Seconds(), "Advertised": advertised, "Excluded": excluded, "Service": k.o.Service})
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(dir, "ask-web"), []byte(askWeb), 0o755),
		os.WriteFile(k.file(node), []byte(conf.String()), 0o644))
}

func (k *keepalived) dir(node string) string {
	return filepath.Join(k.w.Node(node).Dir(), "keepalived")
}
func (k *keepalived) file(node string) string { return filepath.Join(k.dir(node), "keepalived.conf") }

func (k *keepalived) Nodes() []string { return []string{"web1", "web2"} }

func (k *keepalived) Start(_ context.Context, node string) error {
	program, err := lookup("keepalived", "keepalived")
	if err != nil {
		return err
	}
	dir := k.dir(node)
	cmd := exec.Command(program, "--dont-fork", "--log-console", "--log-detail", "--vrrp", "--use-file", k.file(node),
		"--pid", filepath.Join(dir, "main.pid"), "--vrrp_pid", filepath.Join(dir, "vrrp.pid"))
	p, err := k.w.Node(node).Start("keepalived", cmd)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.running[node] = p
	return nil
}

func (k *keepalived) process(node string) (*lab.Process, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.running[node]
	if p == nil || !p.Running() {
		return nil, fmt.Errorf("keepalived does not run on %s", node)
	}
	return p, nil
}

func (k *keepalived) Stop(ctx context.Context, node string) error {
	p, err := k.process(node)
	if err != nil {
		return err
	}
	return p.Stop(ctx)
}

func (k *keepalived) Restart(ctx context.Context, node string) error {
	if err := k.Stop(ctx, node); err != nil {
		return err
	}
	return k.Start(ctx, node)
}

// Ready goes by what the daemons log of their states: all that keepalived tells without SNMP or D-Bus.
func (k *keepalived) Ready(ctx context.Context, owner string) error {
	return wait(ctx, func() error {
		for _, node := range k.Nodes() {
			want := "BACKUP"
			if node == owner {
				want = "MASTER"
			}
			p, err := k.process(node)
			if err != nil {
				return err
			}
			if got := lastState(p.Tail(stateLines)); got != want {
				return fmt.Errorf("keepalived on %s is in state %q, want %s", node, got, want)
			}
		}
		return nil
	})
}

// stateLines of its log are read for its state.
const stateLines = 60

// lastState is the state that keepalived's log names last: "(web) Entering BACKUP STATE".
func lastState(log string) string {
	i := strings.LastIndex(log, "Entering ")
	if i < 0 {
		return ""
	}
	state, _, _ := strings.Cut(log[i+len("Entering "):], " ")
	return state
}

// Kill kills the parent and its VRRP process at once: the parent alone would have the other say goodbye, the other
// alone would be started again.
func (k *keepalived) Kill(_ context.Context, node string) error {
	p, err := k.process(node)
	if err != nil {
		return err
	}
	return errors.Join(k.Signal(node, syscall.SIGKILL), p.Kill())
}

func (k *keepalived) Signal(node string, sig syscall.Signal) error {
	if _, err := k.process(node); err != nil {
		return err
	}
	for _, pid := range k.PIDs(node) {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("signal keepalived on %s: %w", node, err)
		}
	}
	return nil
}

func (k *keepalived) Switchover(ctx context.Context, from, to string) error {
	switch k.by {
	case "stop":
		return k.Restart(ctx, from)
	case "priority":
		for node, priority := range map[string]int{from: highest - 1, to: highest} {
			if err := k.write(node, priority); err != nil {
				return err
			}
		}
		for _, node := range []string{from, to} {
			p, err := k.process(node)
			if err != nil {
				return err
			}
			if err := p.Signal(syscall.SIGHUP); err != nil {
				return err
			}
		}
		return nil
	}
	away := filepath.Join(k.dir(from), "away")
	if err := os.WriteFile(away, []byte("1\n"), 0o644); err != nil {
		return err
	}
	addr := k.o.Addresses[0].Addr()
	return errors.Join(wait(ctx, func() error { return k.w.CheckOnlyAt(addr, to) }), os.WriteFile(away, []byte("0\n"), 0o644))
}

func (k *keepalived) PIDs(node string) []int {
	p, err := k.process(node)
	if err != nil {
		return nil
	}
	return family(p.PID())
}

func (k *keepalived) Configs() map[string]string { return files(k.file("web1")) }
