package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// checkBuckets: from a local TCP connect to the longest timeout that makes sense.
var checkBuckets = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}

type checkMetrics struct {
	runs *prometheus.CounterVec
	took *prometheus.HistogramVec
}

func newCheckMetrics() checkMetrics {
	return checkMetrics{
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "check_runs_total", Help: "Scheduled runs of a check on this node, by result (ok, failed).",
		}, []string{"check", "result"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "check_duration_seconds", Help: "How long a run of a check took.", Buckets: checkBuckets,
		}, []string{"check"}),
	}
}

func (m checkMetrics) all() []prometheus.Collector { return []prometheus.Collector{m.runs, m.took} }

func (m checkMetrics) begin(check string) {
	m.runs.WithLabelValues(check, resultOK)
	m.runs.WithLabelValues(check, resultFailed)
	m.took.WithLabelValues(check)
}

func (m checkMetrics) forget(check string) {
	m.runs.DeletePartialMatch(prometheus.Labels{"check": check})
	m.took.DeletePartialMatch(prometheus.Labels{"check": check})
}

// CheckRan notes a result of a check.
func (s *Set) CheckRan(check string, ok bool, took time.Duration) {
	if s == nil {
		return
	}
	result := resultFailed
	if ok {
		result = resultOK
	}
	s.check.runs.WithLabelValues(check, result).Inc()
	s.check.took.WithLabelValues(check).Observe(took.Seconds())
}
