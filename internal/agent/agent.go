package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/metrics"
	"github.com/hbagent/hbagent/internal/web"
	"github.com/hbagent/hbagent/pkg/checks"
	"github.com/hbagent/hbagent/pkg/cluster"
	"github.com/hbagent/hbagent/pkg/lease"
	"github.com/hbagent/hbagent/pkg/vip"
)

// vipEvents is how many events of the address manager wait for the loop (chosen
// by us: more than a switch that comes back causes on a machine).
const vipEvents = 256

// Options say which agent to run.
type Options struct {
	ConfigFile string
	Node       string // empty: found by host name or address
	RunDir     string // a tmpfs: a boot empties it
	StateDir   string // outlives a boot
	NewVoters  bool   // accept a list of voters that is not one step from the last run's
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
	goRealtime(o.Logger)
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
	metrics *metrics.Set
	net     *cluster.Cluster
	vip     *vip.Manager
	runner  *checks.Runner
	control *control.Server
	page    statusPage
	loop    *loop
	prober  *prober
	peers   *peers
	stopIO  context.CancelFunc
	events  chan vip.Event

	reloading sync.Mutex   // one at a time, from SIGHUP or the socket
	state     machineState // as written; guarded by reloading after the start
}

// statusPage is what the agent needs of *web.Server.
type statusPage interface {
	Run(ctx context.Context) error
	Set(listen []netip.AddrPort, hosts []string)
	Problems() []string
}

// start builds everything and binds every socket, so that what can fail fails
// before the agent takes part in anything.
func start(o Options) (_ *agent, err error) {
	cfg, node, keys, err := loadConfig(o)
	if err != nil {
		return nil, err
	}
	economise(cfg)
	log := o.Logger.With("node", node)
	for _, w := range cfg.Warnings {
		log.Warn("config", "reason", w.Message)
	}
	a := &agent{opts: o, log: log, events: make(chan vip.Event, vipEvents)}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	if a.lock, err = LockRunDir(o.RunDir); err != nil {
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
	var last machineState
	if a.state, last, err = begin(o, cfg, time.Now()); err != nil {
		return nil, err
	}
	a.history = openHistory(filepath.Join(o.StateDir, historyName), node, last.Incarnation != 0, log)
	a.loop = newLoop(log, cfg, node)
	a.metrics = newMetrics(o.Version)
	a.metrics.Started(time.Now())
	a.history.metrics, a.loop.metrics = a.metrics, a.metrics
	a.loop.configureMetrics()
	a.loop.version, a.loop.store, a.loop.history, a.loop.watch = o.Version, st, a.history, newWatchdog()
	a.loop.lasts = newLastFile(filepath.Join(o.StateDir, lastName), log)
	a.loop.keys = openKeys(filepath.Join(o.StateDir, keysName), keys, a.history, log)
	a.loop.keys.readFile = func() ([][]byte, error) { return config.ReadKeys(cfg.Cluster.KeyFile) } // another name needs a restart
	a.loop.maintenanceStore = &maintenanceFile{path: filepath.Join(o.StateDir, maintenanceName)}
	if a.loop.maintenance, err = a.loop.maintenanceStore.read(); err != nil {
		return nil, err
	}
	if err := a.loop.newRoles(roleMaker(cfg, node, log)); err != nil {
		return nil, configError(err)
	}
	a.loop.begins(a.state)
	if a.loop.runIDValue, err = identity(record, cfg, node); err != nil {
		return nil, err
	}
	if record != nil && record.RunID != a.loop.runIDValue {
		record = nil // of another cluster or node: nothing in it was promised by this one
	}
	if err := a.connect(cfg, record); err != nil {
		return nil, err
	}
	a.loop.machine, err = lease.New(a.loop.now(), leaseConfig(cfg, node, a.loop.runIDValue, a.state, last, record))
	if err != nil {
		return nil, err
	}
	a.loop.rememberClaims()
	return a, nil
}

// connect binds what reaches outside: the cluster, the addresses, the checks
// and the control socket.
func (a *agent) connect(cfg *config.Config, record *lease.Record) (err error) {
	node := a.loop.node
	api := newAPI(a.loop, a.log)
	api.reload, api.opts = a.reload, a.opts
	var io context.Context
	io, a.stopIO = context.WithCancel(context.Background())
	a.peers = &peers{api: api, ctx: io}
	if a.net, err = cluster.Start(clusterOptions(cfg, a)); err != nil {
		return err
	}
	a.loop.net, api.peerProber = a.net, a.net
	a.loop.keys.net, a.loop.keys.changed = a.net, func() {
		go a.loop.post(io, func() { a.loop.dirty = true })
	}
	gate, role, err := newGate(cfg, a.log, a.metrics)
	if err != nil {
		return err
	}
	a.vip, err = vip.New(vip.Options{
		Groups: vipGroups(cfg, node), RunDir: a.opts.RunDir, Keep: resumes(record), Logger: a.log,
		Gate: gate, Lifetime: role, Events: a.vipEvent,
	})
	if err != nil {
		return err
	}
	a.loop.addrs, a.loop.gate = a.vip, gate.String()
	a.runner, err = checks.NewRunner(checkSpecs(cfg, node), func(s checks.State) {
		a.loop.post(io, func() { a.loop.checkChanged(s) })
	}, checks.Options{ARP: vip.ProbeHost, Logger: a.log, OnResult: a.checkRan})
	if err != nil {
		return err
	}
	api.runner = a.runner
	a.control, err = control.Listen(control.ServerOptions{RunDir: a.opts.RunDir, Agent: api, Logger: a.log})
	if err != nil {
		return err
	}
	a.metrics.Read(a.sources())
	a.page = web.New(web.Options{
		Agent: api, Metrics: a.metrics.Handler(a.log), Listen: cfg.HTTP.ListenOn(node), Hosts: webHosts(cfg), Logger: a.log,
	})
	a.loop.pageProblems = a.page.Problems
	a.loop.hooks = newHooks(io, a.log, a.history)
	a.loop.hooks.metrics = a.metrics
	a.loop.templates = newTemplates(io, a.opts.RunDir, a.history, a.log, func() {
		a.loop.post(io, func() { a.loop.dirty = true }) // to be told to the peers
	})
	loaded, err := loadTemplates(cfg, node)
	if err != nil {
		a.log.Error("a template cannot be used; its file stays as it is", "error", err)
	}
	a.loop.templates.set(loaded)
	a.prober = &prober{loop: a.loop, every: cfg.Lease.TTL / probeDivisor, probe: a.vip.ProbeAll}
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
		a.metrics.Dropped(metrics.QueueNetwork)
		a.log.Error("too many events of the network at once, one is lost", "reason", e.Kind.String(), "group", e.Group, "interface", e.Interface)
	}
}

// run starts the tasks and waits for the end: a signal, ctx, or a task that
// cannot go on.
func (a *agent) run(ctx context.Context) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR2, syscall.SIGHUP)
	defer signal.Stop(signals)
	a.history.add(control.Event{Kind: kindAgent, Reason: "started", Detail: "version " + a.opts.Version})
	a.log.Info("agent started", "version", a.opts.Version, "cluster", a.loop.cfg.Cluster.Name, "gate", a.loop.gate)

	a.lookAtLinks()

	// The tasks outlive ctx: handing over needs all of them.
	tasks, stopTasks := context.WithCancel(context.WithoutCancel(ctx))
	defer stopTasks()
	g, tasks := errgroup.WithContext(tasks)
	g.Go(func() error { return a.vip.Run(tasks) })
	a.loop.startRoles()
	g.Go(func() error { return a.loop.run(tasks) })
	g.Go(func() error { return a.loop.lasts.Run(tasks) })
	for _, r := range a.loop.roles {
		g.Go(func() error { return r.Run(tasks) })
	}
	g.Go(func() error { return a.net.Run(tasks) })
	g.Go(func() error { return a.runner.Run(tasks) })
	g.Go(func() error { return a.control.Run(tasks) })
	g.Go(func() error { return a.page.Run(tasks) })
	g.Go(func() error { return a.prober.Run(tasks) })
	g.Go(func() error { return a.forwardEvents(tasks) })
	g.Go(func() error { return a.awaitVoters(tasks) })
	g.Go(func() error { return a.peers.api.watchKeys(tasks) })
	g.Go(func() error { return afterStart(tasks, a.log) })

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

// reloadBySignal has nobody to answer, so the log says it all.
func (a *agent) reloadBySignal(ctx context.Context) {
	res, err := a.reload(ctx, false)
	switch {
	case err != nil:
		a.log.Error("reload: nothing has changed", "error", err)
	case len(res.NeedsRestart) > 0:
		a.log.Error("reload: nothing has changed, because this needs a restart", "changes", res.NeedsRestart)
	}
}

// serveSignals returns when the agent is to end, and whether it keeps its leases.
func (a *agent) serveSignals(ctx, tasks context.Context, signals <-chan os.Signal) (keep bool) {
	for {
		select {
		case <-tasks.Done():
			return false
		case <-ctx.Done(): // the program turns SIGTERM and SIGINT into this, too
			return a.comesBack(context.WithoutCancel(ctx))
		case s := <-signals:
			switch s {
			case syscall.SIGHUP:
				a.reloadBySignal(tasks)
			case syscall.SIGUSR2:
				return true
			default:
				return a.comesBack(context.WithoutCancel(ctx))
			}
		}
	}
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

// lookAtLinks notes which interfaces have no carrier at the start; the address
// manager tells what changes later.
func (a *agent) lookAtLinks() {
	for _, g := range vipGroups(a.loop.cfg, a.loop.node) {
		link, err := netlink.LinkByName(g.Interface)
		if err != nil {
			continue // the address manager has refused to start, or tells of it
		}
		if link.Attrs().OperState == netlink.OperDown || link.Attrs().OperState == netlink.OperLowerLayerDown {
			a.vipEvent(vip.Event{Kind: vip.LinkDown, Interface: g.Interface, Detail: "no carrier at the start"})
		}
	}
}
