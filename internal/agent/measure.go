package agent

import (
	"context"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/metrics"
	"github.com/hbagent/hbagent/pkg/checks"
	"github.com/hbagent/hbagent/pkg/vip"
)

func newMetrics(version string) *metrics.Set {
	o := metrics.Options{Version: version, EventKinds: eventKinds}
	for _, c := range causes {
		o.MoveReasons = append(o.MoveReasons, string(c))
	}
	return metrics.New(o)
}

// configureMetrics tells which groups and checks of the config are this node's.
func (l *loop) configureMetrics() {
	var groups, checks []string
	for _, name := range l.order {
		if l.groups[name].iface != "" {
			groups = append(groups, name)
		}
	}
	for _, c := range l.cfg.ChecksFor(l.node) {
		checks = append(checks, c.Name)
	}
	l.metrics.Configure(groups, checks)
}

// sources are what each scrape asks. The loop answers for what it owns; the rest
// are counters that may be read by anybody.
func (a *agent) sources() metrics.Sources {
	return metrics.Sources{
		State: func(ctx context.Context) (s metrics.State, err error) {
			err = a.loop.do(ctx, func() { s = a.loop.measure() })
			return s, err
		},
		Cluster: a.net.Stats, Addresses: a.vip.Stats,
	}
}

// measure runs in the loop and only reads.
func (l *loop) measure() metrics.State {
	return metrics.State{Status: l.status(), Lease: l.machine.Stats(), TTL: l.ttl, Quarantine: l.machine.Quarantine(l.now().Boot)}
}

// measureRenewals looks at leases that are about to be renewed together: what is
// left of the shortest, and how long ago the oldest of the requests left that
// renew them. With a witness no request stands behind some of them.
func (l *loop) measureRenewals(deadlines map[string]time.Duration) {
	now := l.boot()
	left, took := l.ttl, time.Duration(0)
	for name, deadline := range deadlines {
		g := l.groups[name]
		left = min(left, g.until-now)
		if g.open {
			g.health.note(now, g.until-now)
		}
		sent := deadline - l.ttl + l.machine.Margin()
		took = max(took, now-sent)
	}
	l.metrics.Renewed(max(left, 0), l.ttl)
	if !witnessed(l.cfg, l.voters) {
		l.metrics.RoundTrip(took)
	}
}

func (a *agent) checkRan(name string, r checks.Result) { a.metrics.CheckRan(name, r.OK, r.Took) }

func reloadResult(res control.ReloadResult, err error) metrics.ReloadResult {
	switch {
	case err != nil:
		return metrics.ReloadFailed
	case len(res.NeedsRestart) > 0:
		return metrics.ReloadRestart
	}
	return metrics.ReloadOK
}

// timedGate is the gate of nf_tables with a clock beside it: everything else that
// the address manager asks of a gate goes to the one inside.
type timedGate struct {
	*vip.NFTGate
	metrics *metrics.Set
}

// Open implements vip.Gate.
func (g timedGate) Open(group string, deadline time.Duration) error {
	began := time.Now()
	err := g.NFTGate.Open(group, deadline)
	g.metrics.Gate(metrics.GateOpen, time.Since(began), err != nil)
	return err
}

// Renew implements vip.Gate.
func (g timedGate) Renew(deadlines map[string]time.Duration) map[string]error {
	began := time.Now()
	failed := g.NFTGate.Renew(deadlines)
	g.metrics.Gate(metrics.GateRenew, time.Since(began), len(failed) > 0)
	return failed
}

// Shut implements vip.Gate.
func (g timedGate) Shut(group string) error {
	began := time.Now()
	err := g.NFTGate.Shut(group)
	g.metrics.Gate(metrics.GateShut, time.Since(began), err != nil)
	return err
}
