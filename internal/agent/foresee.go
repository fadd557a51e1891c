package agent

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/checks"
	"github.com/hbagent/hbagent/pkg/lease"
)

// plannedGap is what a move costs in which both nodes live (chosen by us: the
// median of docs/measurements.md is below it, the worst of fifty above).
const plannedGap = 10 * time.Millisecond

// foresee says what the policy would do. It decides nothing by itself: it changes
// the copy as asked, and asks Judge for each node, and Decide as the owner would,
// or as those would that are left.
func (o *outlook) foresee(req control.PlanRequest) control.PlanCase {
	c := control.PlanCase{Down: req.Down, Fail: req.Fail, Voters: len(o.voters), Needed: o.needed}
	for _, v := range o.voters {
		if o.nodes[v].alive && !slices.Contains(req.Down, v) {
			c.Left++
		}
	}
	c.Notes = o.notes(req, c.Left)
	for _, v := range o.groups {
		f := o.changed(v, req)
		if c.Left < o.needed && !(o.witness && c.Left > 0) {
			c.Groups = append(c.Groups, f.nobody(fmt.Sprintf("no quorum: %d of %d voters would be left, %d are needed", c.Left, c.Voters, c.Needed),
				"until enough voters are back"))
			continue
		}
		c.Groups = append(c.Groups, f.foresee())
	}
	return c
}

// future is a group as it would be.
type future struct {
	groupView
	ttl    time.Duration
	notice time.Duration // until the owner finds the check failing that is assumed to
	unfit  map[string]bool
	able   map[string]bool
	off    map[string]bool
	waits  map[string]bool
}

// changed applies what is assumed to a group.
func (o *outlook) changed(v groupView, req control.PlanRequest) future {
	f := future{groupView: v, ttl: o.ttl, unfit: map[string]bool{}, able: map[string]bool{}, off: map[string]bool{}, waits: map[string]bool{}}
	f.s.Peers = maps.Clone(v.s.Peers)
	for n, p := range f.s.Peers {
		if slices.Contains(req.Down, n) {
			p.Alive, p.Since = false, o.now
		}
		var failed, works bool
		p.Fitness, failed, works = o.fitness(v, n, req)
		f.unfit[n] = failed
		f.off[n] = o.nodes[n].maintenance != ""
		f.able[n], f.waits[n] = failed && !f.off[n], works && strings.HasPrefix(p.Fitness.Reason, waitsForHold) // of a peer as far as it has told
		if n == o.node {
			f.able[n], f.waits[n] = v.s.Able, v.s.Waits && !failed
		}
		f.s.Peers[n] = p
	}
	for _, a := range req.Fail {
		if c, ok := o.checkNamed(a.Check); ok && a.Node == v.owner && slices.Contains(mustPass(o.cfg.ChecksFor(a.Node), v.s.Group), a.Check) {
			if d := time.Duration(c.Fall) * c.Interval; f.notice == 0 || d < f.notice {
				f.notice = d
			}
		}
	}
	return f
}

// fitness is whether a node might own a group then. Of another node less is known
// than of this one (its hold and its link it judges itself), so what it has told
// stands, unless a check that is assumed to fail speaks against it. works is what this node finds of it, hold apart.
func (o *outlook) fitness(v groupView, node string, req control.PlanRequest) (fit Fitness, failed, works bool) {
	c := v.self
	if node != o.node {
		c = Condition{Group: v.s.Group, Node: node, Maintenance: o.nodes[node].maintenance, Now: o.now}
		c.Group.Checks = mustPass(o.cfg.ChecksFor(node), v.s.Group)
	}
	c.Checks = maps.Clone(o.nodes[node].checks)
	assumed := false
	for _, a := range req.Fail {
		if st := c.Checks[a.Check]; a.Node == node && st.Status != checks.Failing {
			c.Checks[a.Check] = checks.State{Name: a.Check, Required: slices.Contains(c.Group.Checks, a.Check), Status: checks.Failing, Since: o.now}
			assumed = true
		}
	}
	told := v.s.Peers[node].Fitness
	eligible, failed, reason := Judge(c)
	if node != o.node && (!assumed || eligible) {
		return told, failed && !told.Eligible, eligible
	}
	fit = Fitness{Eligible: eligible, Reason: reason, Since: told.Since}
	if eligible != told.Eligible {
		fit.Since = o.now
	}
	return fit, failed, eligible
}

// seen is the situation as a node would see it.
func (f *future) seen(node string, holds bool) Situation {
	s := f.s
	s.Node, s.Holds = node, holds
	s.Self, s.Unfit, s.Able, s.Off, s.Waits = s.Peers[node].Fitness, f.unfit[node], f.able[node], f.off[node], f.waits[node]
	return s
}

func (f *future) foresee() control.PlanGroup {
	if f.owner == "" || !f.s.Peers[f.owner].Alive {
		return f.takeover()
	}
	d := Decide(f.seen(f.owner, true))
	if d.MoveTo == "" {
		out := f.ends(f.owner)
		if d.Reason != "" {
			out.Reason = join(f.s.Peers[f.owner].Fitness.Reason, d.Reason)
		} else if !d.Stand {
			out.Reason = f.s.Peers[f.owner].Fitness.Reason
		}
		return out
	}
	out := f.ends(d.MoveTo)
	out.Cause, out.Reason = string(d.Cause), d.Reason
	out.Gap, out.GapMs = "milliseconds", plannedGap.Milliseconds()
	if d.Cause == CauseHealth && f.notice > 0 {
		out.Gap = fmt.Sprintf("about %v until the check counts as failing (interval x fall), then milliseconds", f.notice)
		out.GapMs += f.notice.Milliseconds()
	}
	return out
}

// takeover is what those do that are left without an owner: the best of those
// that stand gets it.
func (f *future) takeover() control.PlanGroup {
	winner, rank := "", 0
	for _, n := range f.s.Group.Nodes {
		if !f.s.Peers[n].Alive {
			continue
		}
		if d := Decide(f.seen(n, false)); d.Stand && (winner == "" || d.Rank < rank) {
			winner, rank = n, d.Rank
		}
	}
	if winner == "" {
		_, why := best(f.seen("", false))
		return f.nobody(why, "until one of its nodes can own it")
	}
	out := f.ends(winner)
	free := lease.Open{Cause: lease.CauseFree}
	out.Gap, out.GapMs = "nobody owns it now", plannedGap.Milliseconds()
	if f.owner != "" {
		free.Cause = lease.CauseExpired
		out.Gap, out.GapMs = fmt.Sprintf("about one ttl (%v)", f.ttl), f.ttl.Milliseconds()
	}
	cause, why := causeOf(free, f.s.Holder)
	out.Cause, out.Reason = string(cause), why
	return out
}

// ends is a group that a node owns in the end.
func (f *future) ends(owner string) control.PlanGroup {
	out := control.PlanGroup{Name: f.s.Group.Name, Owner: f.owner, After: owner, Outcome: control.PlanMoves, Gap: "none"}
	if owner == f.owner {
		out.Outcome = control.PlanStays
	}
	out.NextOwner, _ = best(f.seen(owner, true))
	return out
}

func (f *future) nobody(why, until string) control.PlanGroup {
	return control.PlanGroup{Name: f.s.Group.Name, Owner: f.owner, Outcome: control.PlanNobody, Reason: why, Gap: until, GapMs: control.GapOpen}
}
