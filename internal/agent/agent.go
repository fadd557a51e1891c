package agent

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/checks"
	"github.com/hbagent/hbagent/pkg/cluster"
	"github.com/hbagent/hbagent/pkg/lease"
	"github.com/hbagent/hbagent/pkg/vip"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Chosen by us.
const (
	vipEvents    = 256             // events of the address manager that wait for the loop
	stopLimit    = 5 * time.Second // for handing over at a stop, whatever the ttl
	hooksLimit   = 5 * time.Second // for hooks that run at the end
	goodbyeLimit = time.Second
)

// Options say which agent to run.
type Options struct {
	ConfigFile string
	Node       string // empty: found by host name or address
	RunDir     string // a tmpfs: a boot empties it
	StateDir   string // outlives a boot
	Version    string
	Logger     *slog.Logger
}

// Run is the daemon. It returns nil when it was told to stop (SIGTERM, SIGINT,
// or ctx), and an error when it could not start or had to give up; by then it
// has removed its addresses, or left them for a restart that follows.
//
// SIGTERM hands the groups over, unless systemd is about to start the agent
// again; SIGUSR2 ends the agent and keeps them, which is the first half of a
// restart under any other supervisor. SIGHUP reads the config file again.
func Run(ctx context.Context, o Options) error {
	a, err := start(o)
	if err != nil {
		return err
	}
	return a.run(ctx)
}

// agent is everything that was started, in the order of start.
type agent struct {
	opts    Options
	log     *slog.Logger
	lock    *os.File
	history *history
	net     *cluster.Cluster
	vip     *vip.Manager
	runner  *checks.Runner
	control *control.Server
	loop    *loop
	prober  *prober
	peers   *peers
	stopIO  context.CancelFunc
	events  chan vip.Event
}

// start builds everything and binds every socket, so that what can fail fails
// before the agent takes part in anything.
func start(o Options) (a *agent, err error) {
	cfg, self, keys, err := loadConfig(o)
	if err != nil {
		return nil, err
	}
	log := o.Logger.With("node", self.Name)
	for _, w := range cfg.Warnings {
		log.Warn("config", "reason", w.Message)
	}
	a = &agent{opts: o, log: log, events: make(chan vip.Event, vipEvents)}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	if a.lock, err = lockRunDir(o.RunDir); err != nil {
		return nil, err
	}
	id, err := bootID()
	if err != nil {
		return nil, err
	}
	st := &store{path: filepath.Join(o.RunDir, recordName), bootID: id}
	record, err := st.load()
	if err != nil {
		log.Warn("the lease record cannot be read: this node's vote waits for one ttl", "error", err)
	}
	last, state, err := nextState(o.StateDir, cfg.Lease.TTL, time.Now())
	if err != nil {
		return nil, err
	}
	if a.history, err = openHistory(filepath.Join(o.StateDir, historyName), self.Name); err != nil {
		return nil, err
	}
	a.loop = newLoop(log, cfg, self)
	a.loop.version, a.loop.store, a.loop.history, a.loop.watch = o.Version, st, a.history, newWatchdog()
	if a.loop.runIDValue, err = identity(record, cfg, self); err != nil {
		return nil, err
	}
	if record != nil && record.RunID != a.loop.runIDValue {
		record = nil // of another cluster or node: nothing in it was promised by this one
	}
	if err := a.connect(cfg, self, keys, record); err != nil {
		return nil, err
	}
	a.loop.machine, err = lease.New(a.loop.now(), leaseConfig(cfg, self, a.loop.runIDValue, state, last, record))
	if err != nil {
		return nil, err
	}
	a.loop.rememberClaims()
	return a, nil
}

// connect binds what reaches outside: the cluster, the addresses, the checks
// and the control socket.
func (a *agent) connect(cfg *config.Config, self config.Node, keys [][]byte, record *lease.Record) (err error) {
	api := &api{loop: a.loop, log: a.log, reload: a.reload}
	var io context.Context
	io, a.stopIO = context.WithCancel(context.Background())
	a.peers = &peers{api: api, ctx: io}
	if a.net, err = cluster.Start(clusterOptions(cfg, self, keys, a)); err != nil {
		return err
	}
	a.loop.net = a.net
	a.vip, err = vip.New(vip.Options{
		Groups: vipGroups(cfg, self.Name), RunDir: a.opts.RunDir, Keep: resumes(record), Logger: a.log,
		Lifetime: vip.Backstop, Events: a.vipEvent,
	})
	if err != nil {
		return err
	}
	a.loop.addrs = a.vip
	a.runner, err = checks.NewRunner(checkSpecs(cfg, self.Name), func(s checks.State) {
		a.loop.post(io, func() { a.loop.checkChanged(s) })
	}, checks.Options{ARP: vip.ProbeHost, Logger: a.log})
	if err != nil {
		return err
	}
	api.runner = a.runner
	a.control, err = control.Listen(control.ServerOptions{RunDir: a.opts.RunDir, Agent: api, Logger: a.log})
	if err != nil {
		return err
	}
	a.loop.hooks = newHooks(io, a.log, a.history)
	a.prober = &prober{loop: a.loop, every: cfg.Lease.TTL / probeDivisor, probe: a.vip.Probe}
	if w := cfg.Lease.Witness; w.IsValid() {
		a.prober.host = func(ctx context.Context, iface string) (time.Duration, error) { return vip.ProbeHost(ctx, iface, w) }
	}
	return nil
}

// vipEvent must not block: the address manager may hold a lock that the loop
// wants next. An event that finds the queue full is lost, and said to be.
func (a *agent) vipEvent(e vip.Event) {
	select {
	case a.events <- e:
	default:
		a.log.Error("too many events of the network at once, one is lost", "reason", e.Kind.String(), "group", e.Group, "interface", e.Interface)
	}
}

// run starts the tasks and waits for the end: a signal, ctx, or a task that
// cannot go on.
func (a *agent) run(ctx context.Context) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR2, syscall.SIGHUP)
	defer signal.Stop(signals)

	// The tasks outlive ctx: handing over needs all of them.
	tasks, stopTasks := context.WithCancel(context.WithoutCancel(ctx))
	defer stopTasks()
	g, tasks := errgroup.WithContext(tasks)
	g.Go(func() error { return a.vip.Run(tasks) })
	g.Go(func() error { return a.loop.run(tasks) })
	g.Go(func() error { return a.net.Run(tasks) })
	g.Go(func() error { return a.runner.Run(tasks) })
	g.Go(func() error { return a.control.Run(tasks) })
	g.Go(func() error { return a.prober.Run(tasks) })
	g.Go(func() error { return a.forwardEvents(tasks) })
	g.Go(func() error { return a.watchLinks(tasks) })

	a.history.add(a.startEvent())
	a.log.Info("agent started", "version", a.opts.Version, "cluster", a.loop.cfg.Cluster.Name)
	tell(daemon.SdNotifyReady + "\nSTATUS=running")
	keep := a.serveSignals(ctx, tasks, signals)
	tell(daemon.SdNotifyStopping)
	if !keep && tasks.Err() == nil {
		a.standDown()
	}
	stopTasks()
	err := g.Wait()
	a.finish(keep && err == nil)
	return err
}

// serveSignals returns when the agent is to end, and whether it keeps its leases.
func (a *agent) serveSignals(ctx, tasks context.Context, signals <-chan os.Signal) (keep bool) {
	for {
		select {
		case <-tasks.Done():
			return false
		case <-ctx.Done(): // the program turns SIGTERM and SIGINT into this, too
			return restartFollows(context.WithoutCancel(ctx), a.log)
		case s := <-signals:
			switch s {
			case syscall.SIGHUP:
				if _, err := a.reload(tasks, false); err != nil {
					a.log.Error("reload: nothing has changed", "error", err)
				}
			case syscall.SIGUSR2:
				return true
			default:
				return restartFollows(context.WithoutCancel(ctx), a.log)
			}
		}
	}
}

// standDown hands every group over and waits, within a bound, until the others
// have them.
func (a *agent) standDown() {
	limit := min(2*a.loop.cfg.Lease.TTL, stopLimit)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var handed []string
	if a.loop.do(ctx, func() { handed = a.loop.standDown() }) != nil {
		return
	}
	for _, name := range handed {
		owner, _ := a.loop.awaitOwner(ctx, name)
		a.log.Info("handed over at the stop", "group", name, "holder", owner)
	}
}

// standDown gives up every group: to the best node, or to whoever asks first.
func (l *loop) standDown() (handed []string) {
	l.stopping = true
	l.judge()
	for _, name := range l.order {
		g := l.groups[name]
		if g.open {
			to, _ := best(l.situation(name, g))
			if to == "" || !l.handOver(name, to, note(CauseStop, "the agent on "+l.node+" was stopped")) {
				l.machine.Release(l.now(), name, lease.ReasonReleased)
			} else {
				handed = append(handed, name)
			}
		} else {
			l.machine.Release(l.now(), name, lease.ReasonReleased)
		}
	}
	l.dirty = true
	return handed
}

// finish ends what the tasks have left, in the reverse order of start.
func (a *agent) finish(kept bool) {
	ctx, cancel := context.WithTimeout(context.Background(), hooksLimit)
	defer cancel()
	reason := "stopped"
	if kept {
		reason = "stopped for a restart, keeping its leases"
	} else {
		a.loop.hooks.wait(ctx)
	}
	a.history.add(control.Event{Kind: kindAgent, Reason: reason})
	a.log.Info("agent "+reason, "version", a.opts.Version)
	if err := a.net.Close(!kept, goodbyeLimit); err != nil {
		a.log.Warn("leaving the cluster", "error", err)
	}
	a.close()
}

// close releases what start has taken. It is used on a half-started agent, too.
func (a *agent) close() {
	if a.stopIO != nil {
		a.stopIO()
	}
	if a.net != nil {
		_ = a.net.Close(false, 0) // a second close is nothing
	}
	if a.control != nil {
		_ = a.control.Close()
	}
	if a.vip != nil {
		_ = a.vip.Close()
	}
	if a.history != nil {
		a.history.close()
	}
	if a.lock != nil {
		a.lock.Close()
	}
}

func (a *agent) startEvent() control.Event {
	e := control.Event{Kind: kindAgent, Reason: "started", Detail: "version " + a.opts.Version}
	return e
}

func (a *agent) forwardEvents(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-a.events:
			a.loop.post(ctx, func() { a.loop.vipEvent(e) })
		}
	}
}

// identity is the run id: that of the record if this node made it in this boot.
func identity(record *lease.Record, cfg *config.Config, self config.Node) (lease.RunID, error) {
	if record != nil && record.Cluster == cfg.Cluster.Name && record.Node == self.Name && record.RunID != 0 {
		return record.RunID, nil
	}
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, fmt.Errorf("run id: %w", err)
	}
	return lease.RunID(binary.BigEndian.Uint64(b[:]) | 1), nil
}

// resumes returns the groups whose addresses stay while the lease is asked for.
func resumes(record *lease.Record) func(string) bool {
	held := make(map[string]bool)
	if record != nil {
		for _, h := range record.Holds {
			held[h.Group] = true
		}
	}
	return func(group string) bool { return held[group] }
}

func localAddrs() []netip.Addr {
	var out []netip.Addr
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr().Unmap())
		}
	}
	return out
}

func loadConfig(o Options) (cfg *config.Config, self config.Node, keys [][]byte, err error) {
	if cfg, err = config.Load(o.ConfigFile); err != nil {
		return nil, self, nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, self, nil, fmt.Errorf("host name: %w", err)
	}
	if self, err = cfg.Self(o.Node, host, localAddrs()); err != nil {
		return nil, self, nil, err
	}
	if !cfg.Cluster.Insecure {
		if keys, err = config.ReadKeys(cfg.Cluster.KeyFile); err != nil {
			if errors.Is(err, os.ErrNotExist) {
				err = fmt.Errorf("%w; make one with `hbagent keygen -o %s` and copy it to every node", err, cfg.Cluster.KeyFile)
			}
			return nil, self, nil, err
		}
	}
	return cfg, self, keys, nil
}
