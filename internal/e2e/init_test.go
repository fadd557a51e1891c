package e2e_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

// newcomers is a world of machines with services, and neither config nor agent.
func newcomers(t *testing.T, nodes ...string) *site {
	t.Helper()
	s := emptySite(t, nodes...)
	if !s.web["web1"].Real {
		labtest.Skip(t, "Apache: apt install apache2")
	}
	return s
}

// initArgs are the flags of the guide, for the machines of the lab.
func (s *site) initArgs(file string, more ...string) []string {
	args := []string{"init", "--cluster", "shop", "--address", lab.Floating4.Addr().String(), "--yes", "-c", file}
	for _, name := range []string{"web1", "web2", "db1"} {
		args = append(args, "--node", name+"="+s.Node(name).Addr4.Addr().String())
	}
	return append(args, more...)
}

func readConfig(t *testing.T, file string) *config.Config {
	t.Helper()
	cfg, err := config.Load(file)
	must(t, err)
	return cfg
}

func checkOf(cfg *config.Config, typ string) config.Check {
	for _, c := range cfg.Checks {
		if c.Type == typ {
			return c
		}
	}
	return config.Check{}
}

// From three machines with services to a working failover: init on one, its files copied to the others.
func TestInit(t *testing.T) {
	s := newcomers(t)
	web1 := s.Node("web1")
	for _, name := range []string{"web1", "web2"} {
		must(t, s.Node(name).Memcached().Start(within(t)))
	}
	db, err := web1.MariaDB(within(t), lab.MariaDBOptions{})
	if errors.Is(err, exec.ErrNotFound) {
		labtest.Skip(t, err.Error())
	}
	must(t, err)
	must(t, db.Start(within(t)))
	account, err := os.ReadFile(db.DSNFile)
	must(t, err)
	must(t, os.Remove(db.DSNFile)) // it lies where init puts its own

	file := web1.ConfigFile()
	said := s.verb(t, "web1", s.initArgs(file)...)
	said.wants(t, 0, "On this machine:", "scp -p", "root@10.77.0.12:", "systemctl enable --now hbagent", "CREATE USER IF NOT EXISTS hbagent@localhost")
	cfg := readConfig(t, file)
	if len(cfg.Warnings) > 0 {
		t.Error(cfg.Warnings)
	}
	if c := checkOf(cfg, "apache"); c.URL != "http://127.0.0.1/server-status?auto" || strings.Join(c.Nodes, " ") != "web1 web2" || !c.Required {
		t.Errorf("Apache: %+v", c)
	}
	if c := checkOf(cfg, "memcached"); c.Address != "127.0.0.1:11211" || strings.Join(c.Nodes, " ") != "web1 web2" || c.Required {
		t.Errorf("memcached: %+v", c)
	}
	c := checkOf(cfg, "mysql")
	if b, err := os.ReadFile(c.DSNFile); err != nil || string(b) != "hbagent@unix("+db.Socket+")/\n" || c.Required {
		t.Errorf("MySQL: %+v, %q (%v), want the socket %s", c, b, err, db.Socket)
	}
	must(t, os.WriteFile(c.DSNFile, account, 0o600)) // the agents here are no system user hbagent
	if g := cfg.Groups[0]; g.Name != "web" || g.Interface != "eth0" || g.Addresses[0] != lab.Floating4 || strings.Join(g.Nodes, " ") != "web1 web2" || strings.Join(g.Checks, " ") != "apache" {
		t.Errorf("group: %+v", g)
	}
	s.verb(t, "web1", "config", "check", file).wants(t, 0, "ok: cluster shop, 3 nodes, 1 group, 3 checks")

	text, err := os.ReadFile(file)
	must(t, err)
	for _, name := range []string{"web2", "db1"} {
		must(t, os.WriteFile(s.Node(name).ConfigFile(), text, 0o644))
	}
	s.observe(t, lab.Floating4)
	s.startAgents(t)
	for _, c := range []string{"apache", "memcached", "mysql"} {
		s.waitCheck(t, "db1", "web1", c, control.CheckPassing)
	}
	s.moves(t, "web2", 2*time.Second, func(context.Context) error { return s.web["web1"].Kill() })

	// What it has made stays as it is.
	s.verb(t, "web1", s.initArgs(file, "--group", "other", "--ttl", "2s")...).wants(t, 1, "--force replaces it")
	if now, err := os.ReadFile(file); err != nil || string(now) != string(text) {
		t.Errorf("the config was changed (%v)", err)
	}
}

// nginx with its status, a machine with nothing, and one that is no node at all.
func TestInitOnOtherMachines(t *testing.T) {
	s := newcomers(t, "web1", "web2", "db1", "proxy")
	nginx, err := s.Node("db1").Nginx("")
	if errors.Is(err, exec.ErrNotFound) {
		labtest.Skip(t, err.Error())
	}
	must(t, err)
	must(t, nginx.Start(within(t)))
	parse := func(r said) *config.Config {
		t.Helper()
		r.wants(t, 0)
		cfg, err := config.Parse("x", []byte(r.stdout))
		must(t, err)
		return cfg
	}
	file := filepath.Join(t.TempDir(), "hbagent.toml")
	print := func(node string, more ...string) *config.Config {
		t.Helper()
		return parse(s.verb(t, node, s.initArgs(file, append(more, "--print", "--ttl", "1s")...)...))
	}
	cfg := print("db1", "--owners", "db1,web2")
	if c := checkOf(cfg, "nginx"); c.URL != "http://127.0.0.1/nginx_status" || strings.Join(cfg.Groups[0].Checks, " ") != "nginx" {
		t.Errorf("nginx: %+v", cfg.Checks)
	}
	if cfg = print("db1"); checkOf(cfg, "nginx").Required || len(cfg.Groups[0].Checks) > 0 {
		t.Errorf("nginx beside the owners: %+v", cfg.Checks)
	}
	if cfg = print("proxy"); len(cfg.Checks) > 0 || cfg.Groups[0].Interface != "eth0" {
		t.Errorf("a machine that is no node: %+v", cfg)
	}
	must(t, s.web["web2"].Stop(within(t)))
	if cfg = print("web2", "--check", "apache=apache@web1,web2"); len(cfg.Checks) != 1 || len(cfg.Groups[0].Checks) != 1 {
		t.Errorf("a machine without services: %+v", cfg.Checks)
	}
	// A server that hangs is found, and does not hold init up.
	must(t, s.web["web1"].Signal(syscall.SIGSTOP))
	if cfg = print("web1"); checkOf(cfg, "tcp").Address != "127.0.0.1:80" {
		t.Errorf("a server that hangs: %+v", cfg.Checks)
	}
	must(t, s.web["web1"].Signal(syscall.SIGCONT))
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("--print wrote a file (%v)", err)
	}
}
