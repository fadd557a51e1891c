package keepalived

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/draft"
)

// A converter makes groups, and the checks that they share.
type converter struct {
	draft  *draft.Draft
	checks map[string]*madeCheck // by name
	order  []string
}

// A madeCheck is a check, and who tracks it.
type madeCheck struct {
	draft.Check
	from  string // what it was made of, to tell two of one name apart
	moves bool
}

// Given by internal/config.
const maxHold = 24 * time.Hour

func (c *converter) group(g *group) {
	out := draft.Group{Name: g.name, NodesWhy: "in order of priority"}
	for _, p := range g.addresses {
		if why := c.refused(func(d *draft.Draft) { d.Groups[0].Addresses = []string{p.String()} }); why != "" {
			g.members[0].m.note(g.members[0].b.pos, "%s: left away: %s", p, why)
			continue
		}
		out.Addresses = append(out.Addresses, p.String())
	}
	if len(out.Addresses) == 0 {
		return
	}
	devs := map[string]string{}
	for _, m := range g.members {
		out.Comment = append(out.Comment, fmt.Sprintf("%s, %s: %s, priority %d", m.b.name, m.b.pos, state(m.b.first), m.b.first.priority))
		out.Nodes = append(out.Nodes, m.m.name)
		devs[m.m.name] = m.b.dev
	}
	c.peers(g, &out, devs)
	if len(out.Nodes) == 1 {
		g.members[0].m.note(g.members[0].b.pos, "%s is on this machine only: give the files of the others, too, or add those that may own it to nodes", g.members[0].b.name)
	}
	c.interfaces(g, &out, devs)
	best := g.members[0]
	first := best.b.first
	out.Failback = !first.nopreempt || first.master
	if first.nopreempt && first.master {
		best.m.note(first.pos, "nopreempt has no effect with state MASTER: the address returns (failback = true)")
	}
	if first.preemptDelay > 0 && out.Failback {
		out.Hold = bounded(first.preemptDelay.Round(time.Millisecond), 0, maxHold, func(d time.Duration) { best.m.note(first.pos, "preempt_delay: taken as %s", d) })
	}
	c.tracks(g, &out)
	c.hooks(g, &out)
	c.draft.Groups = append(c.draft.Groups, out)
}

// refused asks internal/config about one thing in an otherwise good config: "" if it may stand there.
func (c *converter) refused(put func(*draft.Draft)) string {
	d := draft.Draft{Cluster: "x", KeyFile: "/x", Nodes: c.draft.Nodes,
		Groups: []draft.Group{{Name: "x", Addresses: []string{"198.51.100.77/24"}, Interface: "x", Nodes: []string{c.draft.Nodes[0].Name}}}}
	put(&d)
	_, err := d.Parsed("")
	var problems config.Problems
	if errors.As(err, &problems) {
		return problems[0].Message
	}
	return ""
}

func state(i *instance) string {
	if i.master {
		return "state MASTER"
	}
	return "state BACKUP"
}

// peers adds the machines whose files are not there: they may own the group too, in an order that is a guess.
func (c *converter) peers(g *group, out *draft.Group, devs map[string]string) {
	dev := g.members[0].b.dev
	var others []string
	for _, n := range c.draft.Nodes {
		for _, m := range g.members {
			for _, p := range m.b.first.peers {
				if n.Address == p.String() && !slices.Contains(out.Nodes, n.Name) && !slices.Contains(others, n.Name) {
					others = append(others, n.Name)
					devs[n.Name] = dev
				}
			}
		}
	}
	if len(others) == 0 {
		return
	}
	m := g.members[len(g.members)-1]
	m.m.note(m.b.pos, "the priority of %s is not in this file: the order is a guess; give their files, too", strings.Join(others, ", "))
	out.NodesWhy = "the order is a guess: see the end"
	if len(g.members) == 1 && !m.b.first.master {
		out.Nodes = append(others, out.Nodes...)
	} else {
		out.Nodes = append(out.Nodes, others...)
	}
}

func (c *converter) interfaces(g *group, out *draft.Group, devs map[string]string) {
	same := true
	for _, dev := range devs {
		same = same && dev == g.members[0].b.dev
	}
	for _, m := range g.members {
		why := "no interface is named"
		if dev := m.b.dev; dev != "" {
			why = c.refused(func(d *draft.Draft) { d.Groups[0].Interface = dev })
		}
		if why != "" {
			m.m.note(m.b.pos, "%s: %s: eth0 is a guess", m.b.name, why)
			devs[m.m.name] = "eth0"
		}
	}
	if same {
		out.Interface = devs[g.members[0].m.name]
	} else {
		out.Interfaces = devs
	}
}

// tracks makes checks of what the members track: what one tracks is checked on every node of the group.
func (c *converter) tracks(g *group, out *draft.Group) {
	best, next := g.priorities()
	seen := map[string]bool{}
	for _, m := range g.members {
		tracks := m.b.tracks
		if m.b.linkCheck && m.b.dev != "" {
			tracks = append(slices.Clone(tracks), track{pos: m.b.pos, kind: "interface", name: m.b.dev})
		}
		for _, t := range tracks {
			if seen[t.kind+" "+t.name] {
				continue
			}
			seen[t.kind+" "+t.name] = true
			check, weight, reversed, ok := c.tracked(m, t, out)
			if !ok {
				continue
			}
			r := react(weight, reversed, best, next)
			if t.synced && weight != 0 && r != reverse {
				m.m.note(t.pos, "track_%s %s: keepalived ignores what has a weight in a member of a sync group, so it is only shown; name it in checks of the group to let it move the address", t.kind, t.name)
				r = nothing
			} else if text := weightNote(r, weight, best, next); text != "" {
				m.m.note(t.pos, "track_%s %s: %s", t.kind, t.name, text)
			}
			if why := c.refused(func(d *draft.Draft) { d.Checks = []draft.Check{check} }); why != "" {
				m.m.note(t.pos, "track_%s %s: left away: %s", t.kind, t.name, why)
			} else if r != reverse {
				c.take(check, m, t, out, r != nothing)
			}
		}
	}
}

// tracked makes the check of one tracked thing.
func (c *converter) tracked(m member, t track, out *draft.Group) (check draft.Check, weight int, reversed, ok bool) {
	weight, reversed = t.weight, t.reverse
	switch t.kind {
	case "script":
		s := m.m.scripts[t.name]
		if s == nil {
			m.m.note(t.pos, "track_script %s: there is no vrrp_script of that name: left away", t.name)
			return check, 0, false, false
		}
		if !t.weighted {
			weight = s.weight
		}
		reversed = reversed != s.reverse
		check, ok = s.check(m.m)
		check.Name = groupName(t.name)
	case "process":
		p := m.m.processes[t.name]
		if p == nil || p.watch == "" {
			m.m.note(t.pos, "track_process %s: there is no process of that name: left away", t.name)
			return check, 0, false, false
		}
		if !t.weighted {
			weight = p.weight
		}
		unit := groupName(path.Base(p.watch)) + ".service"
		m.m.note(p.pos, "track_process %s: processes are not watched: it is a check of the unit %s instead; a check of the service itself tells more", t.name, unit)
		check = draft.Check{Name: groupName(t.name), Type: "systemd", Unit: unit, Interval: time.Second, Fall: 1, Rise: 1,
			Comment: []string{fmt.Sprintf("track_process %s, %s: %s", t.name, p.pos, p.watch)}}
		ok = true
	case "interface":
		if out.Interfaces != nil && t.name == out.Interfaces[m.m.name] {
			m.m.note(t.pos, "the interface of %s has another name on each machine: its cable is not checked (type = \"link\" wants one name); without its network a machine loses the majority, and lets go", out.Name)
			return check, 0, false, false
		}
		check = draft.Check{Name: "link-" + groupName(t.name), Type: "link", Interface: t.name,
			Comment: []string{"The interface is up and has a carrier: keepalived watches it."}}
		ok = true
	}
	return check, weight, reversed, ok
}

// take adds a check, or finds it: two machines, or two groups, track the same.
func (c *converter) take(check draft.Check, m member, t track, out *draft.Group, moves bool) {
	from := fmt.Sprint(check.Type, check.Unit, check.Address, check.Command, check.Interface)
	made := c.checks[check.Name]
	if made == nil {
		made = &madeCheck{Check: check, from: from}
		c.checks[check.Name] = made
		c.order = append(c.order, check.Name)
	} else if made.from != from {
		m.m.note(t.pos, "track_%s %s is another thing here than on the machines before: theirs is taken", t.kind, t.name)
	}
	for _, n := range out.Nodes {
		if !slices.Contains(made.Nodes, n) {
			made.Nodes = append(made.Nodes, n)
		}
	}
	if moves {
		made.moves = true
		out.Checks = append(out.Checks, check.Name)
	}
}

func (c *converter) finish() {
	for _, name := range c.order {
		made := c.checks[name]
		made.Optional = !made.moves
		c.draft.Checks = append(c.draft.Checks, made.Check)
	}
	for i, n := range c.draft.Nodes {
		owns := func(g draft.Group) bool { return slices.Contains(g.Nodes, n.Name) }
		if n.Comment == "" && !slices.ContainsFunc(c.draft.Groups, owns) {
			c.draft.Nodes[i].Comment = "votes, and owns nothing"
		}
	}
}

// hooks carries the notify scripts over that are one path. Those of the best machine count.
func (c *converter) hooks(g *group, out *draft.Group) {
	for keyword, list := range map[string]*[]string{"notify_master": &out.OnActive, "notify_backup": &out.OnStandby, "notify_fault": &out.OnFault} {
		for _, m := range g.members {
			h, ok := m.b.notify[keyword]
			if !ok {
				continue
			}
			bad := ""
			if len(h.command) == 1 {
				bad = c.refused(func(d *draft.Draft) { d.Groups[0].OnActive = h.command })
			}
			switch {
			case bad != "":
				m.m.note(h.pos, "%s: left away: %s", keyword, bad)
			case len(h.command) != 1 || !path.IsAbs(h.command[0]) || strings.ContainsRune(h.command[0], ' '):
				m.m.note(h.pos, "%s %s: a hook is one absolute path without arguments; it finds the group and the state in its environment (docs/hooks.md): write a script that calls it",
					keyword, strings.Join(h.command, " "))
			case len(*list) == 0:
				*list = []string{path.Clean(h.command[0])}
				m.m.note(h.pos, "%s: the hook runs as user hbagent in the agent's sandbox, without arguments: what needs root belongs into a unit that it triggers (docs/hooks.md)", keyword)
			case (*list)[0] != path.Clean(h.command[0]):
				m.m.note(h.pos, "%s: another script than on the machines before (%s): a hook has the same path everywhere", keyword, (*list)[0])
			}
		}
	}
	for _, m := range g.members {
		if h, ok := m.b.notify["notify"]; ok {
			m.m.note(h.pos, "notify %s: it wants the state as an argument; name it in on_active, on_standby and on_fault, and let it read $HBAGENT_STATE (docs/hooks.md)", strings.Join(h.command, " "))
		}
		if h, ok := m.b.notify["notify_stop"]; ok {
			m.m.note(h.pos, "notify_stop %s: a stop of the agent hands the address over, which runs on_standby", strings.Join(h.command, " "))
		}
	}
}
