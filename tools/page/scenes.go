package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/control/controltest"
	"github.com/hbagent/hbagent/internal/web"
)

// A scene is a scripted agent: a small shop in one of its moods, behind the page's real server. Safe for
// concurrent use.
type scene struct {
	mu     sync.Mutex
	status control.Status
	events []control.Event
	leases []web.LeaseHealth
	err    error
	subs   []chan control.Event
}

// newScene takes a status of controltest, moved to this moment.
func newScene(s control.Status) *scene {
	return &scene{status: moved(s, time.Since(controltest.Now)), events: history(), leases: leases(s)}
}

// set changes what the agent says from now on, and tells of it.
func (a *scene) set(edit func(*scene), e control.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	edit(a)
	e.At, e.Node = time.Now(), a.status.Node
	a.events = append(a.events, e)
	for _, ch := range a.subs {
		select {
		case ch <- e:
		default:
		}
	}
}

func (a *scene) Status(context.Context) (control.Status, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.status
	s.At = time.Now()
	s.Groups, s.Nodes = slices.Clone(s.Groups), slices.Clone(s.Nodes)
	return s, a.err
}

func (a *scene) Events(_ context.Context, q control.EventQuery) (control.History, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return control.History{Events: slices.Clone(a.events[len(a.events)-min(q.Max, len(a.events)):])}, nil
}

func (a *scene) Subscribe(context.Context) (<-chan control.Event, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ch := make(chan control.Event, 16)
	a.subs = append(a.subs, ch)
	return ch, nil
}

func (a *scene) Leases(context.Context) ([]web.LeaseHealth, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.leases), nil
}

// moved shifts every time of a fixture.
func moved(s control.Status, by time.Duration) control.Status {
	shift := func(t *time.Time) {
		if !t.IsZero() {
			*t = t.Add(by)
		}
	}
	shift(&s.At)
	s.Groups, s.Nodes = slices.Clone(s.Groups), slices.Clone(s.Nodes)
	for i := range s.Groups {
		shift(&s.Groups[i].Since)
	}
	for i := range s.Nodes {
		n := &s.Nodes[i]
		shift(&n.Since)
		n.Checks = slices.Clone(n.Checks)
		for j := range n.Checks {
			shift(&n.Checks[j].Since)
		}
		groups := make(map[string]control.NodeGroup)
		for name, g := range n.Groups {
			shift(&g.Since)
			groups[name] = g
		}
		n.Groups = groups
	}
	return s
}

// history is what such a shop has seen in some days, oldest first.
func history() []control.Event {
	now := time.Now()
	at := func(ago time.Duration, e control.Event) control.Event {
		e.At, e.Node = now.Add(-ago), "web1"
		return e
	}
	return []control.Event{
		at(50*time.Hour, control.Event{Kind: "agent", Reason: "started", Detail: "version 0.4.0"}),
		at(50*time.Hour-time.Second, control.Event{Kind: "node", Subject: "db1", To: "up", Reason: "joined"}),
		at(49*time.Hour, control.Event{Kind: "owner", Group: "web", To: "web2", Reason: "nobody had it", Detail: "start"}),
		at(49*time.Hour, control.Event{Kind: "state", Group: "web", From: "standby", To: "active"}),
		at(27*time.Hour, control.Event{Kind: "check", Subject: "apache", From: "passing", To: "failing", Reason: "connect 127.0.0.1:80: connection refused"}),
		at(26*time.Hour, control.Event{Kind: "owner", Group: "web", From: "web2", To: "web1", Reason: "check apache fails: connection refused at 127.0.0.1", Detail: "health"}),
		at(26*time.Hour-8*time.Minute, control.Event{Kind: "check", Subject: "apache", From: "failing", To: "passing", Reason: "HTTP 200 in 2 ms"}),
		at(5*time.Hour, control.Event{Kind: "maintenance", Subject: "db1", To: "on", Reason: "kernel update"}),
		at(5*time.Hour-2*time.Second, control.Event{Kind: "owner", Group: "db", From: "db1", To: "web2", Reason: "maintenance: kernel update", Detail: "maintenance"}),
		at(5*time.Hour-4*time.Minute, control.Event{Kind: "node", Subject: "db1", From: "up", To: "down", Reason: "left"}),
		at(5*time.Hour-5*time.Minute, control.Event{Kind: "node", Subject: "db1", From: "down", To: "up", Reason: "joined"}),
		at(4*time.Hour, control.Event{Kind: "maintenance", Subject: "db1", To: "off", Reason: "it may own groups again"}),
		at(3*time.Hour+12*time.Minute, control.Event{Kind: "owner", Group: "db", From: "web2", To: "db1", Reason: "asked for on db1", Detail: "switchover"}),
	}
}

// leases draws a calm lease with a little noise, the same for each run.
func leases(s control.Status) []web.LeaseHealth {
	noise := rand.New(rand.NewPCG(1, 2))
	var out []web.LeaseHealth
	for _, g := range s.Groups {
		h := web.LeaseHealth{Group: g.Name, TTL: time.Second, Step: 2 * time.Second}
		for i := range 150 {
			low := 690 - int32(noise.IntN(18))
			if noise.IntN(24) == 0 {
				low -= int32(noise.IntN(180))
			}
			if g.Owner == "" && i > 90 {
				low = 0
			}
			h.LowMs = append(h.LowMs, low)
		}
		out = append(out, h)
	}
	return out
}
