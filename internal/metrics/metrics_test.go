package metrics

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/hbagent/hbagent/pkg/cluster"
	"github.com/hbagent/hbagent/pkg/lease"
	"github.com/hbagent/hbagent/pkg/vip"
)

var update = flag.Bool("update", false, "write testdata anew")

// ours are the lines of hbagent_ without those that differ from run to run.
func ours(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "hbagent_") && !strings.HasPrefix(line, "hbagent_build_info") {
			out.WriteString(line)
		}
	}
	return out.String()
}

// Everything that is counted once, and everything of a state, as it is served. Read
// the file before you commit it.
func TestScrape(t *testing.T) {
	s := full(t)
	s.Renewed(710*time.Millisecond, time.Second)
	s.Renewed(40*time.Millisecond, time.Second)
	s.RoundTrip(400 * time.Microsecond)
	s.RenewalPutOff()
	s.Moved("web", "health")
	s.Shut("mail", lease.ReasonTransferred)
	s.Conflict("web")
	s.Gate(GateRenew, 350*time.Microsecond, false)
	s.Gate(GateOpen, 31*time.Millisecond, true)
	s.GateRanOut()
	s.NetworkEvent(vip.GateLost)
	s.CheckRan("apache", true, 3*time.Millisecond)
	s.CheckRan("apache", false, 2*time.Second)
	s.Paused(PauseStall, 1500*time.Millisecond)
	s.Paused(PauseClock, 0)
	s.HookRan(HookOK, 20*time.Millisecond)
	s.HookRan(HookSkipped, time.Hour)
	s.Reloaded(ReloadFailed, time.Unix(1700000100, 0))
	s.Drained(DrainReset, 7)
	s.Dropped(QueueHistory)
	s.Event("owner")
	got := ours(scrape(t, s))
	const golden = "testdata/scrape.prom"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("scrape (-want +got):\n%s", d)
	}
}

func TestReload(t *testing.T) {
	s := full(t)
	value := func(name string) string {
		for line := range strings.Lines(scrape(t, s)) {
			if rest, ok := strings.CutPrefix(line, name+" "); ok {
				return strings.TrimSpace(rest)
			}
		}
		t.Fatalf("no %s", name)
		return ""
	}
	for _, step := range []struct {
		result   ReloadResult
		good, at string
	}{
		{ReloadFailed, "0", "1.7e+09"},
		{ReloadRestart, "0", "1.7e+09"},
		{ReloadOK, "1", "1.70000005e+09"},
	} {
		s.Reloaded(step.result, time.Unix(1700000050, 0))
		if got := value("hbagent_config_last_reload_successful"); got != step.good {
			t.Errorf("after %s: successful %s, want %s", step.result, got, step.good)
		}
		if got := value("hbagent_config_last_reload_success_timestamp_seconds"); got != step.at {
			t.Errorf("after %s: at %s, want %s", step.result, got, step.at)
		}
		if got := value(`hbagent_config_reloads_total{result="` + string(step.result) + `"}`); got != "1" {
			t.Errorf("%s is counted %s times", step.result, got)
		}
	}
}

// A group or check that is gone from the config has no series any more; what stays keeps its counts.
func TestConfigure(t *testing.T) {
	s := full(t)
	s.Moved("web", "health")
	s.CheckRan("apache", true, time.Millisecond)
	s.Configure([]string{"web", "ftp"}, []string{"nginx"})
	text := scrape(t, s)
	for _, want := range []string{
		`hbagent_group_moves_total{group="web",reason="health"} 1`, `hbagent_group_moves_total{group="ftp",reason="health"} 0`,
		`hbagent_group_shuts_total{group="ftp",reason="expired"} 0`, `hbagent_check_runs_total{check="nginx",result="failed"} 0`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("missing: %s", want)
		}
	}
	for _, gone := range []string{`_total{group="mail"`, `hbagent_check_runs_total{check="apache"`, `hbagent_check_duration_seconds_count{check="apache"`} {
		if strings.Contains(text, gone) {
			t.Errorf("still there: %s", gone)
		}
	}
}

// A loop that does not answer is seen, and takes nothing else with it.
func TestLoopHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		s.Read(Sources{
			State: func(ctx context.Context) (State, error) {
				<-ctx.Done()
				return State{}, ctx.Err()
			},
			Cluster: sampleCluster, Addresses: func() vip.Stats { return vip.Stats{} },
		})
		began := time.Now()
		text := scrape(t, s)
		if took := time.Since(began); took != stateWait {
			t.Errorf("the scrape took %v, want %v", took, stateWait)
		}
		for _, want := range []string{"hbagent_loop_responding 0\n", "hbagent_cluster_strangers_total 9\n", "hbagent_gate_ran_out_total 0\n"} {
			if !strings.Contains(text, want) {
				t.Errorf("missing: %s", want)
			}
		}
		if strings.Contains(text, "hbagent_group_owner") {
			t.Error("it speaks of groups, and knows nothing of them")
		}
	})
}

// Who asks all the time does not keep the loop busy.
func TestHandlerIsCalm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		asked := 0
		s.Read(Sources{
			State:   func(context.Context) (State, error) { asked++; return sampleState(), nil },
			Cluster: sampleCluster, Addresses: func() vip.Stats { return vip.Stats{} },
		})
		h := s.Handler(slog.New(slog.NewTextHandler(t.Output(), nil)))
		for range 100 {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
			if w.Code != 200 || !strings.Contains(w.Body.String(), "hbagent_loop_responding 1\n") {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if asked != 5 {
			t.Errorf("the loop was asked %d times in a second, want 5", asked)
		}
	})
}

func TestLoopHasEnded(t *testing.T) {
	s := New(Options{})
	s.Read(Sources{
		State:   func(context.Context) (State, error) { return State{}, errors.New("stopping") },
		Cluster: func() cluster.Stats { return cluster.Stats{} }, Addresses: func() vip.Stats { return vip.Stats{} },
	})
	if text := scrape(t, s); !strings.Contains(text, "hbagent_loop_responding 0\n") {
		t.Errorf("it says that the loop answers:\n%s", ours(text))
	}
}

// Names, units and help texts are as Prometheus has them.
func TestLint(t *testing.T) {
	problems, err := testutil.GatherAndLint(full(t).Gatherer())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// Nobody needs metrics to run.
func TestNil(t *testing.T) {
	var s *Set
	s.Configure([]string{"web"}, nil)
	s.Renewed(1, 1)
	s.RoundTrip(1)
	s.RenewalPutOff()
	s.Moved("web", "health")
	s.Shut("web", lease.ReasonExpired)
	s.Conflict("web")
	s.Gate(GateShut, 1, true)
	s.GateRanOut()
	s.NetworkEvent(vip.Conflict)
	s.CheckRan("web", true, 1)
	s.Paused(PauseStall, 1)
	s.HookRan(HookOK, 1)
	s.Started(time.Now())
	s.Reloaded(ReloadOK, time.Now())
	s.Drained(DrainFinished, 0)
	s.Dropped(QueueLease)
	s.Event("owner")
}

func BenchmarkRenewed(b *testing.B) {
	s := New(Options{})
	for b.Loop() {
		s.Renewed(700*time.Millisecond, time.Second)
		s.RoundTrip(400 * time.Microsecond)
		s.Gate(GateRenew, 400*time.Microsecond, false)
	}
}
