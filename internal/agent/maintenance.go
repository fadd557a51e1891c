package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/lease"
)

const methodMaintenance = "maintenance" // MaintenanceRequest -> MaintenanceResult

// Chosen by us.
const (
	// maintenancePasses bounds how often a node that enters maintenance hands over
	// what came back to it meanwhile.
	maintenancePasses   = 3
	maintenanceNoReason = "no reason was given"
	maintenanceLimit    = 10 * time.Minute // for moving everything away; each move has bounds of its own
)

// maintenanceFile remembers maintenance over restarts and boots: a machine that is
// being worked on must not take a group because it was rebooted.
type maintenanceFile struct{ path string }

type maintenanceState struct {
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
}

// read returns the reason, empty if the node is not in maintenance. A damaged
// file counts as maintenance: to stay off is what was asked for last.
func (f *maintenanceFile) read() (reason string, err error) {
	b, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("maintenance: %w", err)
	}
	var s maintenanceState
	if err := json.Unmarshal(b, &s); err != nil || s.Reason == "" {
		return "its file cannot be read: " + f.path, nil
	}
	return s.Reason, nil
}

// write makes the state last; an empty reason ends it.
func (f *maintenanceFile) write(reason string) error {
	var err error
	if reason == "" {
		if err = os.Remove(f.path); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	} else {
		err = writeJSON(f.path, maintenanceState{Reason: reason, Since: time.Now()}, (*os.File).Sync)
	}
	if err != nil {
		return fmt.Errorf("cannot remember it over a restart: %w", err)
	}
	return nil
}

// Maintenance implements control.Agent.
func (a *api) Maintenance(ctx context.Context, req control.MaintenanceRequest) (res control.MaintenanceResult, err error) {
	if req.Node == "" || req.Node == a.loop.node {
		return a.maintainHere(ctx, req)
	}
	var known bool
	if err := a.loop.do(ctx, func() { _, known = a.loop.cfg.Node(req.Node) }); err != nil {
		return res, err
	}
	if !known {
		return res, control.Errorf(control.CodeNotFound, "no node %q in the config", req.Node)
	}
	body, err := json.Marshal(req)
	if err != nil {
		return res, err
	}
	answer, err := a.loop.net.Call(ctx, req.Node, methodMaintenance, body)
	if err != nil {
		return res, control.Errorf(control.CodeUnavailable, "%s did not answer: %v; look at hbagent status before you try again", req.Node, err)
	}
	if err := json.Unmarshal(answer, &res); err != nil {
		return res, fmt.Errorf("answer of %s: %w", req.Node, err)
	}
	return res, nil
}

// maintainHere does it on this node. Groups are moved first, one after the other,
// while this node may still have them back; only then it stays off.
func (a *api) maintainHere(ctx context.Context, req control.MaintenanceRequest) (res control.MaintenanceResult, err error) {
	if !a.maintaining.TryLock() {
		return res, control.Errorf(control.CodeConflict, "another `maintenance` is under way on %s", a.loop.node)
	}
	defer a.maintaining.Unlock()
	l := a.loop
	res = control.MaintenanceResult{Node: l.node, On: req.On, Done: true}
	if !req.On {
		return res, a.setMaintenance(ctx, "", false)
	}
	res.Reason = cmp.Or(strings.TrimSpace(req.Reason), maintenanceNoReason)
	for range maintenancePasses {
		var movable []string
		var stuck string
		if err := l.do(ctx, func() { movable, stuck = l.ownedHere() }); err != nil {
			return res, err
		}
		if stuck != "" && !req.Force {
			return a.notInMaintenance(ctx, res, stuck+"; --force leaves it without an owner")
		}
		if len(movable) == 0 {
			break
		}
		for _, name := range movable {
			move, err := a.switchover(ctx, control.SwitchoverRequest{Group: name, Strict: req.Strict}, purpose{CauseMaintenance, inMaintenance(res.Reason)}, func(control.SwitchoverStep) {})
			if err != nil {
				return res, err
			}
			res.Groups = append(res.Groups, move)
			if move.Outcome != control.OutcomeMoved && !req.Force {
				return a.notInMaintenance(ctx, res, fmt.Sprintf("%s did not move: %s; --force gives it up all the same", name, move.Reason))
			}
		}
	}
	return res, a.setMaintenance(ctx, res.Reason, req.Force)
}

// notInMaintenance is a refusal; what was in force before still is.
func (a *api) notInMaintenance(ctx context.Context, res control.MaintenanceResult, why string) (control.MaintenanceResult, error) {
	res.Done, res.Reason = false, why
	err := a.loop.do(ctx, func() { res.On = a.loop.maintenance != "" })
	return res, err
}

// ownedHere returns the groups of this node that another one can take, and, if one
// has nowhere to go, why.
func (l *loop) ownedHere() (movable []string, stuck string) {
	for _, name := range l.order {
		g := l.groups[name]
		if !g.open && g.pending == nil {
			continue
		}
		if to, why := best(l.situation(name, g)); to != "" {
			movable = append(movable, name)
		} else if stuck == "" {
			stuck = "nobody else can take " + name + ": " + why
		}
	}
	return movable, stuck
}

// setMaintenance puts it into force: on disk first. What has come here since the
// moves goes as soon as somebody can take it (the policy sees to that), by force at
// once.
func (a *api) setMaintenance(ctx context.Context, reason string, force bool) error {
	l := a.loop
	if err := l.maintenanceStore.write(reason); err != nil {
		return control.Errorf(control.CodeInternal, "nothing has changed: %v", err)
	}
	return l.do(ctx, func() {
		if l.maintenance == reason {
			return
		}
		e := control.Event{Kind: kindMaintenance, Subject: l.node, To: "on", Reason: reason}
		if reason == "" {
			e.To, e.Reason = "off", "it may own groups again"
		}
		l.maintenance, l.dirty = reason, true
		l.history.add(e)
		l.log.Info("maintenance "+e.To, "reason", reason)
		if reason == "" {
			return
		}
		l.judge() // no group may be asked for again
		for _, name := range l.order {
			if force || !l.groups[name].open {
				l.machine.Release(l.now(), name, lease.ReasonReleased)
			}
		}
	})
}
