package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/lease"
)

// The list of voters in force is not always that of the config file. A list that
// is loaded before every node has the one before it makes three lists in use at
// once, and majorities that do not meet. A reload can refuse the file; an agent
// that starts cannot, so it goes on with the list of its last run and loads that
// of the file when a reload would.

// voterList is a list of voters in one of its generations.
type voterList struct {
	voters     []string
	generation uint64
}

func listOf(cfg *config.Config) voterList {
	return voterList{cfg.Voters(), cfg.Lease.Generation}
}

// to is what lies between a list and another.
func (v voterList) to(next voterList) config.VoterChange {
	return config.ChangeOfVoters(v.voters, next.voters, int64(next.generation)-int64(v.generation))
}

// sameVoters: another generation of the same list changes no majority, so nobody
// needs to wait for it.
func sameVoters(c config.VoterChange) bool { return len(c.Added)+len(c.Removed) == 0 }

func (v voterList) equal(other voterList) bool {
	c := v.to(other)
	return sameVoters(c) && c.Generation == 0
}

func (v voterList) has(node string) bool { return slices.Contains(v.voters, node) }

// begin reads what the last run left, and writes what this one begins with.
func begin(o Options, cfg *config.Config, now time.Time) (state, last machineState, err error) {
	if last, err = readState(o.StateDir); err != nil {
		return state, last, err
	}
	list := listOf(cfg)
	if !o.NewVoters {
		if err := last.checkVoters(cfg); err != nil {
			return state, last, err
		}
		if was := (voterList{last.Voters, last.Generation}); last.Generation != 0 && !sameVoters(was.to(list)) {
			list = was
		}
	}
	state = last.next(cfg, list, now)
	return state, last, state.write(o.StateDir)
}

// begins takes the list over that this run begins with.
func (l *loop) begins(state machineState) {
	l.voters = voterList{state.Voters, state.Generation}
	l.lateWitness = l.cfg.Lease.Witness.IsValid() && !witnessed(l.cfg, l.voters)
	if why := l.voterWarning(); why != "" {
		l.log.Warn(why)
		l.history.add(control.Event{Kind: kindConfig, Reason: why})
	}
}

// witnessed reports whether the witness of a config may decide: never beside a
// list of other than two voters.
func witnessed(cfg *config.Config, list voterList) bool {
	return cfg.Lease.Witness.IsValid() && len(list.voters) == 2
}

// nodeNames are the nodes that the lease machine knows: those of the config, and
// voters in force that the config no longer names. They are no peers, so they
// are not heard; but they count for what a majority is.
func nodeNames(cfg *config.Config, list voterList) []string {
	var names []string
	for _, n := range cfg.Nodes {
		names = append(names, n.Name)
	}
	for _, v := range list.voters {
		if !slices.Contains(names, v) && len(names) < lease.MaxNodes {
			names = append(names, v)
		}
	}
	return names
}

// behind are the nodes of the config that have not reported the generation in
// force yet. All are asked, and not the voters alone: one that lost its vote in
// the last step, and does not know it yet, counts by the list before that, of
// which a majority need not meet one of the next. A node that the config does not
// name gets no vote anyway.
func (l *loop) behind() []string {
	var names []string
	for _, n := range l.cfg.Nodes {
		p := l.peers[n.Name]
		if p == nil {
			continue // this node itself: a node that is new needs a restart
		}
		if !p.known || p.state.Generation < l.voters.generation {
			names = append(names, n.Name)
		}
	}
	return names
}

// mayLoad holds the list of a config against the rule of one at a time: every
// node must have caught up with the generation in force before the next one. A
// list that waits already goes on waiting, and keeps no other change back.
func (l *loop) mayLoad(cfg *config.Config, force bool) (load bool, err error) {
	next := listOf(cfg)
	step := l.voters.to(next)
	if err := step.Check(); err != nil {
		return false, control.Errorf(control.CodeInvalid, "nothing has changed: %v", err)
	}
	if l.voters.equal(next) {
		return false, nil
	}
	if behind := l.behind(); len(behind) > 0 && !force && !sameVoters(step) {
		if listOf(l.cfg).equal(next) {
			return false, nil
		}
		return false, control.Errorf(control.CodeConflict, "nothing has changed: node %s has not reported generation %d yet; reload it first, or use --force if it is gone for good",
			behind[0], l.voters.generation)
	}
	return true, nil
}

// loadVoters puts the list of a config into force. Whoever calls it has asked
// mayLoad, and has written the list into the state.
func (l *loop) loadVoters(cfg *config.Config) error {
	next := listOf(cfg)
	if err := l.machine.Reconfigure(l.now(), nodeNames(cfg, next), next.voters, next.generation); err != nil {
		return err
	}
	l.voters = next
	l.dirty = true
	l.log.Info("list of voters loaded", "generation", next.generation, "voters", next.voters)
	l.history.add(control.Event{Kind: kindConfig, Reason: "list of voters loaded",
		Detail: fmt.Sprintf("generation %d: %s", next.generation, strings.Join(next.voters, ", "))})
	return nil
}

// waits reports whether the config's list of voters is not in force yet.
func (l *loop) waits() bool { return !l.voters.equal(listOf(l.cfg)) }

// voterWarning is what status says of a config that is not in force as a whole.
func (l *loop) voterWarning() string {
	behind := l.behind()
	switch {
	case l.waits() && len(behind) == 0:
		return fmt.Sprintf("the new list of voters (generation %d) is about to be loaded", l.cfg.Lease.Generation)
	case l.waits():
		has := "has"
		if len(behind) > 1 {
			has = "have"
		}
		return fmt.Sprintf("the new list of voters (generation %d) waits: %s %s not reported generation %d yet; `hbagent reload --force` loads it at once, for a node that is gone for good",
			l.cfg.Lease.Generation, strings.Join(behind, ", "), has, l.voters.generation)
	case l.lateWitness:
		return "the witness waits for a restart of this agent: it was started with more voters than two"
	}
	return ""
}

// lookAtVoters tells the task that loads a waiting list when its time has come.
func (l *loop) lookAtVoters() {
	if !l.waits() || len(l.behind()) > 0 {
		return
	}
	select {
	case l.caughtUp <- struct{}{}:
	default: // it has been told
	}
}

// awaitVoters loads the list of the config when every node has caught up. It is a
// task, because the state is written first, which the loop must not wait for.
func (a *agent) awaitVoters(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.loop.caughtUp:
			if err := a.loadWaiting(ctx); err != nil && ctx.Err() == nil {
				a.log.Error("the list of voters is not loaded", "error", err)
			}
		}
	}
}

func (a *agent) loadWaiting(ctx context.Context) error {
	if !a.reloading.TryLock() {
		return nil // the reload takes care of it, or the next pulse does
	}
	defer a.reloading.Unlock()
	var cfg *config.Config
	var load bool
	var problem error
	err := a.loop.do(ctx, func() {
		cfg = a.loop.cfg
		load, problem = a.loop.mayLoad(cfg, false)
	})
	if err = errors.Join(err, problem); err != nil || !load {
		return err
	}
	return a.putInForce(ctx, cfg, true, func() error { return a.loop.loadVoters(cfg) })
}

// putInForce runs apply in the loop. The list that it loads, if any, is written
// before that: an agent that dies in between has been let through by the gate,
// while one that went back to a list after it had reported the next would undo
// what other nodes rest on. The caller has a.reloading.
func (a *agent) putInForce(ctx context.Context, cfg *config.Config, load bool, apply func() error) error {
	was := a.state
	if load {
		list := listOf(cfg)
		a.state.Voters, a.state.Generation = list.voters, list.generation
		if err := a.state.write(a.opts.StateDir); err != nil {
			return err // it may be on the disk or not, and has been let through
		}
	}
	var problem error
	if err := a.loop.do(ctx, func() { problem = apply() }); err != nil {
		return err // whether it was applied is not known, so the state stays
	}
	if problem != nil && load {
		a.state = was
		problem = errors.Join(problem, a.state.write(a.opts.StateDir))
	}
	return problem
}
