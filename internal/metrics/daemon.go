package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Results, the values of the label of that name.
const (
	resultOK     = "ok"
	resultFailed = "failed"
)

// A PauseKind is how it was noticed that time may have passed uncounted.
type PauseKind string

// The kinds of pauses.
const (
	PauseStall   PauseKind = "stall"   // the process was stopped, or starved
	PauseSuspend PauseKind = "suspend" // the machine slept
	PauseClock   PauseKind = "clock"   // the time of day jumped
)

// A HookResult is how one run of a hook ended.
type HookResult string

// The results of hooks.
const (
	HookOK      HookResult = resultOK
	HookFailed  HookResult = resultFailed
	HookTimeout HookResult = "timeout" // killed
	HookSkipped HookResult = "skipped" // not run: an earlier one took too long
)

// A ReloadResult is what a reload of the config came to.
type ReloadResult string

// The results of reloads.
const (
	ReloadOK      ReloadResult = resultOK        // the file is in force
	ReloadFailed  ReloadResult = resultFailed    // the file is not valid, or cannot be put into force
	ReloadRestart ReloadResult = "needs-restart" // nothing has changed
)

// A DrainEnd is how a drain ended.
type DrainEnd string

// The ends of drains.
const (
	DrainFinished DrainEnd = "finished" // every connection had ended
	DrainReset    DrainEnd = "reset"    // some were reset
	DrainFailed   DrainEnd = resultFailed
)

// A Queue is where something waits, and is lost when it is full.
type Queue string

// The queues.
const (
	QueueLease      Queue = "lease"      // messages for the agent's loop
	QueueNetwork    Queue = "network"    // events of addresses, links and the gate
	QueueHistory    Queue = "history"    // lines for the disk; the event is kept in memory
	QueueSubscriber Queue = "subscriber" // a reader of events that was too slow, and was cut off
)

type daemonMetrics struct {
	pauses, hooks, reloads, drains, dropped, events *prometheus.CounterVec
	paused, reset                                   prometheus.Counter
	hookTook                                        prometheus.Histogram
	reloaded, reloadedAt                            prometheus.Gauge
}

func newDaemonMetrics(eventKinds []string) daemonMetrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
	}
	return daemonMetrics{
		pauses: counters("pauses_total", "Times that this machine or process stood still, or that its clock was set. The voters are asked each time.",
			"kind", string(PauseStall), string(PauseSuspend), string(PauseClock)),
		paused: counter("paused_seconds_total", "How long it stood still, in sum."),
		hooks: counters("hook_runs_total", "Runs of hooks, by result.",
			"result", string(HookOK), string(HookFailed), string(HookTimeout), string(HookSkipped)),
		hookTook: histogram("hook_duration_seconds", "How long a hook took.", []float64{0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60}),
		reloads: counters("config_reloads_total", "Reloads of the config, by result.",
			"result", string(ReloadOK), string(ReloadFailed), string(ReloadRestart)),
		reloaded: gauge("config_last_reload_successful", "1 if what the last reload read is in force, or nothing was reloaded yet."),
		reloadedAt: gauge("config_last_reload_success_timestamp_seconds",
			"When the config in force was read: at the start, or at the last reload that succeeded."),
		drains: counters("drains_total", "Drains that have ended, by how.",
			"result", string(DrainFinished), string(DrainReset), string(DrainFailed)),
		reset: counter("drain_reset_connections_total", "Connections that were reset at the end of a drain."),
		dropped: counters("dropped_total", "What found a queue of the agent full, and was dropped.",
			"queue", string(QueueLease), string(QueueNetwork), string(QueueHistory), string(QueueSubscriber)),
		events: counters("events_total", "Events of the history that this node has recorded, by kind.", "kind", eventKinds...),
	}
}

func (m daemonMetrics) all() []prometheus.Collector {
	return []prometheus.Collector{
		m.pauses, m.paused, m.hooks, m.hookTook, m.reloads, m.reloaded, m.reloadedAt, m.drains, m.reset, m.dropped, m.events,
	}
}

// Paused notes a pause. took is 0 where only the time of day was moved.
func (s *Set) Paused(kind PauseKind, took time.Duration) {
	if s == nil {
		return
	}
	s.daemon.pauses.WithLabelValues(string(kind)).Inc()
	s.daemon.paused.Add(took.Seconds())
}

// HookRan notes a run of a hook. took is not looked at where it did not run.
func (s *Set) HookRan(result HookResult, took time.Duration) {
	if s == nil {
		return
	}
	s.daemon.hooks.WithLabelValues(string(result)).Inc()
	if result != HookSkipped {
		s.daemon.hookTook.Observe(took.Seconds())
	}
}

// Started notes that a config is in force since the start.
func (s *Set) Started(at time.Time) {
	if s == nil {
		return
	}
	s.daemon.reloaded.Set(1)
	s.daemon.reloadedAt.Set(seconds(at))
}

// Reloaded notes a reload.
func (s *Set) Reloaded(result ReloadResult, at time.Time) {
	if s == nil {
		return
	}
	s.daemon.reloads.WithLabelValues(string(result)).Inc()
	if result != ReloadOK {
		s.daemon.reloaded.Set(0)
		return
	}
	s.Started(at)
}

// Drained notes the end of a drain, and how many connections were reset.
func (s *Set) Drained(end DrainEnd, reset int) {
	if s == nil {
		return
	}
	s.daemon.drains.WithLabelValues(string(end)).Inc()
	s.daemon.reset.Add(float64(reset))
}

// Dropped notes that something was lost for want of room.
func (s *Set) Dropped(from Queue) {
	if s != nil {
		s.daemon.dropped.WithLabelValues(string(from)).Inc()
	}
}

// Event notes an event of the history.
func (s *Set) Event(kind string) {
	if s != nil {
		s.daemon.events.WithLabelValues(kind).Inc()
	}
}

// seconds is a time as Prometheus wants it.
func seconds(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }
