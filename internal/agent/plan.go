package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/checks"
)

// outlook is a copy of what this node knows, taken in the loop. What would happen
// is worked out on it outside: with many nodes and groups that takes longer than
// a lease should wait.
type outlook struct {
	cfg     *config.Config
	node    string // this one
	now     time.Time
	ttl     time.Duration
	voters  []string
	needed  int
	witness bool // one of two voters is enough, with its help
	nodes   map[string]nodeView
	groups  []groupView
}

// nodeView is what is known of a node, whatever the group.
type nodeView struct {
	alive       bool
	checks      map[string]checks.State
	maintenance string
}

// groupView is a group as it is now.
type groupView struct {
	s     Situation // this node's; Peers has this node too
	self  Condition // of this node
	owner string    // empty: nobody
}

// outlook runs in the loop and only reads.
func (l *loop) outlook() outlook {
	needed, _ := l.machine.Quorum()
	now := time.Now()
	o := outlook{
		cfg: l.cfg, node: l.node, now: now, ttl: l.ttl, voters: slices.Clone(l.voters.voters), needed: needed,
		witness: witnessed(l.cfg, l.voters) && !l.lateWitness,
		nodes:   map[string]nodeView{l.node: {alive: true, checks: maps.Clone(l.checks), maintenance: l.maintenance}},
	}
	for n, p := range l.peers {
		told := make(map[string]checks.State, len(p.state.Checks))
		for _, c := range p.state.Checks {
			told[c.Name] = checks.State{Name: c.Name, Required: c.Required, Status: statusOf(c.Status), Message: c.Message, Since: c.Since}
		}
		o.nodes[n] = nodeView{alive: p.alive, checks: told, maintenance: p.state.Maintenance}
	}
	for _, name := range l.order {
		g := l.groups[name]
		v := groupView{s: l.situation(name, g), self: l.condition(g, now), owner: g.owner}
		v.self.Checks = nil // the loop goes on with its map; foresee has the copy
		v.s.Peers[l.node] = Peer{Alive: true, Since: l.started, Fitness: g.fitness}
		if g.owner != "" && g.owner != l.node {
			gs, _ := l.peers[g.owner].groupState(name)
			v.s.Cause, v.s.HeldSince, v.s.Moves = Cause(gs.Cause), g.ownerSince, int(gs.Moves) // by its count it decides
		}
		o.groups = append(o.groups, v)
	}
	return o
}

// statusOf reads what a peer has told; what a newer one may say counts as no answer.
func statusOf(s string) checks.Status {
	for _, st := range []checks.Status{checks.Passing, checks.Failing} {
		if st.String() == s {
			return st
		}
	}
	return checks.Pending
}

// Plan implements control.Agent.
func (a *api) Plan(ctx context.Context, req control.PlanRequest) (control.Plan, error) {
	var o outlook
	if err := a.loop.do(ctx, func() { o = a.loop.outlook() }); err != nil {
		return control.Plan{}, err
	}
	if err := o.check(req); err != nil {
		return control.Plan{}, err
	}
	req = control.PlanRequest{Down: distinct(req.Down), Fail: distinct(req.Fail)}
	p := control.Plan{Cluster: o.cfg.Cluster.Name, Node: o.node, At: o.now}
	if len(req.Down)+len(req.Fail) > 0 {
		p.Cases = append(p.Cases, o.foresee(req))
		return p, nil
	}
	for _, n := range o.cfg.Nodes {
		p.Cases = append(p.Cases, o.foresee(control.PlanRequest{Down: []string{n.Name}}))
	}
	return p, nil
}

// check refuses what does not exist, and says what does.
func (o *outlook) check(req control.PlanRequest) error {
	for _, n := range req.Down {
		if err := o.mustExist(n); err != nil {
			return err
		}
	}
	for _, f := range req.Fail {
		if err := o.mustExist(f.Node); err != nil {
			return err
		}
		c, ok := o.checkNamed(f.Check)
		if !ok {
			return control.Errorf(control.CodeNotFound, "no check %q in the config; there are: %s", f.Check, listed(o.cfg.Checks, func(c config.Check) string { return c.Name }))
		}
		if !slices.Contains(c.Nodes, f.Node) {
			return control.Errorf(control.CodeNotFound, "check %s does not run on %s; it runs on: %s", f.Check, f.Node, strings.Join(c.Nodes, ", "))
		}
	}
	return nil
}

func (o *outlook) mustExist(node string) error {
	if _, ok := o.cfg.Node(node); ok {
		return nil
	}
	return control.Errorf(control.CodeNotFound, "no node %q in the config; there are: %s", node, listed(o.cfg.Nodes, func(n config.Node) string { return n.Name }))
}

func (o *outlook) checkNamed(name string) (config.Check, bool) {
	i := slices.IndexFunc(o.cfg.Checks, func(c config.Check) bool { return c.Name == name })
	if i < 0 {
		return config.Check{}, false
	}
	return o.cfg.Checks[i], true
}

func listed[T any](things []T, name func(T) string) string {
	var names []string
	for _, t := range things {
		names = append(names, name(t))
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// distinct drops what was said before.
func distinct[T comparable](list []T) []T {
	var out []T
	for _, v := range list {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// notes says what was assumed without effect, and what the answer rests on.
func (o *outlook) notes(req control.PlanRequest, left int) []string {
	var out []string
	for _, n := range req.Down {
		if !o.nodes[n].alive {
			out = append(out, n+" is down already")
		}
	}
	for _, f := range req.Fail {
		c, _ := o.checkNamed(f.Check)
		used := slices.ContainsFunc(o.cfg.Groups, func(g config.Group) bool { return slices.Contains(g.Checks, f.Check) })
		switch {
		case !c.Required:
			out = append(out, "check "+f.Check+" is not required: it moves nothing")
		case !used:
			out = append(out, "no group asks for check "+f.Check+": it moves nothing")
		case o.nodes[f.Node].checks[f.Check].Status == checks.Failing:
			out = append(out, "check "+f.Check+" fails on "+f.Node+" already")
		}
	}
	if o.witness && left < o.needed && left > 0 {
		out = append(out, fmt.Sprintf("one of two machines is left: only if the witness %v answers", o.cfg.Lease.Witness))
	}
	return out
}
