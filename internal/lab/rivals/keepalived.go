package rivals

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
)

// Keepalived is keepalived with VRRP version 3 on web1 and web2. Both start as BACKUP with nopreempt, so that a machine
// that comes back takes nothing away, and with the highest priorities, so that the skew of a takeover is the shortest
// (RFC 5798, section 6.1). It announces again after two were master at once, which is not its default, and runs at a
// real-time priority, with more time than the 10 ms at a stretch after which the kernel kills it by default: 100 addresses
// take longer. A script of it runs once a second at most.
type Keepalived struct {
	By By // how a planned move is asked for; default ByFault
}

// By is how keepalived is asked for a planned move, for which it has no command.
type By string

const (
	ByFault    By = "fault"    // a tracked file puts the owner into the state FAULT, and it says goodbye
	ByPriority By = "priority" // the priorities are exchanged, and both reload; this goes without nopreempt
	ByStop     By = "stop"     // the owner's daemon is stopped, and started again
)

// Name is "keepalived".
func (Keepalived) Name() string { return "keepalived" }

// Version is the first line of `keepalived --version`.
func (Keepalived) Version(ctx context.Context) (string, error) {
	program, err := lookup("keepalived", "keepalived")
	if err != nil {
		return "", err
	}
	return firstLine(ctx, program, "--version")
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
	*daemons
	s  Setting
	o  Options
	by By
}

// Prepare writes keepalived.conf for both machines.
func (t Keepalived) Prepare(w *lab.World, s Setting, o Options) (Cluster, error) {
	k := &keepalived{newDaemons(w, "keepalived"), s, o.withDefaults(), cmp.Or(t.By, ByFault)}
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
	vrrp_higher_prio_send_advert true
	vrrp_garp_lower_prio_repeat 1
	vrrp_rt_priority 50
	vrrp_rlimit_rttime 1000000
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
	err := keepalivedConf.Execute(&conf, map[string]any{"Node": node, "Dir": dir, "Priority": priority, "NoPreempt": k.by != ByPriority,
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

func (k *keepalived) Start(_ context.Context, node string) error {
	program, err := lookup("keepalived", "keepalived")
	if err != nil {
		return err
	}
	dir := k.dir(node)
	cmd := exec.Command(program, "--dont-fork", "--log-console", "--vrrp", "--use-file", k.file(node),
		"--pid", filepath.Join(dir, "main.pid"), "--vrrp_pid", filepath.Join(dir, "vrrp.pid"))
	return k.start(node, cmd)
}

func (k *keepalived) Restart(ctx context.Context, node string) error {
	if err := k.Stop(ctx, node); err != nil {
		return err
	}
	return k.Start(ctx, node)
}

// Ready goes by what the daemons log of their states, "(web) Entering BACKUP STATE". Their notify scripts are no better:
// two that run at once tell two states in either order.
func (k *keepalived) Ready(ctx context.Context, owner string) error {
	return k.waitStates(ctx, owner, "Entering ")
}

func (k *keepalived) Switchover(ctx context.Context, from, to string) error {
	switch k.by {
	case ByStop:
		return k.Restart(ctx, from)
	case ByPriority:
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
	return errors.Join(lab.Poll(ctx, func() error { return k.w.CheckOnlyAt(addr, to) }), os.WriteFile(away, []byte("0\n"), 0o644))
}

func (k *keepalived) Configs() map[string]string { return files(k.file("web1")) }
