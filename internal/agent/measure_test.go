package agent

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/checks"
	"github.com/hbagent/hbagent/pkg/vip"
)

// measured gives a node metrics, as start does.
func (n *testNode) measured() {
	n.loop.metrics = newMetrics("test")
	n.history.metrics = n.loop.metrics
	n.configureMetrics()
}

// metric reads one series of a node, given as name or name{label=value,...}, with the labels in the order of the
// alphabet; of a histogram the number of its observations.
func (n *testNode) metric(t *testing.T, series string) float64 {
	t.Helper()
	families, err := n.metrics.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if seriesName(f, m) == series {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	t.Fatalf("%s: no metric %s", n.node, series)
	return 0
}

func seriesName(f *dto.MetricFamily, m *dto.Metric) string {
	var labels []string
	for _, l := range m.GetLabel() {
		labels = append(labels, l.GetName()+"="+l.GetValue())
	}
	if labels == nil {
		return f.GetName()
	}
	return f.GetName() + "{" + strings.Join(labels, ",") + "}"
}

// counts compares series of a node.
func (n *testNode) counts(t *testing.T, want map[string]float64) {
	t.Helper()
	for series, v := range want {
		if got := n.metric(t, series); got != v {
			t.Errorf("%s: %s is %v, want %v", n.node, series, got, v)
		}
	}
}

func moved(group string, c Cause) string {
	return fmt.Sprintf("hbagent_group_moves_total{group=%s,reason=%s}", group, c)
}

func shut(group, reason string) string {
	return fmt.Sprintf("hbagent_group_shuts_total{group=%s,reason=%s}", group, reason)
}

// Every way in which a group changes hands is counted once, by the node that has it then, and the shut by the one
// that had it.
func TestMovesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, _ := settled(t, edited(t, `hold = "10s"`, `hold = "0s"`))
		web1.counts(t, map[string]float64{moved("web", CauseStart): 1, moved("web", CauseSwitchover): 0})

		res, err := web1.api.Switchover(t.Context(), control.SwitchoverRequest{Group: "web", To: "web2"}, func(control.SwitchoverStep) {})
		if err != nil || res.Outcome != control.OutcomeMoved {
			t.Fatalf("%+v, %v", res, err)
		}
		web1.counts(t, map[string]float64{shut("web", "transferred"): 1})
		web2.counts(t, map[string]float64{moved("web", CauseSwitchover): 1})

		web2.check("web", checks.Failing, "connection refused")
		w.wait(testTTL)
		w.owned("web1")
		web2.counts(t, map[string]float64{shut("web", "transferred"): 1})
		web1.counts(t, map[string]float64{moved("web", CauseHealth): 1})

		web2.check("web", checks.Passing, "")
		web1.isolate(true)
		w.wait(2 * testTTL)
		w.owned("web2")
		web1.counts(t, map[string]float64{shut("web", "expired"): 1})
		web2.counts(t, map[string]float64{moved("web", CauseDeadOwner): 1, moved("web", CauseSwitchover): 1})
	})
}

// In a quiet cluster each round renews with 17 thirtieths of the ttl left, within a moment.
func TestRenewalsAreMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, _ := settled(t, testConfig)
		before := web1.metric(t, "hbagent_lease_left_ratio")
		w.wait(10 * testTTL)
		if n := web1.metric(t, "hbagent_lease_left_ratio") - before; n < 28 || n > 33 {
			t.Errorf("%v renewals in ten ttls, want 30", n)
		}
		families, err := web1.metrics.Gatherer().Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			h := f.GetMetric()[0].GetHistogram()
			mean := h.GetSampleSum() / float64(h.GetSampleCount())
			switch f.GetName() {
			case "hbagent_lease_left_ratio", "hbagent_lease_left_seconds": // the ttl is one second
				if mean < 0.555 || mean > 0.58 {
					t.Errorf("%s: %v on average, want 0.57", f.GetName(), mean)
				}
			case "hbagent_lease_renewal_round_trip_seconds":
				if h.GetSampleCount() == 0 || mean > 0.001 {
					t.Errorf("%s: %v on average of %d, the network of this test takes no time", f.GetName(), mean, h.GetSampleCount())
				}
			}
		}
		web2.counts(t, map[string]float64{"hbagent_lease_left_ratio": 0})
	})
}

// What is left is measured before the kernel is told: a renewal that comes late shows.
func TestLateRenewalIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, _, _ := settled(t, testConfig)
		web1.look(func() {
			g := web1.groups["web"]
			before := web1.metric(t, "hbagent_lease_left_seconds")
			g.until = web1.boot() + 3*time.Millisecond
			web1.measureRenewals(map[string]time.Duration{"web": web1.boot() + testTTL*9/10 - 40*time.Millisecond})
			if got := web1.metric(t, "hbagent_lease_left_seconds"); got != before+1 {
				t.Errorf("%v observations, want %v", got, before+1)
			}
			for series, limit := range map[string]float64{"hbagent_lease_left_seconds": 0.005, "hbagent_lease_left_ratio": 0.05} {
				if got := web1.atMost(t, series, limit); got != 1 {
					t.Errorf("%s: %d observations up to %v, want 1", series, got, limit)
				}
			}
			trips := "hbagent_lease_renewal_round_trip_seconds"
			if got := web1.atMost(t, trips, 0.05) - web1.atMost(t, trips, 0.025); got != 1 {
				t.Errorf("%s: %d observations of 25 to 50 ms, want 1", trips, got)
			}
		})
		w.owned("web1")
	})
}

// atMost returns how many observations of a histogram lie within the bucket up to limit.
func (n *testNode) atMost(t *testing.T, name string, limit float64) uint64 {
	t.Helper()
	families, err := n.metrics.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, b := range f.GetMetric()[0].GetHistogram().GetBucket() {
			if f.GetName() == name && b.GetUpperBound() == limit {
				return b.GetCumulativeCount()
			}
		}
	}
	t.Fatalf("%s has no bucket up to %v", name, limit)
	return 0
}

func TestTroubleIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, _ := settled(t, testConfig)
		web1.addrs.mu.Lock()
		web1.addrs.renewErr = vip.ErrStalled
		web1.addrs.mu.Unlock()
		w.wait(testTTL)
		web1.counts(t, map[string]float64{"hbagent_lease_renewals_put_off_total": 1, "hbagent_gate_ran_out_total": 0})

		web1.addrs.mu.Lock()
		web1.addrs.renewErr = vip.ErrGateExpired
		web1.addrs.mu.Unlock()
		w.wait(testTTL)
		web1.counts(t, map[string]float64{"hbagent_gate_ran_out_total": 1, shut("web", "paused"): 1, moved("web", CauseStart): 1})

		web1.look(func() { web1.vipEvent(vip.Event{Kind: vip.Conflict, Group: "web"}) })
		web1.counts(t, map[string]float64{
			"hbagent_group_conflicts_total{group=web}": 1, "hbagent_network_events_total{kind=conflict}": 1, "hbagent_events_total{kind=conflict}": 1,
		})

		web1.standStill(testTTL, 0)
		w.wait(testTTL)
		web1.counts(t, map[string]float64{"hbagent_pauses_total{kind=stall}": 1, "hbagent_pauses_total{kind=suspend}": 0})
		if got := web1.metric(t, "hbagent_paused_seconds_total"); got < 0.75 || got > 1 { // it was due to wake up within a fifth
			t.Errorf("paused for %v s, want 1 at most", got)
		}
		web1.standStill(testTTL, testTTL)
		w.wait(testTTL)
		web1.setClock(time.Hour)
		w.wait(testTTL)
		web1.counts(t, map[string]float64{
			"hbagent_pauses_total{kind=stall}": 1, "hbagent_pauses_total{kind=suspend}": 1, "hbagent_pauses_total{kind=clock}": 1,
		})
		web2.counts(t, map[string]float64{"hbagent_pauses_total{kind=stall}": 0})
	})
}

// What a scrape is told of the loop.
func TestMeasure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, web1, web2, _ := settled(t, testConfig)
		for _, n := range []*testNode{web1, web2} {
			n.look(func() {
				st := n.measure()
				if st.Groups[0].Owner != "web1" || st.TTL != testTTL || st.Quarantine != 0 {
					t.Errorf("%s: %+v", n.node, st)
				}
				if n == web1 && (st.Lease.Rounds == 0 || st.Lease.Grants == 0) {
					t.Errorf("%s has asked nobody: %+v", n.node, st.Lease)
				}
			})
		}
	})
}

// The lists of what may be counted name every constant that there is.
func TestEnumsAreComplete(t *testing.T) {
	var inList []string
	for _, c := range causes {
		inList = append(inList, string(c))
	}
	wantConstants(t, "policy.go", "Cause", inList)
	wantConstants(t, "history.go", "kind", eventKinds)
	doc, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range slices.Concat(inList, eventKinds) {
		if !strings.Contains(string(doc), "`"+v+"`") {
			t.Errorf("docs/metrics.md does not explain `%s`", v)
		}
	}
}

// wantConstants holds a list against the text constants of a file whose names begin with prefix.
func wantConstants(t *testing.T, file, prefix string, got []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, prefix) || len(spec.Values) != 1 {
			return true
		}
		if lit, ok := spec.Values[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
			want = append(want, strings.Trim(lit.Value, `"`))
		}
		return true
	})
	if len(want) == 0 {
		t.Fatalf("%s has no constants %s...", file, prefix)
	}
	slices.Sort(want)
	diff(t, file+": constants "+prefix+"...", slices.Sorted(slices.Values(got)), want)
}
