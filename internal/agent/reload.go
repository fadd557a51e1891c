package agent

import (
	"context"
	"errors"
	"slices"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/checks"
)

// reload reads the config file again. What cannot be changed while running is
// named; a file that is not valid changes nothing.
func (a *agent) reload(ctx context.Context, force bool) (res control.ReloadResult, err error) {
	if !a.reloading.TryLock() {
		return res, control.Errorf(control.CodeConflict, "a reload is under way already")
	}
	defer a.reloading.Unlock()
	tellReloading()
	defer tell(daemon.SdNotifyReady)
	cfg, _, keys, err := loadConfig(a.opts)
	if err != nil {
		return res, control.Errorf(control.CodeInvalid, "%v", err)
	}
	var old *config.Config
	if err := a.loop.do(ctx, func() { old = a.loop.cfg }); err != nil {
		return res, err
	}
	diff := config.Diff(old, cfg)
	for _, c := range diff.Restart(a.loop.node) {
		res.NeedsRestart = append(res.NeedsRestart, c.String())
	}
	for _, c := range diff.Live(a.loop.node) {
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
	// The file of keys is no part of the config: what is in it may have changed
	// under the same name.
	if len(keys) > 0 {
		if err := a.net.UpdateKeys(keys); err != nil {
			return res, control.Errorf(control.CodeInvalid, "nothing has changed: %v", err)
		}
	}
	if diff.Empty() {
		return res, nil
	}
	var problem error
	err = a.loop.do(ctx, func() { problem = a.apply(cfg, diff, force) })
	if err = errors.Join(err, problem); err != nil {
		return res, err
	}
	a.state.Voters, a.state.Generation = cfg.Voters(), cfg.Lease.Generation
	return res, a.state.write(a.opts.StateDir)
}

// apply puts a config into force. It runs in the loop. What may fail comes
// first, so that an error leaves the old config in force.
func (a *agent) apply(cfg *config.Config, diff config.Changes, force bool) error {
	l := a.loop
	if err := l.voterChange(diff.Voters, force); err != nil {
		return err
	}
	if err := l.addrs.Reconfigure(vipGroups(cfg, l.node)); err != nil {
		return errors.Join(control.Errorf(control.CodeInvalid, "nothing has changed: %v", err), l.addrs.Reconfigure(vipGroups(l.cfg, l.node)))
	}
	if err := a.runner.Replace(checkSpecs(cfg, l.node)); err != nil {
		return errors.Join(control.Errorf(control.CodeInvalid, "nothing has changed: %v", err), l.addrs.Reconfigure(vipGroups(l.cfg, l.node)))
	}
	lc := leaseConfig(cfg, l.node, 0, machineState{}, machineState{}, nil)
	if err := l.machine.SetGroups(l.now(), lc.Groups); err != nil {
		return err
	}
	if len(diff.Voters.Added)+len(diff.Voters.Removed) > 0 || diff.Voters.Generation != 0 {
		if err := l.machine.Reconfigure(l.now(), lc.Nodes, lc.Voters, lc.Generation); err != nil {
			return err
		}
	}
	l.carryOut() // of the old groups, while they are known
	l.cfg = cfg
	l.setGroups(cfg)
	l.setChecks(a.runner.States())
	for _, name := range l.order {
		if l.groups[name].iface == "" {
			l.giveAway(name, CauseConfig, "the config of "+l.node+" no longer lists it for "+name)
		}
	}
	l.history.add(control.Event{Kind: kindConfig, Reason: "reloaded", Detail: cfg.Hash})
	l.log.Info("config reloaded", "hash", cfg.Hash)
	return nil
}

// setChecks takes over what the runner makes of a new config: checks that are
// gone, that begin anew, or that have become required.
func (l *loop) setChecks(states []checks.State) {
	for name := range l.checks {
		if !slices.ContainsFunc(states, func(st checks.State) bool { return st.Name == name }) {
			delete(l.checks, name)
		}
	}
	for _, st := range states {
		l.checkChanged(st)
	}
}

// voterChange holds a new voter list against the rule of one at a time: every
// node must have caught up with the generation in force before the next one. The
// voters alone are not enough: one that lost its vote in the last step, and does
// not know it yet, counts by the list before that, of which a majority need not
// meet one of the next. A node that the config does not name gets no vote
// anyway.
func (l *loop) voterChange(v config.VoterChange, force bool) error {
	if err := v.Check(); err != nil {
		return control.Errorf(control.CodeInvalid, "nothing has changed: %v", err)
	}
	if len(v.Added)+len(v.Removed) == 0 || force {
		return nil
	}
	for _, n := range l.cfg.Nodes {
		p := l.peers[n.Name]
		if p == nil {
			continue // this node itself: a node that is new needs a restart
		}
		if !p.known || p.state.Generation < l.cfg.Lease.Generation {
			return control.Errorf(control.CodeConflict, "nothing has changed: node %s has not reported generation %d yet; reload it first, or use --force if it is gone for good",
				n.Name, l.cfg.Lease.Generation)
		}
	}
	return nil
}
