package agent

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/checks"
	"github.com/hbagent/hbagent/pkg/vip"
)

func TestDrainsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, _ := settled(t, drainConfig(t))
		web1.addrs.connect(2)
		switchover(t, web1, control.SwitchoverRequest{Group: "web"})
		w.wait(12 * time.Second)
		switchover(t, web2, control.SwitchoverRequest{Group: "web"})
		w.wait(5 * time.Second)
		web1.counts(t, map[string]float64{"hbagent_drains_total{result=reset}": 1, "hbagent_drains_total{result=finished}": 0, "hbagent_drain_reset_connections_total": 2})
		web2.counts(t, map[string]float64{"hbagent_drains_total{result=reset}": 0, "hbagent_drains_total{result=finished}": 1, "hbagent_drain_reset_connections_total": 0})
	})
}

func TestReloadsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, web1, _, _ := settled(t, testConfig)
		for _, tt := range []struct {
			text, result string
			good         float64
		}{
			{"[cluster]\nnmae = \"shop\"\n", "failed", 0},
			{edited(t, `ttl = "1s"`, `ttl = "2s"`), "needs-restart", 0},
			{edited(t, `hold = "10s"`, `hold = "5s"`), "ok", 1},
		} {
			_, _ = web1.reload(t, tt.text, false) // TestReload... look at what it says
			web1.counts(t, map[string]float64{"hbagent_config_reloads_total{result=" + tt.result + "}": 1, "hbagent_config_last_reload_successful": tt.good})
		}
		// Another name for the group: its series begin, those of the old one end.
		if _, err := web1.reload(t, edited(t, "[[group]]\nname = \"web\"", "[[group]]\nname = \"www\""), false); err != nil {
			t.Fatal(err)
		}
		web1.counts(t, map[string]float64{moved("www", CauseHealth): 0})
		families, err := web1.metrics.Gatherer().Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				for _, l := range m.GetLabel() {
					if l.GetName() == "group" && l.GetValue() == "web" {
						t.Errorf("left of the group that is gone: %s", seriesName(f, m))
					}
				}
			}
		}
	})
}

func TestHooksAreCounted(t *testing.T) {
	h := newHookTest(t)
	n := &testNode{loop: &loop{metrics: newMetrics("test")}}
	h.hooks.metrics = n.metrics
	waits, open := h.gate(t)
	good, bad, slow := h.script(t, "good", "exit 0"), h.script(t, "bad", "exit 3"), h.script(t, "slow", "exec sleep 60")
	call := func(timeout time.Duration, programs ...string) {
		h.run(hookCall{group: "web", state: control.StateActive, programs: programs, timeout: timeout})
	}
	call(30*time.Second, waits)
	h.started(t, "web")
	for range hookQueue + 2 {
		call(30*time.Second, good)
	}
	open()
	h.done(t)
	call(30*time.Second, good, bad)
	h.done(t)
	call(10*time.Millisecond, slow)
	h.done(t)
	n.counts(t, map[string]float64{
		"hbagent_hook_runs_total{result=ok}": 1 + hookQueue + 1, "hbagent_hook_runs_total{result=skipped}": 2,
		"hbagent_hook_runs_total{result=failed}": 1, "hbagent_hook_runs_total{result=timeout}": 1,
		"hbagent_hook_duration_seconds": 1 + hookQueue + 1 + 2,
	})
}

// What finds no room is counted, wherever that is.
func TestLossesAreCounted(t *testing.T) {
	n := &testNode{loop: newLoop(testLogger(t), parse(t, testConfig), "web1")}
	n.history = newHistory("", "web1", n.log)
	n.history.lines = make(chan []byte, 1) // nobody writes it
	n.measured()

	_, cancel := n.history.subscribe()
	defer cancel()
	for range subscriberQueue + 2 {
		n.history.add(control.Event{Kind: kindAgent})
	}
	for range leaseQueue + 3 {
		n.leaseMessage(nil)
	}
	a := &agent{log: n.log, metrics: n.metrics, events: make(chan vip.Event, 1)}
	for range 5 {
		a.vipEvent(vip.Event{Kind: vip.LinkUp})
	}
	n.counts(t, map[string]float64{
		"hbagent_dropped_total{queue=history}": subscriberQueue + 1, "hbagent_dropped_total{queue=subscriber}": 1,
		"hbagent_dropped_total{queue=lease}": 3, "hbagent_dropped_total{queue=network}": 4,
		"hbagent_events_total{kind=agent}": subscriberQueue + 2,
	})
}

func TestCheckRunsAreCounted(t *testing.T) {
	n := &testNode{loop: newLoop(testLogger(t), parse(t, testConfig), "web1")}
	n.history = newHistory("", "web1", n.log)
	n.measured()
	a := &agent{metrics: n.metrics}
	ran := make(chan struct{}, 8)
	results := make(chan checks.Result, 3)
	for _, ok := range []bool{true, false, true} {
		results <- checks.Result{OK: ok}
	}
	specs := checkSpecs(n.cfg, "web1")
	specs[0].Interval = 10 * time.Millisecond
	r, err := checks.NewRunner(specs, func(checks.State) {}, checks.Options{
		New: func(checks.Spec, checks.Options) (checks.Checker, error) { return scripted(results), nil },
		OnResult: func(name string, res checks.Result) {
			a.checkRan(name, res)
			ran <- struct{}{}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	for range 3 {
		select {
		case <-ran:
		case <-time.After(30 * time.Second):
			t.Fatal("no result within 30s")
		}
	}
	n.counts(t, map[string]float64{
		"hbagent_check_runs_total{check=web,result=ok}": 2, "hbagent_check_runs_total{check=web,result=failed}": 1, "hbagent_check_duration_seconds{check=web}": 3,
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// scripted answers one result after the other, and then nothing.
type scripted chan checks.Result

func (s scripted) Check(ctx context.Context) checks.Result {
	select {
	case r := <-s:
		return r
	case <-ctx.Done():
		return checks.Result{}
	}
}
