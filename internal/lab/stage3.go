package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/hbagent/hbagent/deploy"
)

// The machines of a [Stage3], and its database's floating address. The first one is Floating4.
var (
	proxyNodes = []string{"proxy1", "proxy2"}
	webNodes   = []string{"web1", "web2"}
	dbNodes    = []string{"db1", "db2"}
)

// machineDir is where the agents of a Stage3 find the directory of their own machine, so that they share one config
// file: each has a mount of its own there.
const machineDir = Root + "/machine"

// Chosen by us: the page is asked for so often, and PHP gives up after two seconds.
const (
	pageEvery   = 20 * time.Millisecond
	pageTimeout = 4 * time.Second
	pagesAtOnce = 16 // visitors who wait: more would keep an overload up that has begun, for good
)

// A Stage3 is the site of deploy/examples/stage3, with its own files: two proxies with nginx, two web servers with
// Apache, PHP and memcached, two MariaDB servers.
type Stage3 struct {
	*World
	Nginx, Apache, Memcached map[string]*Service // by node
	DB                       *Databases
}

// Stage3Options describe one.
type Stage3Options struct {
	Hbagent string // as in [Options]
}

// NewStage3 builds the site; nothing runs yet. errors.Is(err, exec.ErrNotFound) tells that a server is not installed:
// there are no stand-ins here.
func NewStage3(ctx context.Context, o Stage3Options) (_ *Stage3, err error) {
	s := &Stage3{Nginx: map[string]*Service{}, Apache: map[string]*Service{}, Memcached: map[string]*Service{}}
	nodes := append(append(append([]string{}, proxyNodes...), webNodes...), dbNodes...)
	if s.World, err = New(ctx, Options{Nodes: nodes, Hbagent: o.Hbagent}); err != nil {
		return nil, err
	}
	for _, step := range []func() error{
		func() error { return os.MkdirAll(machineDir, 0o755) },
		s.proxies,
		s.webs,
		func() (err error) {
			s.DB, err = s.World.Databases(ctx, DatabaseOptions{Nodes: dbNodes, SemiSync: time.Second})
			return err
		},
		s.config,
	} {
		if err := step(); err != nil {
			return nil, errors.Join(err, s.World.Close())
		}
	}
	for _, n := range s.nodes {
		n.machine = true
	}
	return s, nil
}

// example is a file of the example, with the paths of one machine of the lab instead of those of a real one.
func (s *Stage3) example(name, dir string) (string, error) {
	b, err := fs.ReadFile(deploy.Examples, path.Join("examples/stage3", name))
	if err != nil {
		return "", err
	}
	return strings.NewReplacer("/etc/hbagent", dir, "/var/lib/hbagent", dir).Replace(string(b)), nil
}

// install puts a file of the example onto a machine.
func (s *Stage3) install(n *Node, name, path string) error {
	text, err := s.example(name, n.Dir())
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

// templates is where a machine has its templates and what they make.
func (n *Node) templates(name string) string { return filepath.Join(n.Dir(), "templates", name) }

func (s *Stage3) proxies() error {
	for _, name := range proxyNodes {
		n := s.Node(name)
		conf, err := s.example("nginx.conf", n.Dir())
		if err != nil {
			return err
		}
		if s.Nginx[name], err = n.Nginx(conf); err != nil {
			return err
		}
		if err := s.install(n, "../templates/upstreams.tmpl", n.templates("upstreams.tmpl")); err != nil {
			return err
		}
		// What an operator writes before there is an agent.
		if err := os.WriteFile(n.templates("upstreams.conf"), []byte("upstream shop { server 127.0.0.1:1; }\n"), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (s *Stage3) webs() (err error) {
	if _, ok := lookProgram("memcached"); !ok {
		return errMissing("memcached", "memcached")
	}
	for _, name := range webNodes {
		n := s.Node(name)
		if s.Apache[name], err = n.apacheWith(8, 64); err != nil {
			return err
		}
		htdocs := n.w.path(name, "apache", "htdocs")
		if err := errors.Join(s.install(n, "index.php", filepath.Join(htdocs, "index.php")), giveAway(htdocs),
			s.install(n, "../templates/memcached.php.tmpl", n.templates("memcached.php.tmpl")),
			os.WriteFile(n.templates("memcached.php"), []byte("<?php return [];\n"), 0o644)); err != nil {
			return err
		}
		s.Memcached[name] = n.Memcached()
	}
	if php, ok := lookProgram("php"); ok {
		for _, module := range []string{"mysqli", "memcached"} {
			if exec.Command(php, "-r", fmt.Sprintf("exit(extension_loaded('%s') ? 0 : 1);", module)).Run() != nil {
				return errMissing("PHP's "+module, "php-mysql and php-memcached")
			}
		}
		return nil
	}
	return errMissing("PHP", "php-cli")
}

// config writes the example's config: the same on every machine.
func (s *Stage3) config() error {
	text, err := s.example("hbagent.toml", machineDir)
	if err != nil {
		return err
	}
	nginx := quoted(s.Nginx[proxyNodes[0]].Program)
	nginx = strings.ReplaceAll(nginx, s.Node(proxyNodes[0]).Dir(), machineDir)
	text = strings.NewReplacer(
		`["/usr/sbin/nginx", "-t"]`, "["+nginx+`, "-t"]`,
		`["/usr/bin/systemctl", "reload", "nginx"]`, "["+nginx+`, "-s", "reload"]`,
		machineDir+"/gossip.key", s.path("gossip.key"), machineDir+"/mysql.dsn", s.DB.dsnLink(), machineDir+"/replication.dsn", s.path("replication.dsn"),
	).Replace(text)
	if err := s.writeKey(); err != nil {
		return err
	}
	for _, n := range s.nodes {
		if err := os.WriteFile(n.ConfigFile(), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func quoted(argv []string) string {
	var out []string
	for _, a := range argv {
		out = append(out, fmt.Sprintf("%q", a))
	}
	return strings.Join(out, ", ")
}

// Services are the servers of a machine.
func (s *Stage3) Services(name string) (list []*Service) {
	for _, m := range []map[string]*Service{s.Nginx, s.Memcached, s.Apache} {
		if v := m[name]; v != nil {
			list = append(list, v)
		}
	}
	if d := s.DB.Servers[name]; d != nil {
		list = append(list, d.Service)
	}
	return list
}

// Start starts every server and agent, waits until both groups have their owners, and makes the table that the page
// writes to.
func (s *Stage3) Start(ctx context.Context) error {
	for _, n := range s.nodes {
		for _, v := range s.Services(n.Name) {
			if err := v.Start(ctx); err != nil {
				return err
			}
		}
	}
	if err := s.StartAgents(ctx); err != nil {
		return err
	}
	if _, err := s.WaitAnyOwner(ctx, "shop", proxyNodes...); err != nil {
		return err
	}
	master, err := s.WaitAnyOwner(ctx, "db", dbNodes...)
	if err != nil {
		return err
	}
	return s.DB.Servers[master].Do(ctx, "CREATE DATABASE shop", "CREATE TABLE shop.t (v VARCHAR(40)) ENGINE = InnoDB")
}

// Boot brings a machine back that had lost its power.
func (s *Stage3) Boot(ctx context.Context, name string) error {
	n := s.Node(name)
	if err := n.PowerOn(ctx); err != nil {
		return err
	}
	for _, v := range s.Services(name) {
		if err := v.Start(ctx); err != nil {
			return err
		}
	}
	return n.StartAgent(ctx)
}

// Page is a client that asks for the page over and over: written through the proxies, PHP and the database.
func (s *Stage3) Page(ctx context.Context) (*HTTPProbe, error) {
	return s.ProbeHTTP(ctx, HTTPOptions{Target: netip.AddrPortFrom(Floating4.Addr(), webPort), Path: "/index.php", Interval: pageEvery, Timeout: pageTimeout, InFlight: pagesAtOnce})
}
