package controltest

import (
	"time"

	"github.com/hbagent/hbagent/internal/control"
)

// Now is when every fixture was taken.
var Now = time.Date(2026, 3, 14, 3, 4, 5, 0, time.UTC)

// Cases names the situations below, each from a healthy cluster on.
var Cases = map[string]func() control.Status{
	"all-well":       AllWell,
	"node-down":      NodeDown,
	"other-key":      OtherKey,
	"check-failing":  CheckFailing,
	"no-owner":       NoOwner,
	"minority":       Minority,
	"config-differs": ConfigDiffers,
	"maintenance":    Maintenance,
	"starting":       Starting,
	"draining":       Draining,
	"templates":      Templates,
}

// OtherKey: web2 has another gossip key, and goes on trying.
func OtherKey() control.Status {
	s := NodeDown()
	for i := range s.Nodes {
		if n := &s.Nodes[i]; !n.Alive {
			n.Unreadable, n.UnreadableAt = 217, Now.Add(-2*time.Second)
		}
	}
	return s
}

// AllWell is a healthy cluster: two web servers, a database server that only votes on `web`.
func AllWell() control.Status {
	day := Now.Add(-26 * time.Hour)
	check := func(name string) control.Check {
		return control.Check{Name: name, Type: name, Status: control.CheckPassing, Required: true, Message: "ok", Since: day}
	}
	return control.Status{
		Cluster: "shop", Node: "web1", At: Now, ConfigHash: "3f9ac1d2e4b5", Warnings: []string{},
		Quorum: control.Quorum{Voters: 3, Needed: 2, Seen: 3, Complete: true},
		Groups: []control.Group{{
			Name: "web", Owner: "web1", State: control.StateActive, Epoch: 1773371045, Since: day,
			Addresses: []string{"10.0.0.50/24", "fd00::50/64"}, Interface: "eth0", Holding: []string{"10.0.0.50", "fd00::50"},
			Lease:  control.Lease{TTLMs: 1000, LeftMs: 812, Valid: true},
			Reason: "first by preference when the lease was free", NextOwner: "web2",
		}, {
			Name: "db", Owner: "db1", State: control.StateActive, Epoch: 1773371046, Since: Now.Add(-3*time.Hour - 12*time.Minute),
			Addresses: []string{"10.0.0.60/24"}, Interface: "eth0", Holding: []string{},
			Lease:  control.Lease{TTLMs: 1000, LeftMs: 640, Valid: true},
			Reason: "switchover from web2", Moves: 1, NextOwner: "web2",
		}},
		Nodes: []control.Node{{
			Name: "web1", Address: "10.0.0.11", Self: true, Voter: true, Alive: true, Since: day, Version: "0.4.0",
			ConfigHash: "3f9ac1d2e4b5", Checks: []control.Check{check("apache")}, Templates: []control.Template{},
			Groups: map[string]control.NodeGroup{"web": {State: control.StateActive, Eligible: true, Epoch: 1773371045, Since: day}},
		}, {
			Name: "web2", Address: "10.0.0.12", Voter: true, Alive: true, Since: day, Version: "0.4.0",
			ConfigHash: "3f9ac1d2e4b5", RTTMs: 0.31, Checks: []control.Check{check("apache"), check("mysql")}, Templates: []control.Template{},
			Groups: map[string]control.NodeGroup{
				"web": {State: control.StateStandby, Eligible: true, Since: day},
				"db":  {State: control.StateStandby, Eligible: true, Since: day},
			},
		}, {
			Name: "db1", Address: "10.0.0.13", Voter: true, Alive: true, Since: day, Version: "0.4.0",
			ConfigHash: "3f9ac1d2e4b5", RTTMs: 0.27, Checks: []control.Check{check("mysql")}, Templates: []control.Template{},
			Groups: map[string]control.NodeGroup{"db": {State: control.StateActive, Eligible: true, Epoch: 1773371046, Since: Now.Add(-3*time.Hour - 12*time.Minute)}},
		}},
	}
}

// NodeDown: web1 died, web2 took `web` over.
func NodeDown() control.Status {
	s := AllWell()
	s.Node = "web2"
	s.Quorum.Seen, s.Quorum.Complete = 2, false
	s.Groups[0].Owner, s.Groups[0].NextOwner, s.Groups[0].Moves = "web2", "", 1
	s.Groups[0].Since, s.Groups[0].Reason = Now.Add(-94*time.Second), "web1 was not heard for 1s"
	s.Groups[1].Holding = []string{}
	s.Nodes[0].Self, s.Nodes[0].Alive, s.Nodes[0].Since = false, false, Now.Add(-95*time.Second)
	s.Nodes[1].Self, s.Nodes[1].RTTMs = true, 0
	s.Nodes[1].Groups["web"] = control.NodeGroup{State: control.StateActive, Eligible: true, Epoch: 1773457300, Since: Now.Add(-94 * time.Second)}
	return s
}

// CheckFailing: apache fails on the standby.
func CheckFailing() control.Status {
	s := AllWell()
	since := Now.Add(-7 * time.Minute)
	s.Nodes[1].Checks[0].Status = control.CheckFailing
	s.Nodes[1].Checks[0].Message = `HTTP 503 from http://127.0.0.1/ ("Service Unavailable"), expected 200`
	s.Nodes[1].Checks[0].Since = since
	s.Nodes[1].Groups["web"] = control.NodeGroup{State: control.StateFault, Reason: "check apache fails", Since: since}
	s.Groups[0].NextOwner = ""
	return s
}

// NoOwner: apache fails on both web servers, so nobody may own `web`.
func NoOwner() control.Status {
	s := CheckFailing()
	since := Now.Add(-2 * time.Minute)
	s.Nodes[0].Checks[0].Status = control.CheckFailing
	s.Nodes[0].Checks[0].Message = "connect 127.0.0.1:80: connection refused"
	s.Nodes[0].Checks[0].Since = since
	s.Nodes[0].Groups["web"] = control.NodeGroup{State: control.StateFault, Reason: "check apache fails", Since: since}
	g := &s.Groups[0]
	g.Owner, g.State, g.Since, g.Holding = "", control.StateFault, since, []string{}
	g.Lease = control.Lease{TTLMs: 1000}
	g.Reason = "no node is eligible"
	return s
}

// Minority: web1 answers, and hears nobody.
func Minority() control.Status {
	s := AllWell()
	since := Now.Add(-40 * time.Second)
	s.Quorum.Seen, s.Quorum.Complete = 1, false
	for i := range s.Groups {
		g := &s.Groups[i]
		g.Owner, g.State, g.Since, g.NextOwner, g.Holding = "", control.StateUnowned, since, "", []string{}
		g.Lease = control.Lease{TTLMs: 1000}
		g.Reason = "no majority answers"
	}
	s.Nodes[0].Groups["web"] = control.NodeGroup{State: control.StateStandby, Reason: "no majority answers", Since: since}
	s.Nodes[1].Alive, s.Nodes[1].Since = false, since
	s.Nodes[2].Alive, s.Nodes[2].Since = false, since
	return s
}

// ConfigDiffers: somebody forgot db1, which is also older.
func ConfigDiffers() control.Status {
	s := AllWell()
	s.Nodes[2].ConfigHash, s.Nodes[2].Version = "99aa88bb77cc", "0.3.2"
	return s
}

// Maintenance: web2 was told to stay off.
func Maintenance() control.Status {
	s := AllWell()
	s.Nodes[1].Maintenance = "kernel update"
	s.Nodes[1].Checks[0].Status, s.Nodes[1].Checks[0].Message = control.CheckFailing, "connect 127.0.0.1:80: connection refused"
	for _, g := range []string{"web", "db"} {
		s.Nodes[1].Groups[g] = control.NodeGroup{State: control.StateMaintenance, Reason: "maintenance: kernel update", Since: Now.Add(-time.Hour)}
	}
	return s
}

// Starting: the first agent of a cluster has just come up.
func Starting() control.Status {
	s := Minority()
	s.Warnings = []string{"no promises of an earlier run: this voter grants nothing for another 0.6 s"}
	for i := range s.Nodes {
		s.Nodes[i].Checks[0].Status, s.Nodes[i].Checks[0].Message = control.CheckPending, ""
	}
	for i := range s.Nodes[1:] {
		n := &s.Nodes[i+1]
		*n = control.Node{Name: n.Name, Address: n.Address, Voter: true, Checks: []control.Check{}, Templates: []control.Template{}, Groups: map[string]control.NodeGroup{}}
	}
	return s
}

// Draining: `web` moved to web2 a moment ago, web1 finishes its connections.
func Draining() control.Status {
	s := AllWell()
	g := &s.Groups[0]
	g.Owner, g.Since, g.Reason, g.Moves, g.NextOwner = "web2", Now.Add(-8*time.Second), "switchover from web1", 1, "web1"
	s.Nodes[0].Groups["web"] = control.NodeGroup{State: control.StateDraining, Eligible: true, Reason: "14 connections left, 22 s at most", Since: g.Since}
	s.Nodes[1].Groups["web"] = control.NodeGroup{State: control.StateActive, Eligible: true, Epoch: g.Epoch + 1, Since: g.Since}
	return s
}

// Templates: the upstreams of one proxy are refused by its nginx, and the pool of the other waits for a cache.
func Templates() control.Status {
	s := AllWell()
	at := func(d time.Duration) time.Time { return Now.Add(-d) }
	s.Nodes[0].Templates = []control.Template{
		{Name: "upstreams", File: "/var/lib/hbagent/templates/upstreams.conf", Status: control.TemplateFailing, Since: at(3 * time.Minute),
			Message: `check refuses it: nginx: exit status 1: nginx: [emerg] unknown directive "sever" in /var/lib/hbagent/templates/upstreams.conf:2`},
	}
	s.Nodes[1].Templates = []control.Template{
		{Name: "upstreams", File: "/var/lib/hbagent/templates/upstreams.conf", Status: control.TemplateCurrent, Since: at(time.Hour), Changed: at(time.Hour)},
		{Name: "pool", File: "/var/lib/hbagent/templates/pool.php", Status: control.TemplateHeld, Message: "no node passes check memcached", Since: at(time.Minute)},
	}
	return s
}
