package agent

import (
	"context"
	"errors"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/checks"
	"github.com/hbagent/hbagent/pkg/cluster"
	"github.com/hbagent/hbagent/pkg/lease"
	"github.com/hbagent/hbagent/pkg/vip"
)

// This file turns the config into what each package wants to know, once at the
// start and again at a reload.

func leaseConfig(cfg *config.Config, self config.Node, run lease.RunID, state, last machineState, record *lease.Record) lease.Config {
	c := lease.Config{
		Cluster: cfg.Cluster.Name, Node: self.Name, RunID: run, Voters: cfg.Voters(), Generation: cfg.Lease.Generation,
		TTL: cfg.Lease.TTL, Incarnation: state.Incarnation, Record: record, LastTTL: last.TTL,
		Witness: cfg.Lease.Witness.IsValid(), Rand: newRand(),
	}
	for _, n := range cfg.Nodes {
		c.Nodes = append(c.Nodes, n.Name)
	}
	for _, g := range cfg.Groups {
		c.Groups = append(c.Groups, g.Name)
	}
	return c
}

func clusterOptions(cfg *config.Config, self config.Node, keys [][]byte, a *agent) cluster.Options {
	o := cluster.Options{
		Cluster: cfg.Cluster.Name, Node: self.Name, RunID: a.loop.runID(), Version: a.opts.Version,
		Port: cfg.Cluster.Port, Keys: keys, Insecure: cfg.Cluster.Insecure, TTL: cfg.Lease.TTL,
		Handler: a.peers, Logger: a.log,
	}
	for _, n := range cfg.Nodes {
		o.Peers = append(o.Peers, cluster.Peer{Name: n.Name, Address: n.Address})
	}
	for _, g := range cfg.Groups {
		for _, p := range g.Addresses {
			o.Forbidden = append(o.Forbidden, p.Addr())
		}
	}
	return o
}

func checkSpecs(cfg *config.Config, node string) []checks.Spec {
	var specs []checks.Spec
	for _, c := range cfg.ChecksFor(node) {
		specs = append(specs, checks.Spec{
			Name: c.Name, Type: c.Type, URL: c.URL, Body: c.Body, Status: c.Status, Saturated: c.Saturated,
			Address: c.Address, DSNFile: c.DSNFile, Command: c.Command, Unit: c.Unit, Interface: c.Interface, Target: c.Target,
			Interval: c.Interval, Timeout: c.Timeout, Fall: c.Fall, Rise: c.Rise, Required: c.Required,
		})
	}
	return specs
}

// rememberClaims makes a resumed group look as it did before the restart, so
// that its hooks are not run again.
func (l *loop) rememberClaims() {
	now := l.now().Boot
	for _, name := range l.order {
		if v, _ := l.machine.Group(now, name); v.Phase == "confirming" {
			g := l.groups[name]
			g.told, g.epoch = control.StateActive, uint64(v.Epoch)
			g.lastOwner, g.ownerEpoch = l.node, uint64(v.Epoch)
		}
	}
}

// watchLinks tells the loop at the start which interfaces have no carrier; the
// address manager tells what changes later.
func (a *agent) watchLinks(ctx context.Context) error {
	for _, g := range vipGroups(a.loop.cfg, a.loop.node) {
		link, err := netlink.LinkByName(g.Interface)
		if err != nil {
			continue // the address manager has refused to start, or tells of it
		}
		if link.Attrs().OperState == netlink.OperDown || link.Attrs().OperState == netlink.OperLowerLayerDown {
			a.vipEvent(vip.Event{Kind: vip.LinkDown, Interface: g.Interface, Detail: "no carrier at the start"})
		}
	}
	return nil
}

// reload reads the config file again. What cannot be changed while running is
// named; a file that is not valid changes nothing.
func (a *agent) reload(ctx context.Context, force bool) (res control.ReloadResult, err error) {
	tellReloading()
	defer tell("READY=1")
	cfg, _, _, err := loadConfig(a.opts)
	if err != nil {
		return res, control.Errorf(control.CodeInvalid, "%v", err)
	}
	var old *config.Config
	if err := a.loop.do(ctx, func() { old = a.loop.cfg }); err != nil {
		return res, err
	}
	self := a.loop.node
	diff := config.Diff(old, cfg)
	for _, c := range diff.Restart(self) {
		res.NeedsRestart = append(res.NeedsRestart, c.String())
	}
	for _, c := range diff.Live(self) {
		res.Changed = append(res.Changed, c.String())
	}
	for _, w := range cfg.Warnings {
		res.Warnings = append(res.Warnings, w.Message)
	}
	if len(res.NeedsRestart) > 0 {
		// Half a file in force would be a config that nobody wrote.
		res.Changed = nil
		res.Warnings = append(res.Warnings, "nothing has changed: `systemctl restart hbagent` takes the whole file over, and moves no address")
		return res, nil
	}
	if diff.Empty() {
		return res, nil
	}
	var problem error
	err = a.loop.do(ctx, func() { problem = a.apply(cfg, diff, force) })
	return res, errors.Join(err, problem)
}

// apply puts a config into force. It runs in the loop. What may fail comes
// first, so that an error leaves the old config in force.
func (a *agent) apply(cfg *config.Config, diff config.Changes, force bool) error {
	l := a.loop
	if err := l.voterChange(diff.Voters, force); err != nil {
		return err
	}
	if err := a.vip.Reconfigure(vipGroups(cfg, l.node)); err != nil {
		return control.Errorf(control.CodeInvalid, "nothing has changed: %v", err)
	}
	if err := a.runner.Replace(checkSpecs(cfg, l.node)); err != nil {
		return errors.Join(control.Errorf(control.CodeInvalid, "nothing has changed: %v", err), a.vip.Reconfigure(vipGroups(l.cfg, l.node)))
	}
	now := l.now()
	lc := leaseConfig(cfg, l.self, 0, machineState{}, machineState{}, nil)
	if err := l.machine.SetGroups(now, lc.Groups); err != nil {
		return err
	}
	if len(diff.Voters.Added)+len(diff.Voters.Removed) > 0 || diff.Voters.Generation != 0 {
		if err := l.machine.Reconfigure(now, lc.Nodes, lc.Voters, lc.Generation); err != nil {
			return err
		}
	}
	l.carryOut() // of the old groups, while they are known
	l.cfg = cfg
	l.self, _ = cfg.Node(l.node)
	for name := range l.checks {
		if !slices.ContainsFunc(cfg.ChecksFor(l.node), func(c config.Check) bool { return c.Name == name }) {
			delete(l.checks, name)
		}
	}
	l.setGroups(cfg)
	l.history.add(control.Event{Kind: kindConfig, Reason: "reloaded", Detail: cfg.Hash})
	l.log.Info("config reloaded", "hash", cfg.Hash)
	return nil
}

// voterChange holds a new voter list against the rule of one at a time: every
// voter must have caught up with the generation in force before the next one.
func (l *loop) voterChange(v config.VoterChange, force bool) error {
	if err := v.Check(); err != nil {
		return control.Errorf(control.CodeInvalid, "nothing has changed: %v", err)
	}
	if len(v.Added)+len(v.Removed) == 0 || force {
		return nil
	}
	for _, name := range l.cfg.Voters() {
		p := l.peers[name]
		if p != nil && (!p.known || p.state.Generation < l.cfg.Lease.Generation) {
			return control.Errorf(control.CodeConflict, "nothing has changed: voter %s has not reported generation %d yet; reload it first, or use --force if it is gone for good",
				name, l.cfg.Lease.Generation)
		}
	}
	return nil
}
