package metrics

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/cluster"
	"github.com/hbagent/hbagent/pkg/lease"
	"github.com/hbagent/hbagent/pkg/vip"
)

// full is a Set of which every metric has a value: web1 owns web, drains mail for web2, and db1 is down.
func full(t testing.TB) *Set {
	t.Helper()
	s := New(Options{Version: "1.2.3", MoveReasons: []string{"health", "switchover"}, EventKinds: []string{"owner"}})
	s.Started(time.Unix(1700000000, 0))
	s.Configure([]string{"web", "mail"}, []string{"apache"})
	s.Read(Sources{
		State:     func(context.Context) (State, error) { return sampleState(), nil },
		Cluster:   sampleCluster,
		Addresses: func() vip.Stats { return vip.Stats{Announced: 21, AnnounceFailed: 1} },
	})
	return s
}

func sampleCluster() cluster.Stats {
	return cluster.Stats{
		PacketsIn: 1, PacketsOut: 2, BytesIn: 3, BytesOut: 4, StreamsIn: 5, StreamsOut: 6, LeasesIn: 7, LeasesOut: 8, Strangers: 9,
		StreamsRefused: 10, Problems: map[cluster.ProblemKind]uint64{cluster.WrongKey: 11},
	}
}

func sampleState() State {
	st := State{TTL: time.Second, Quarantine: 250 * time.Millisecond, Lease: lease.Stats{Rounds: 100, Grants: 299, Lapsed: 1, Superseded: 2}}
	st.Lease.Refusals[lease.ReasonHeld] = 3
	st.Lease.Rejected[lease.ReasonVoterChange] = 4 // not among those that begin at 0
	st.Status = control.Status{
		Cluster: "shop", Node: "web1", ConfigHash: "0123456789ab", Gate: "nft owner egress", Warnings: []string{"one"},
		Quorum: control.Quorum{Voters: 3, Needed: 2, Seen: 2},
		Groups: []control.Group{
			{Name: "web", Owner: "web1", Epoch: 1700000001, Lease: control.Lease{TTLMs: 1000, LeftMs: 700, Valid: true}},
			{Name: "mail", Owner: "web2", Epoch: 1700000002, Lease: control.Lease{TTLMs: 1000, LeftMs: 650, Valid: true}},
			{Name: "db", Epoch: 1700000003},
		},
		Nodes: []control.Node{
			{Name: "web1", Self: true, Alive: true, ConfigHash: "0123456789ab",
				Checks: []control.Check{
					{Name: "apache", Status: control.CheckPassing, Required: true},
					{Name: "disk", Status: control.CheckFailing},
				},
				Groups: map[string]control.NodeGroup{
					"web": {State: control.StateActive, Eligible: true},
					"mail": {State: control.StateDraining, Eligible: true,
						Draining: &control.Draining{Connections: 3, LeftMs: 12500}},
				}},
			{Name: "web2", Alive: true, ConfigHash: "ba9876543210", RTTMs: 0.4,
				Groups: map[string]control.NodeGroup{"web": {State: control.StateStandby}, "mail": {State: control.StateActive}}},
			{Name: "db1", Maintenance: "new disk", RTTMs: 0.5, ConfigHash: "ba9876543210",
				Groups: map[string]control.NodeGroup{"db": {State: control.StateMaintenance}}},
		},
	}
	return st
}

// scrape reads the metrics as they are at this moment, in the text format.
func scrape(t testing.TB, s *Set) string {
	t.Helper()
	w := httptest.NewRecorder()
	promhttp.HandlerFor(s.Gatherer(), promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Body.String()
}
