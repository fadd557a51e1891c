package metrics

import (
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
)

// namespace is in front of every name of ours.
const namespace = "hbagent"

// maxScrapes is how many scrapes are answered at a time; more get 503 (chosen by
// us: two Prometheus servers and a person).
const maxScrapes = 4

// scrapeAge is how old an answer may be: whoever asks more often gets the same
// again, and costs the agent nothing (chosen by us: as the status page has it).
const scrapeAge = 200 * time.Millisecond

// Options say what is known from the start.
type Options struct {
	Version string
	// MoveReasons are all the values of the label reason of
	// hbagent_group_moves_total, and EventKinds those of kind of
	// hbagent_events_total: each series begins at 0, lest the first step is lost.
	MoveReasons []string
	EventKinds  []string
}

// Set is the metrics of one agent, in a registry of their own.
type Set struct {
	registry    *prometheus.Registry
	moveReasons []string

	lease  leaseMetrics
	group  groupMetrics
	gate   gateMetrics
	check  checkMetrics
	daemon daemonMetrics

	mu             sync.Mutex // of Configure
	groups, checks []string   // that have series
}

// New makes the metrics, with those of the Go runtime and of the process.
func New(o Options) *Set {
	s := &Set{
		registry: prometheus.NewRegistry(), moveReasons: slices.Clone(o.MoveReasons),
		lease: newLeaseMetrics(), group: newGroupMetrics(), gate: newGateMetrics(), check: newCheckMetrics(),
		daemon: newDaemonMetrics(o.EventKinds),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "1; the labels say which version runs, and by which Go it was built.",
		ConstLabels: prometheus.Labels{"version": o.Version, "goversion": runtime.Version()},
	})
	build.Set(1)
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), build)
	s.registry.MustRegister(slices.Concat(s.lease.all(), s.group.all(), s.gate.all(), s.check.all(), s.daemon.all())...)
	return s
}

// Read connects the sources that are asked at each scrape. Once only, before the
// first scrape.
func (s *Set) Read(from Sources) { s.registry.MustRegister(&stateCollector{from}) }

// Gatherer reads all metrics as they are now.
func (s *Set) Gatherer() prometheus.Gatherer { return s.registry }

// Handler serves the metrics in the formats that Prometheus asks for, gathered
// five times a second at most for all who ask. What cannot be read is logged, and
// the rest served.
func (s *Set) Handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(&calmGatherer{from: s.registry}, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: maxScrapes,
	})
}

// calmGatherer gathers at most once in scrapeAge. Who asks meanwhile waits for it,
// or gets what was gathered last; nobody changes that.
type calmGatherer struct {
	from prometheus.Gatherer

	mu   sync.Mutex
	at   time.Time
	last []*dto.MetricFamily
	err  error
}

// Gather implements prometheus.Gatherer.
func (g *calmGatherer) Gather() ([]*dto.MetricFamily, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.at.IsZero() || time.Since(g.at) >= scrapeAge {
		g.last, g.err = g.from.Gather()
		g.at = time.Now()
	}
	return g.last, g.err
}

// Configure says which groups this node may own, and which checks it runs: each
// has series that begin at 0. Those of what is gone from the config end.
func (s *Set) Configure(groups, checks []string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.groups {
		if !slices.Contains(groups, g) {
			s.group.forget(g)
		}
	}
	for _, g := range groups {
		s.group.begin(g, s.moveReasons)
	}
	for _, c := range s.checks {
		if !slices.Contains(checks, c) {
			s.check.forget(c)
		}
	}
	for _, c := range checks {
		s.check.begin(c)
	}
	s.groups, s.checks = slices.Clone(groups), slices.Clone(checks)
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
}

// counters makes a vector with one label, whose series begin at 0 for each of
// these values.
func counters(name, help, label string, values ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, []string{label})
	for _, value := range values {
		v.WithLabelValues(value)
	}
	return v
}

func histogram(name, help string, buckets []float64) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets})
}
