package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hbagent/hbagent/pkg/lease"
)

type groupMetrics struct{ moves, shuts, conflicts *prometheus.CounterVec }

func newGroupMetrics() groupMetrics {
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	}
	return groupMetrics{
		moves: vec("group_moves_total",
			"Times this node became the owner, by reason. start: nobody had it; resume: it had it before its agent was restarted.", "group", "reason"),
		shuts: vec("group_shuts_total",
			"Times this node let go of the group, by reason. After paused the voters are asked, and mostly it is open again at once.", "group", "reason"),
		conflicts: vec("group_conflicts_total", "Claims of an address of the group by another machine, while this node had the group.", "group"),
	}
}

func (m groupMetrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.moves, m.shuts, m.conflicts}
}

func (m groupMetrics) begin(group string, moveReasons []string) {
	for _, r := range moveReasons {
		m.moves.WithLabelValues(group, r)
	}
	for _, r := range shutReasons {
		m.shuts.WithLabelValues(group, r.Name())
	}
	m.conflicts.WithLabelValues(group)
}

func (m groupMetrics) forget(group string) {
	of := prometheus.Labels{"group": group}
	m.moves.DeletePartialMatch(of)
	m.shuts.DeletePartialMatch(of)
	m.conflicts.DeletePartialMatch(of)
}

// Moved notes that this node has become the owner of a group.
func (s *Set) Moved(group, reason string) {
	if s != nil {
		s.group.moves.WithLabelValues(group, reason).Inc()
	}
}

// Shut notes that this node has let go of a group that it had open.
func (s *Set) Shut(group string, reason lease.Reason) {
	if s != nil {
		s.group.shuts.WithLabelValues(group, reason.Name()).Inc()
	}
}

// Conflict notes that another machine claims an address of a group.
func (s *Set) Conflict(group string) {
	if s != nil {
		s.group.conflicts.WithLabelValues(group).Inc()
	}
}
