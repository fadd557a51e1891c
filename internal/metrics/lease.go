package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hbagent/hbagent/pkg/lease"
)

// Limits of buckets, chosen by us.
var (
	// A lease is renewed every ttl/3 and valid for nine tenths, so 0.57 is the rule; each resend costs
	// 0.05, each round that is lost a third.
	shareBuckets = []float64{0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8, 0.9}
	// For every ttl from 50 ms to 30 s.
	leftBuckets = []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.6, 0.75, 1, 2.5, 5, 10, 20, 30}
	// From one switch to a stalling machine.
	tripBuckets = []float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5}
)

type leaseMetrics struct {
	left, share, trip prometheus.Histogram
	putOff            prometheus.Counter
}

func newLeaseMetrics() leaseMetrics {
	return leaseMetrics{
		left: histogram("lease_left_seconds",
			"What was left of the lease when it was renewed; of several groups that are renewed together, the least.", leftBuckets),
		share: histogram("lease_left_ratio",
			"The same as a share of the ttl: 0.57 is the rule, and at 0 the address falls silent.", shareBuckets),
		trip: histogram("lease_renewal_round_trip_seconds",
			"From a request for renewal leaving to a majority having granted it, as the owner sees it. Not with a witness.", tripBuckets),
		putOff: counter("lease_renewals_put_off_total", "Renewals that this machine was too slow for; the next one was due in time."),
	}
}

func (m leaseMetrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.left, m.share, m.trip, m.putOff}
}

// Renewed notes that leases are being renewed: what is left of the shortest, of a
// ttl.
func (s *Set) Renewed(left, ttl time.Duration) {
	if s == nil {
		return
	}
	s.lease.left.Observe(left.Seconds())
	s.lease.share.Observe(left.Seconds() / ttl.Seconds())
}

// RoundTrip notes how long a majority took to grant a renewal.
func (s *Set) RoundTrip(took time.Duration) {
	if s != nil {
		s.lease.trip.Observe(took.Seconds())
	}
}

// RenewalPutOff notes a renewal that a stall overtook.
func (s *Set) RenewalPutOff() {
	if s != nil {
		s.lease.putOff.Inc()
	}
}

// The reasons that a series begins at 0 for. Any other that is counted appears
// with its first count.
var (
	refusalReasons = []lease.Reason{
		lease.ReasonHeld, lease.ReasonEpoch, lease.ReasonQuarantine, lease.ReasonGeneration, lease.ReasonTTL,
		lease.ReasonUnknownGroup, lease.ReasonVoterChange, lease.ReasonNotVoter, lease.ReasonContested,
	}
	rejectionReasons = []lease.Reason{
		lease.ReasonWrongCluster, lease.ReasonUnknownNode, lease.ReasonOldSequence, lease.ReasonMalformed, lease.ReasonUnwanted,
		lease.ReasonNotVoter, lease.ReasonUnknownGroup, lease.ReasonTTL, lease.ReasonGeneration,
	}
	shutReasons = []lease.Reason{
		lease.ReasonRefused, lease.ReasonExpired, lease.ReasonReleased, lease.ReasonTransferred, lease.ReasonPaused,
		lease.ReasonResume, lease.ReasonConflict, lease.ReasonPeerSilence, lease.ReasonRemoved,
	}
)
