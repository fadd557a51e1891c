package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/detect"
	"github.com/hbagent/hbagent/internal/setup"
)

// Chosen by us: long enough to meet the pauses of a busy hypervisor, short enough to wait for.
const stallFor = 2 * time.Second

// initOptions are the flags of init: answers to its questions.
type initOptions struct {
	file, keyFile                  string
	cluster, group, witness, ttl   string
	nodes, addresses               []string
	owners, interfaces             string
	checks, watches                []string
	yes, ask, force, print, blinds bool
}

func (a *app) init() *cobra.Command {
	var o initOptions
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the config and the key: asks, and looks at this machine",
		Long: `Makes a config and a key for a new site, and says what to do on the other
machines. It asks for the nodes and the floating address, looks at this machine
for the rest (network, Apache, nginx, MySQL, memcached, others), and measures
which lease time suits it. Run it on a machine that will own the address.

Each question has a flag. In a script, --yes takes the defaults for the others:

  hbagent init --cluster shop --node web1=10.0.0.11 --node web2=10.0.0.12 \
    --node db1=10.0.0.13 --address 10.0.0.50/24 --yes

A check is NAME=TYPE[:TARGET][@NODE,NODE...], for example
  apache=apache@web1,web2
  app=http:http://127.0.0.1:8080/health@web1,web2
  php=systemd:php-fpm.service@web1,web2
  mysql=mysql@db1
It moves the address if it runs on every owner; --watch only shows it.

A config that exists is replaced with --force or after a question only (the old
one is kept as FILE.old), otherwise the new one is written to FILE.new. A key
that exists is kept.

Exit codes: 0 written (or as it was), 1 failed, or FILE.new written instead,
2 wrong usage.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runInit(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringVarP(&o.file, "config", "c", defaultConfig, "config `FILE` to write")
	f.StringVar(&o.keyFile, "key-file", "", "key `FILE` (default: gossip.key beside the config)")
	f.StringVar(&o.cluster, "cluster", "", "`NAME` of the cluster")
	f.StringArrayVar(&o.nodes, "node", nil, "a machine and its own address, `NAME=ADDRESS`; once for each")
	f.StringArrayVar(&o.addresses, "address", nil, "floating `ADDRESS` with the length of its network; once for each")
	f.StringVar(&o.group, "group", "", "`NAME` of the group of addresses")
	f.StringVar(&o.owners, "owners", "", "`NODE,NODE`: may own them, in order of preference")
	f.StringVar(&o.interfaces, "interface", "", "`NAME` of the interface, or NODE=NAME,NODE=NAME")
	f.StringVar(&o.witness, "witness", "", "two machines only: `ADDRESS` that decides between them,\nusually the gateway; - for none")
	f.StringArrayVar(&o.checks, "check", nil, "a `CHECK` that moves the address; once for each")
	f.StringArrayVar(&o.watches, "watch", nil, "a `CHECK` that is only shown; once for each")
	f.StringVar(&o.ttl, "ttl", "", "lease time, `DURATION` (default: measured)")
	f.BoolVar(&o.blinds, "no-detect", false, "do not look for services")
	f.BoolVarP(&o.yes, "yes", "y", false, "ask nothing: defaults for what no flag says")
	f.BoolVar(&o.ask, "ask", false, "ask even if standard input is no terminal:\nan answer is a line")
	f.BoolVar(&o.force, "force", false, "replace a config that exists")
	f.BoolVar(&o.print, "print", false, "print the config, and write nothing")
	return cmd
}

// initNeighbors is what init does beside asking and writing.
type initNeighbors struct {
	look   func(context.Context, detect.Options) (detect.Machine, error)
	stall  func(context.Context, time.Duration) time.Duration
	trips  func(context.Context, []netip.Addr) []detect.Trip
	lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

func (a *app) runInit(ctx context.Context, o initOptions) error {
	asks := o.ask || isTerminal(a.stdin)
	if !o.yes && !o.print && !asks {
		return usagef("standard input is no terminal, so nothing can be asked: --yes takes the defaults for what no flag says")
	}
	s, err := newSetup(o)
	if err != nil {
		return err
	}
	s.Machine, err = a.neighbors.init.look(ctx, detect.Options{SkipServices: o.blinds})
	if err != nil {
		return stopped(ctx, fmt.Errorf("look at this machine: %w", err))
	}
	iv := &interview{app: a, ctx: ctx, o: o, s: s, asks: asks && !o.yes, lines: newLines(a.stdin)}
	if err := iv.run(); err != nil {
		return stopped(ctx, err)
	}
	d := s.Draft()
	text, cfg, err := d.Check(o.file)
	if err != nil {
		return fmt.Errorf("the config would not be valid, so nothing is written:\n%w", err)
	}
	for _, w := range cfg.Warnings {
		fmt.Fprintf(a.stderr, "warning: %s; %s\n", w.Message, w.Hint)
	}
	if o.print {
		_, err := fmt.Fprint(a.stdout, text)
		return err
	}
	iv.summary()
	return stopped(ctx, (&installer{interview: iv, text: text, cfg: cfg, stateDir: defaultStateDir}).install())
}

// stopped says in one line what an interrupt has left: init writes at its end only.
func stopped(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted: nothing was changed")
	}
	return err
}

func newSetup(o initOptions) (*setup.Setup, error) {
	file, err := filepath.Abs(o.file)
	if err != nil {
		return nil, err
	}
	s := &setup.Setup{File: file, KeyFile: filepath.Join(filepath.Dir(file), "gossip.key"), DSNFile: filepath.Join(filepath.Dir(file), "mysql.dsn")}
	switch prior, err := config.Load(file); {
	case err == nil:
		s.Prior = prior
		if prior.Cluster.KeyFile != "" {
			s.KeyFile = prior.Cluster.KeyFile
		}
	case errors.Is(err, fs.ErrPermission):
		return nil, err // it may be replaced, but not unseen
	}
	if o.keyFile != "" {
		if s.KeyFile, err = filepath.Abs(o.keyFile); err != nil {
			return nil, err
		}
	}
	if fi, err := os.Stat(filepath.Dir(file)); err == nil && !fi.IsDir() {
		return nil, fmt.Errorf("%s is not a directory", filepath.Dir(file))
	}
	return s, nil
}
