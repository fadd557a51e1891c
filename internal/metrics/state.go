package metrics

import (
	"context"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/cluster"
	"github.com/hbagent/hbagent/pkg/lease"
	"github.com/hbagent/hbagent/pkg/vip"
)

// stateWait is how long a scrape waits for the agent's loop, which answers within
// a millisecond (chosen by us: well below the 10 s that Prometheus waits).
const stateWait = 2 * time.Second

// State is what the agent's loop knows at one moment.
type State struct {
	control.Status
	Lease      lease.Stats
	TTL        time.Duration
	Quarantine time.Duration // left, of this node's voter
}

// Sources are asked at each scrape, from any goroutine and several at once.
type Sources struct {
	State     func(ctx context.Context) (State, error)
	Cluster   func() cluster.Stats
	Addresses func() vip.Stats
}

// stateCollector turns the sources into metrics.
type stateCollector struct{ from Sources }

// Describe implements prometheus.Collector.
func (c *stateCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(ch chan<- prometheus.Metric) {
	out := sink(ch)
	out.cluster(c.from.Cluster())
	out.addresses(c.from.Addresses())
	ctx, cancel := context.WithTimeout(context.Background(), stateWait)
	defer cancel()
	state, err := c.from.State(ctx)
	out.flag(descResponding, err == nil)
	if err == nil {
		out.agent(state)
		out.lease(state)
		out.groups(state.Status)
		out.nodes(state.Status)
	}
}

// descs are all that a stateCollector sends; desc adds to them.
var descs []*prometheus.Desc

func desc(name, help string, labels ...string) *prometheus.Desc {
	d := prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
	descs = append(descs, d)
	return d
}

// sink sends metrics to a scrape.
type sink chan<- prometheus.Metric

func (s sink) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (s sink) counter(d *prometheus.Desc, v uint64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

// flag is a gauge of 0 or 1.
func (s sink) flag(d *prometheus.Desc, on bool, labels ...string) {
	v := 0.0
	if on {
		v = 1
	}
	s.gauge(d, v, labels...)
}

var (
	descResponding  = desc("loop_responding", "1 if the agent's loop answered this scrape; without it there is nothing of groups, nodes, leases and checks.")
	descAgent       = desc("agent_info", "1; the labels say which node of which cluster this is, and what ends a lease in its kernel.", "cluster_name", "node", "gate")
	descConfig      = desc("config_info", "1; the label is the hash of the config in force.", "hash")
	descWarnings    = desc("warnings", "Warnings that `hbagent status` shows.")
	descVoters      = desc("quorum_voters", "Configured voters.")
	descNeeded      = desc("quorum_needed", "Voters that a lease needs: a majority of the configured ones.")
	descSeen        = desc("quorum_seen", "Voters that this node hears, itself included.")
	descComplete    = desc("quorum_complete", "1 if every voter is heard.")
	descCheckState  = desc("check_state", "1 for the state that a check on this node is in (pending, passing, failing), 0 for the others.", "check", "state")
	descCheckNeeded = desc("check_required", "1 if a failing check moves a group, 0 if it is only shown.", "check")
)

var checkStates = []control.CheckStatus{control.CheckPending, control.CheckPassing, control.CheckFailing}

func (s sink) agent(st State) {
	s.gauge(descAgent, 1, st.Cluster, st.Node, st.Gate)
	s.gauge(descConfig, 1, st.ConfigHash)
	s.gauge(descWarnings, float64(len(st.Warnings)))
	s.gauge(descVoters, float64(st.Quorum.Voters))
	s.gauge(descNeeded, float64(st.Quorum.Needed))
	s.gauge(descSeen, float64(st.Quorum.Seen))
	s.flag(descComplete, st.Quorum.Complete)
	for _, n := range st.Nodes {
		if !n.Self {
			continue
		}
		for _, c := range n.Checks {
			for _, state := range checkStates {
				s.flag(descCheckState, c.Status == state, c.Name, string(state))
			}
			s.flag(descCheckNeeded, c.Required, c.Name)
		}
	}
}

var (
	descTTL        = desc("lease_ttl_seconds", "The ttl of leases.")
	descQuarantine = desc("lease_quarantine_seconds", "How long this node's vote will grant nothing, after a start or a pause.")
	descRounds     = desc("lease_rounds_total", "Questions to the voters for a lease, new or renewed.")
	descGrants     = desc("lease_grants_total", "Grants of voters, this node's own included.")
	descRefusals   = desc("lease_refusals_total", "Requests of this node that a voter refused, by reason.", "reason")
	descRejected   = desc("lease_rejected_messages_total", "Messages of other nodes that this node did not act on, by reason.", "reason")
	descLapsed     = desc("lease_lapsed_total", "Leases that ran out because no majority answered.")
	descSuperseded = desc("lease_superseded_total", "Leases that a majority said were over.")
)

func (s sink) lease(st State) {
	s.gauge(descTTL, st.TTL.Seconds())
	s.gauge(descQuarantine, st.Quarantine.Seconds())
	s.counter(descRounds, st.Lease.Rounds)
	s.counter(descGrants, st.Lease.Grants)
	s.counter(descLapsed, st.Lease.Lapsed)
	s.counter(descSuperseded, st.Lease.Superseded)
	s.reasons(descRefusals, st.Lease.Refusals[:], refusalReasons)
	s.reasons(descRejected, st.Lease.Rejected[:], rejectionReasons)
}

// reasons sends the counts by reason: of these always, of any other once there are.
func (s sink) reasons(d *prometheus.Desc, counts []uint64, always []lease.Reason) {
	for i, n := range counts {
		if r := lease.Reason(i); n > 0 || slices.Contains(always, r) {
			s.counter(d, n, r.Name())
		}
	}
}
