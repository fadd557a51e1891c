package control

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Severity is how bad a status is. Its numbers are the exit codes of `hbagent status`, which are those
// of the Monitoring Plugins (OK, WARNING, CRITICAL, UNKNOWN).
type Severity int

// The severities.
const (
	SeverityOK       Severity = 0
	SeverityDegraded Severity = 1 // served, but something needs a look
	SeverityNoOwner  Severity = 2 // a group is owned by nobody
	SeverityUnknown  Severity = 3 // the agent cannot be asked
)

// String returns the word that starts the verdict.
func (s Severity) String() string {
	switch s {
	case SeverityOK:
		return "all well"
	case SeverityDegraded:
		return "degraded"
	case SeverityNoOwner:
		return "no owner"
	case SeverityUnknown:
		return "unknown"
	}
	panic(fmt.Sprintf("control: severity %d does not exist", int(s)))
}

// Problem is one thing that is not well, in words.
type Problem struct {
	Severity Severity
	Text     string    // a sentence without full stop: "db1 is down"
	Detail   string    // why; may be empty
	Since    time.Time // zero: not known
	Hint     string    // what to do or where to look; may be empty
}

// String returns the problem with its detail.
func (p Problem) String() string {
	if p.Detail == "" {
		return p.Text
	}
	return p.Text + ": " + p.Detail
}

// Severity returns the worst of the problems.
func (s Status) Severity() Severity {
	worst := SeverityOK
	for _, p := range s.Problems() {
		worst = max(worst, p.Severity)
	}
	return worst
}

// Problems returns everything that is not well, worst first, and among equals causes before effects:
// nodes, then quorum, then checks, then templates, then config.
func (s Status) Problems() []Problem {
	var ps []Problem
	ps = append(ps, s.unowned()...)
	ps = append(ps, s.nodesOff()...)
	ps = append(ps, s.quorumLack()...)
	ps = append(ps, s.failing()...)
	ps = append(ps, s.templates()...)
	ps = append(ps, s.configDiffers()...)
	slices.SortStableFunc(ps, func(a, b Problem) int { return int(b.Severity) - int(a.Severity) })
	return ps
}

func (s Status) unowned() []Problem {
	var ps []Problem
	for _, g := range s.Groups {
		if g.Owner != "" {
			continue
		}
		p := Problem{Severity: SeverityNoOwner, Text: g.Name + " has no owner", Detail: g.Reason, Since: g.Since}
		if s.Quorum.Seen >= s.Quorum.Needed { // else quorumLack has the hint, once for all groups
			p.Hint = fmt.Sprintf("`hbagent status %s` says for each node why it may not own it", g.Name)
		}
		ps = append(ps, p)
	}
	return ps
}

func (s Status) nodesOff() []Problem {
	var ps []Problem
	for _, n := range s.Nodes {
		p := Problem{Severity: SeverityDegraded, Since: n.Since}
		look := fmt.Sprintf("on %s (%s): systemctl status hbagent", n.Name, n.Address)
		switch {
		case s.OtherKey(n):
			p.Text = n.Name + " has another gossip key"
			p.Detail = "what it sends cannot be decrypted here"
			p.Hint = fmt.Sprintf("on a node that works: hbagent key write; copy its key file to %s (%s), then there: hbagent reload", n.Name, n.Address)
		case !n.Alive && n.Since.IsZero():
			p.Text, p.Hint = n.Name+" has not been heard yet", look
		case !n.Alive:
			p.Text, p.Hint = n.Name+" is down", "is the machine up? "+look
		case n.Maintenance != "":
			p.Text, p.Detail, p.Since = n.Name+" is in maintenance", n.Maintenance, time.Time{}
		default:
			continue
		}
		ps = append(ps, p)
	}
	return ps
}

// otherKeyFor is how long after a packet that could not be decrypted a node that is not heard counts as having
// another key. Chosen by us: it tries again every 5 s.
const otherKeyFor = 30 * time.Second

// OtherKey reports whether a node is not heard because it has another gossip key.
func (s Status) OtherKey(n Node) bool {
	return !n.Alive && !n.UnreadableAt.IsZero() && s.At.Sub(n.UnreadableAt) < otherKeyFor
}

// quorumLack stays silent about a missing voter that is listed as down already, unless so many are
// missing that nothing can be decided any more.
func (s Status) quorumLack() []Problem {
	q := s.Quorum
	p := Problem{Severity: SeverityDegraded, Detail: q.Detail}
	switch {
	case q.Seen < q.Needed:
		p.Text = fmt.Sprintf("no quorum: %s hears %d of %d voters and needs %d", s.Node, q.Seen, q.Voters, q.Needed)
		p.Hint = s.Node + " can take nothing over; if the others live, they may own the groups: ask there"
	case q.Complete, slices.ContainsFunc(s.Nodes, func(n Node) bool { return n.Voter && !n.Alive }):
		return nil
	default:
		p.Text = fmt.Sprintf("quorum incomplete: %s hears %d of %d voters", s.Node, q.Seen, q.Voters)
	}
	return []Problem{p}
}

// failing lists the checks that fail and the groups in fault for another cause. What a node in
// maintenance or a dead one last said about its checks is no news.
func (s Status) failing() []Problem {
	var ps []Problem
	for _, n := range s.Nodes {
		if !n.Judged() {
			continue
		}
		required := false
		for _, c := range n.Checks {
			if c.Status != CheckFailing {
				continue
			}
			required = required || c.Required
			ps = append(ps, Problem{
				Severity: SeverityDegraded,
				Text:     fmt.Sprintf("check %s fails on %s", c.Name, n.Name), Detail: c.Message, Since: c.Since,
				Hint: fmt.Sprintf("on %s: hbagent check %s", n.Name, c.Name),
			})
		}
		if required {
			continue // it explains the fault
		}
		for _, name := range slices.Sorted(maps.Keys(n.Groups)) {
			g := n.Groups[name]
			switch {
			case g.State == StateFault:
				ps = append(ps, Problem{
					Severity: SeverityDegraded,
					Text:     fmt.Sprintf("%s is in fault on %s", name, n.Name), Detail: g.Reason, Since: g.Since,
				})
			case g.Service != nil && g.State == StateStandby && !g.Eligible:
				ps = append(ps, Problem{
					Severity: SeverityDegraded,
					Text:     fmt.Sprintf("%s could not take over %s", n.Name, name), Detail: g.Reason,
				})
			}
		}
	}
	return ps
}

// templates lists the files that cannot follow the cluster. One that stays as it is for a reason is none of
// them: the reason is a problem of its own.
func (s Status) templates() []Problem {
	var ps []Problem
	for _, n := range s.Nodes {
		for _, t := range n.Templates {
			if n.Alive && t.Status == TemplateFailing {
				ps = append(ps, Problem{
					Severity: SeverityDegraded, Text: fmt.Sprintf("template %s fails on %s", t.Name, n.Name), Detail: t.Message, Since: t.Since,
					Hint: fmt.Sprintf("on %s: hbagent template %s --dry-run, and `hbagent events` has all that was said", n.Name, t.Name),
				})
			}
		}
	}
	return ps
}

// Judged reports whether a failing check on the node is a problem: the node lives and is expected to work.
func (n Node) Judged() bool { return n.Alive && n.Maintenance == "" }

func (s Status) configDiffers() []Problem {
	var names []string
	for _, n := range s.Nodes {
		if s.Differs(n) {
			names = append(names, n.Name)
		}
	}
	if names == nil {
		return nil
	}
	return []Problem{{
		Severity: SeverityDegraded,
		Text:     fmt.Sprintf("config on %s differs from %s's", strings.Join(names, ", "), s.Node),
		Hint:     "put the same file on every node, then `hbagent reload` on each",
	}}
}

// Differs reports whether a living node runs with another config than the answering one.
func (s Status) Differs(n Node) bool {
	return n.Alive && n.ConfigHash != "" && n.ConfigHash != s.ConfigHash
}
