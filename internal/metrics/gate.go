package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hbagent/hbagent/pkg/vip"
)

// A GateOperation is what is asked of the gate in the kernel.
type GateOperation string

// The operations.
const (
	GateOpen  GateOperation = "open"
	GateRenew GateOperation = "renew"
	GateShut  GateOperation = "shut"
)

var gateOperations = []GateOperation{GateOpen, GateRenew, GateShut}

// gateBuckets: 0.4 ms is the rule, the token that guards a renewal lasts 30 ms.
var gateBuckets = []float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.06, 0.1, 0.25, 0.5}

type gateMetrics struct {
	took   *prometheus.HistogramVec
	failed *prometheus.CounterVec
	ranOut prometheus.Counter
	events *prometheus.CounterVec
}

func newGateMetrics() gateMetrics {
	m := gateMetrics{
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "gate_transaction_seconds", Buckets: gateBuckets,
			Help: "How long the kernel took to open, renew or shut the gate, with repeats after a stall. All groups are renewed at once.",
		}, []string{"operation"}),
		failed: counters("gate_failures_total", "Transactions of the gate that failed for a group or more.", "operation"),
		ranOut: counter("gate_ran_out_total", "Times the kernel had shut the gate by itself before the renewal came: this machine stood still."),
		events: counters("network_events_total", "What was seen of addresses, links and the gate, by kind.", "kind"),
	}
	for _, op := range gateOperations {
		m.took.WithLabelValues(string(op))
		m.failed.WithLabelValues(string(op))
	}
	for k := vip.AddressLost; k <= vip.GateRestored; k++ {
		m.events.WithLabelValues(k.String())
	}
	return m
}

func (m gateMetrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.took, m.failed, m.ranOut, m.events}
}

// Gate notes a transaction.
func (s *Set) Gate(op GateOperation, took time.Duration, failed bool) {
	if s == nil {
		return
	}
	s.gate.took.WithLabelValues(string(op)).Observe(took.Seconds())
	if failed {
		s.gate.failed.WithLabelValues(string(op)).Inc()
	}
}

// GateRanOut notes that the kernel shut a group's gate by itself.
func (s *Set) GateRanOut() {
	if s != nil {
		s.gate.ranOut.Inc()
	}
}

// NetworkEvent notes what the address manager has seen.
func (s *Set) NetworkEvent(kind vip.EventKind) {
	if s != nil {
		s.gate.events.WithLabelValues(kind.String()).Inc()
	}
}
