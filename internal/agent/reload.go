package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

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
	defer func() { a.metrics.Reloaded(reloadResult(res, err), time.Now()) }()
	tellReloading()
	defer tell(daemon.SdNotifyReady)
	cfg, _, keys, err := loadConfig(a.opts)
	if err != nil {
		return res, control.Errorf(control.CodeInvalid, "%v", err)
	}
	var old *config.Config
	var waits bool
	if err := a.loop.do(ctx, func() { old, waits = a.loop.cfg, a.loop.waits() }); err != nil {
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
	loaded, err := loadTemplates(cfg, a.loop.node)
	if err != nil {
		return control.ReloadResult{}, control.Errorf(control.CodeInvalid, "nothing has changed: %v", err)
	}
	// The file of keys is no part of the config: what is in it may have changed
	// under the same name.
	if err := a.loop.keys.reload(keys); err != nil {
		return res, control.Errorf(control.CodeInvalid, "nothing has changed: %v", err)
	}
	if diff.Empty() && !waits {
		res.Changed = append(res.Changed, a.followTemplates(loaded, diff)...)
		return res, nil
	}
	var load bool
	var problem error
	var step config.VoterChange
	err = a.loop.do(ctx, func() {
		step = a.loop.voters.to(listOf(cfg))
		load, problem = a.loop.mayLoad(cfg, force)
	})
	if err = errors.Join(err, problem); err != nil {
		return res, err
	}
	if load && listOf(old).equal(listOf(cfg)) { // else it is among the differences of the files
		res.Changed = append(res.Changed, fmt.Sprintf("lease: the list of voters that waited is loaded: %v, generation %d", step, cfg.Lease.Generation))
	}
	if load || !diff.Empty() {
		if err := a.putInForce(ctx, cfg, load, func() error { return a.apply(cfg, load) }); err != nil {
			return res, err
		}
	}
	res.Changed = append(res.Changed, a.followTemplates(loaded, diff)...)
	return res, a.loop.do(ctx, func() {
		if a.loop.waits() {
			res.Warnings = append(res.Warnings, a.loop.voterWarning())
		}
	})
}

// followTemplates puts templates into force, and returns what has changed of them beside their config: the file with
// the source may have, under the same name.
func (a *agent) followTemplates(loaded []loadedTemplate, diff config.Changes) (lines []string) {
	if a.loop.templates == nil {
		return nil // a test without any
	}
	for _, name := range a.loop.templates.set(loaded) {
		told := func(c config.Change) bool { return c.Section == "template" && c.Name == name }
		if !slices.ContainsFunc(diff.All, told) {
			lines = append(lines, sourceChange(name))
		}
	}
	return lines
}

// apply puts a config into force, with its list of voters or without. It runs in the loop. What may fail comes
// first, so that an error leaves the old config in force.
func (a *agent) apply(cfg *config.Config, load bool) error {
	l := a.loop
	if err := l.addrs.Reconfigure(vipGroups(cfg, l.node)); err != nil {
		return errors.Join(control.Errorf(control.CodeInvalid, "nothing has changed: %v", err), l.addrs.Reconfigure(vipGroups(l.cfg, l.node)))
	}
	if err := a.runner.Replace(checkSpecs(cfg, l.node)); err != nil {
		return errors.Join(control.Errorf(control.CodeInvalid, "nothing has changed: %v", err), l.addrs.Reconfigure(vipGroups(l.cfg, l.node)))
	}
	if err := l.machine.SetGroups(l.now(), groupNames(cfg)); err != nil {
		return err
	}
	if load {
		if err := l.loadVoters(cfg); err != nil {
			return err
		}
	}
	l.carryOut() // of the old groups, while they are known
	l.cfg = cfg
	useProcessors(cfg)
	l.setGroups(cfg)
	l.configureMetrics()
	l.setChecks(a.runner.States())
	for _, name := range l.order {
		if l.groups[name].iface == "" {
			l.giveAway(name, CauseConfig, "the config of "+l.node+" no longer lists it for "+name)
		}
	}
	a.page.Set(cfg.HTTP.ListenOn(l.node), webHosts(cfg))
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
