package agent

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/role"
	"github.com/hbagent/hbagent/pkg/cluster"
)

// status fills what `hbagent status` shows. It runs in the loop and only reads.
func (l *loop) status() control.Status {
	s := control.Status{
		Cluster: l.cfg.Cluster.Name, Node: l.node, At: time.Now(), ConfigHash: l.cfg.Hash, Gate: l.gate,
		Quorum: l.quorum(), Warnings: l.warnings(),
	}
	for _, name := range l.order {
		s.Groups = append(s.Groups, l.groupStatus(name))
	}
	rtt, sights := l.net.RTT(), l.net.KeySights()
	for _, n := range l.cfg.Nodes {
		node := l.nodeStatus(n, rtt[n.Name])
		node.Unreadable, node.UnreadableAt = sights[n.Name].Unreadable, sights[n.Name].UnreadableAt
		s.Nodes = append(s.Nodes, node)
	}
	return s
}

func (l *loop) warnings() []string {
	var out []string
	for _, w := range l.cfg.Warnings {
		out = append(out, w.Message)
	}
	if why := l.voterWarning(); why != "" {
		out = append(out, why)
	}
	if p := l.history.problem(); p != "" {
		out = append(out, p)
	}
	out = append(out, l.keyWarnings()...)
	if l.pageProblems != nil {
		out = append(out, l.pageProblems()...)
	}
	return out
}

func (l *loop) quorum() control.Quorum {
	needed, voters := l.machine.Quorum()
	q := control.Quorum{Voters: voters, Needed: needed}
	var missing []string
	for _, v := range l.voters.voters {
		if p := l.peers[v]; v == l.node || p != nil && p.alive {
			q.Seen++
		} else {
			missing = append(missing, v)
		}
	}
	q.Complete = len(missing) == 0
	switch {
	case len(missing) > 0 && q.Seen < needed:
		q.Detail = fmt.Sprintf("no majority: %s not heard", strings.Join(missing, ", "))
	case len(missing) > 0:
		q.Detail = fmt.Sprintf("%s not heard", strings.Join(missing, ", "))
	}
	if left := l.machine.Quarantine(l.now().Boot); left > 0 {
		q.Detail = join(q.Detail, "this node's vote waits for one ttl after the start")
	}
	if witnessed(l.cfg, l.voters) && !l.lateWitness {
		q.Detail = join(q.Detail, "two machines: the witness "+l.cfg.Lease.Witness.String()+" decides, which is weaker than three voters")
	}
	return q
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

func (l *loop) groupStatus(name string) control.Group {
	g := l.groups[name]
	now := l.now().Boot
	v, _ := l.machine.Group(now, name)
	out := control.Group{
		Name: name, Owner: g.owner, Epoch: g.ownerEpoch, Since: g.ownerSince, Interface: g.iface,
		Lease: control.Lease{TTLMs: l.ttl.Milliseconds()},
		Moves: int64(g.recentMoves(time.Now())), State: control.StateUnowned,
		Holding: []string{},
	}
	for _, a := range g.cfg.Addresses {
		out.Addresses = append(out.Addresses, a.String())
	}
	switch {
	case g.open:
		out.State, out.Reason = control.StateActive, g.reason()
		out.Lease.LeftMs = max(v.Until.Sub(now).Milliseconds(), 0)
		out.Lease.Valid = out.Lease.LeftMs > 0
	case g.owner != "":
		out.State = control.StateActive
		out.Interface = g.cfg.InterfaceOn(g.owner)
		if s, ok := l.peers[g.owner].groupState(name); ok {
			out.Reason = s.Reason
		}
		out.Lease.LeftMs = max(v.HolderLeft.Milliseconds(), 0)
		out.Lease.Valid = true
	default:
		out.State, out.Reason = l.unowned(g)
	}
	out.NextOwner = l.nextOwner(name, g)
	return out
}

// unowned says why nobody owns a group.
func (l *loop) unowned(g *groupRun) (control.State, string) {
	state := control.StateUnowned
	var reasons []string
	for _, n := range g.cfg.Nodes {
		s, why := g.state, g.reason()
		if n != l.node {
			p := l.peers[n]
			gs, ok := p.groupState(g.cfg.Name)
			switch {
			case !p.alive:
				s, why = "", "down"
			case !ok:
				s, why = "", "has not told anything yet"
			default:
				s, why = control.State(gs.State), gs.Reason
			}
		}
		switch {
		case s == control.StateAcquiring:
			state = s
		case s == control.StateFault && state == control.StateUnowned:
			state = s
		}
		if why != "" {
			reasons = append(reasons, n+": "+why)
		}
	}
	if q := l.quorum(); q.Seen < q.Needed {
		reasons = append(reasons, q.Detail)
	}
	return state, strings.Join(reasons, "; ")
}

func (l *loop) nextOwner(name string, g *groupRun) string {
	for _, n := range g.cfg.Nodes {
		if n == g.owner {
			continue
		}
		if n == l.node {
			if g.fitness.Eligible {
				return n
			}
			continue
		}
		if p := l.peers[n]; p.alive && p.fit[name].Eligible {
			return n
		}
	}
	return ""
}

func (l *loop) nodeStatus(n config.Node, rtt time.Duration) control.Node {
	out := control.Node{Name: n.Name, Address: n.Address.String(), Voter: l.voters.has(n.Name), Checks: []control.Check{}, Templates: []control.Template{}, Groups: map[string]control.NodeGroup{}}
	if n.Name == l.node {
		out.Self, out.Alive, out.Since = true, true, l.started
		out.Version, out.ConfigHash, out.Maintenance, out.Keys = l.version, l.cfg.Hash, l.maintenance, nodeKeys(l.keys.state())
		for _, c := range l.cfg.ChecksFor(n.Name) {
			st := l.checks[c.Name]
			out.Checks = append(out.Checks, control.Check{
				Name: c.Name, Type: c.Type, Status: control.CheckStatus(st.Status.String()), Required: c.Required, Message: st.Message, Since: st.Since,
			})
		}
		for _, t := range l.templateStates() {
			out.Templates = append(out.Templates, templateStatus(t))
		}
		for _, name := range l.order {
			g := l.groups[name]
			if g.iface == "" {
				continue
			}
			ng := control.NodeGroup{State: g.state, Eligible: g.fitness.Eligible, Reason: g.reason(), Epoch: g.epoch, Since: g.since}
			if d := g.drain; d != nil {
				ng.Draining = &control.Draining{Connections: d.open, LeftMs: d.left.Milliseconds()}
			}
			if g.role != nil {
				ng.Service = service(g.role.seen)
			}
			out.Groups[name] = ng
		}
		return out
	}
	p := l.peers[n.Name]
	out.Alive, out.Since = p.alive, p.since
	if p.alive {
		out.RTTMs = float64(rtt.Microseconds()) / 1000
	}
	if p.known {
		fromPeer(&out, p.state)
		for name, o := range p.services {
			if ng, ok := out.Groups[name]; ok {
				ng.Service = service(o)
				out.Groups[name] = ng
			}
		}
	}
	return out
}

// service is what a role has seen, for people and programs.
func service(o role.Observation) *control.Service {
	return &control.Service{
		At: o.At, Version: o.Version, Down: o.Down, Writable: o.Writable, Following: o.Following, Connected: o.Connected,
		LagMs: o.LagMs, Position: o.Position, Broken: o.Broken, Diverged: o.Diverged, SemiSync: o.SemiSync, Warning: o.Warning,
	}
}

// fromPeer copies what a peer has told. Of a peer that is down it is the last
// word, and status says that it is down.
func fromPeer(out *control.Node, s cluster.NodeState) {
	out.Version, out.ConfigHash, out.Maintenance, out.Keys = s.Version, s.ConfigHash, s.Maintenance, nodeKeys(s.Keys)
	for _, c := range s.Checks {
		out.Checks = append(out.Checks, control.Check{
			Name: c.Name, Type: c.Type, Status: control.CheckStatus(c.Status), Required: c.Required, Message: c.Message, Since: c.Since,
		})
	}
	for _, t := range s.Templates {
		out.Templates = append(out.Templates, templateStatus(t))
	}
	for _, g := range s.Groups {
		ng := control.NodeGroup{State: control.State(g.State), Eligible: g.Eligible, Reason: g.Reason, Epoch: g.Epoch, Since: g.Since}
		if ng.State == control.StateDraining {
			ng.Draining = &control.Draining{Connections: g.Connections, LeftMs: g.DrainLeftMs}
		}
		out.Groups[g.Name] = ng
	}
}

func templateStatus(t cluster.TemplateState) control.Template {
	return control.Template{
		Name: t.Name, File: t.File, Status: control.TemplateStatus(t.Status), Message: t.Message, Since: t.Since, Changed: t.Changed,
	}
}

// Status implements control.Agent.
func (a *api) Status(ctx context.Context) (s control.Status, err error) {
	if err = a.loop.do(ctx, func() { s = a.loop.status() }); err != nil {
		return s, err
	}
	// The kernel is asked outside the loop: a long list must not hold it up.
	names := make([]string, len(s.Groups))
	for i := range s.Groups {
		names[i] = s.Groups[i].Name
	}
	holding := a.loop.addrs.Holding(names...)
	for i := range s.Groups {
		for _, addr := range holding[s.Groups[i].Name] {
			s.Groups[i].Holding = append(s.Groups[i].Holding, addr.String())
		}
	}
	return s, nil
}
