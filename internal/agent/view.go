package agent

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/template"
	"github.com/hbagent/hbagent/pkg/cluster"
)

// view is the cluster as templates see it. It runs in the loop and only reads.
func (l *loop) view() template.View {
	q := l.quorum()
	v := template.View{Cluster: l.cfg.Cluster.Name, Self: l.node, Voters: q.Voters, Heard: q.Seen, Needed: q.Needed}
	for _, c := range l.cfg.Checks {
		v.Checks = append(v.Checks, c.Name)
	}
	slices.Sort(v.Checks)
	for _, n := range l.cfg.Nodes {
		v.Nodes = append(v.Nodes, l.viewOf(n.Name, n.Address))
	}
	slices.SortFunc(v.Nodes, func(a, b template.Node) int { return cmp.Compare(a.Name, b.Name) })
	for _, name := range l.order {
		g := l.groups[name]
		vg := template.Group{Name: name, Owner: g.owner}
		for _, p := range g.cfg.Addresses {
			vg.Addresses = append(vg.Addresses, p.Addr())
		}
		v.Groups = append(v.Groups, vg)
	}
	slices.SortFunc(v.Groups, func(a, b template.Group) int { return cmp.Compare(a.Name, b.Name) })
	v = v.After(l.lastView)
	v.Doubt = l.unsure()
	starting := time.Since(l.started) < template.StartPatience
	returning := v.Heard >= v.Needed && time.Since(l.contact.begin) < template.StartPatience
	if starting || returning {
		v.Waiting = notHeard(v)
	}
	return v
}

func (l *loop) viewOf(name string, address netip.Addr) template.Node {
	n := template.Node{Name: name, Address: address, Checks: make(map[string]template.Health)}
	for _, c := range l.cfg.ChecksFor(name) {
		n.Checks[c.Name] = template.Unknown
	}
	judge := func(check string, status control.CheckStatus) {
		if _, configured := n.Checks[check]; configured {
			n.Checks[check] = health(status)
		}
	}
	if name == l.node {
		n.Alive, n.Run, n.Maintenance = true, l.runID(), l.maintenance != ""
		for _, st := range l.checks {
			judge(st.Name, control.CheckStatus(st.Status.String()))
		}
		return n
	}
	p := l.peers[name]
	n.Alive = p.alive && p.known
	if p.known {
		n.Run, n.Maintenance = p.state.RunID, p.state.Maintenance != ""
		for _, c := range p.state.Checks {
			judge(c.Name, control.CheckStatus(c.Status))
		}
	}
	return n
}

func health(s control.CheckStatus) template.Health {
	switch s {
	case control.CheckPassing:
		return template.Passing
	case control.CheckFailing:
		return template.Failing
	}
	return template.Unknown
}

// notHeard names the nodes of which something is not known yet.
func notHeard(v template.View) (names []string) {
	for _, n := range v.Nodes {
		unknown := !n.Alive
		for _, h := range n.Checks {
			unknown = unknown || h == template.Unknown
		}
		if unknown {
			names = append(names, n.Name)
		}
	}
	return names
}

// showView hands the view to the templates if it has changed.
func (l *loop) showView() {
	if l.templates == nil {
		return // a test without any
	}
	if q := l.quorum(); q.Seen < q.Needed {
		l.contact.begin = time.Now() // at the earliest
	}
	if !l.templates.any() {
		return // nobody looks at it
	}
	if v := l.view(); !v.Equal(l.lastView) {
		l.lastView = v
		l.templates.show(v)
	}
}

// templateStates are what this node tells of its templates.
func (l *loop) templateStates() (out []cluster.TemplateState) {
	if l.templates == nil {
		return nil
	}
	for _, st := range l.templates.statuses() {
		out = append(out, cluster.TemplateState{
			Name: st.Name, File: st.File, Status: st.State.String(), Message: st.Message, Since: st.Since, Changed: st.Changed,
		})
	}
	return out
}
