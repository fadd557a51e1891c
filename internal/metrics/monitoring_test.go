package metrics

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
)

const monitoring = "../../deploy/monitoring/"

func read(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(monitoring + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// dashboard is what this test looks at in grafana-dashboard.json.
type dashboard struct {
	Templating struct {
		List []struct{ Name, Definition string }
	}
	Panels []struct {
		ID          int
		Type, Title string
		Description string
		Targets     []struct{ Expr string }
		GridPos     struct{ H, W, X, Y int }
	}
}

func readDashboard(t testing.TB) (d dashboard) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, "grafana-dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// exprs are the expressions of the dashboard, as Grafana asks Prometheus.
func (d dashboard) exprs() []string {
	var out []string
	fill := strings.NewReplacer("$__rate_interval", "1m", "$cluster", "shop", "$instance", "web1", "$group", "web")
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			out = append(out, fill.Replace(target.Expr))
		}
	}
	return out
}

var (
	selector = regexp.MustCompile(`\b(hbagent_[a-z_]+)(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`([a-z_]+)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
	suffix   = regexp.MustCompile(`_(bucket|sum|count)$`)
)

// unknown says what a text selects that no agent has: a metric, a label, or a value of a label. What scrapes adds
// labels of its own.
func unknown(text string, all map[string]*dto.MetricFamily) (out []string) {
	for _, m := range selector.FindAllStringSubmatch(text, -1) {
		name := m[1]
		f := all[name]
		if base := suffix.ReplaceAllString(name, ""); f == nil && base != name && all[base].GetType() == dto.MetricType_HISTOGRAM {
			f = all[base]
		} else if f.GetType() == dto.MetricType_HISTOGRAM {
			f = nil // a histogram has no series of its bare name
		}
		if f == nil {
			out = append(out, "no metric "+name)
			continue
		}
		for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
			if why := unknownLabel(f, l[1], l[2], l[3]); why != "" {
				out = append(out, name+": "+why)
			}
		}
	}
	return out
}

func unknownLabel(f *dto.MetricFamily, label, op, value string) string {
	if slices.Contains([]string{"cluster", "instance", "job"}, label) {
		return ""
	}
	values := valuesOf(f, label)
	switch {
	case values == nil:
		return "no label " + label
	case slices.Contains([]string{"group", "node", "check"}, label): // whatever the config has
		return ""
	}
	for _, v := range strings.Split(value, "|") {
		if !slices.Contains(values, v) {
			return fmt.Sprintf("%s%s%q: it has %q", label, op, v, values)
		}
	}
	return ""
}

func valuesOf(f *dto.MetricFamily, label string) (values []string) {
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == label {
				values = append(values, l.GetValue())
			}
		}
		if label == "le" {
			values = append(values, "+Inf")
			for _, b := range m.GetHistogram().GetBucket() {
				values = append(values, fmt.Sprint(b.GetUpperBound()))
			}
		}
	}
	return values
}

// everyReason is full with the reasons of moves that the agent has.
func everyReason(t testing.TB) map[string]*dto.MetricFamily {
	t.Helper()
	s := full(t)
	for _, r := range strings.Fields("start dead-owner released failback stop config maintenance resume") {
		s.Moved("web", r)
	}
	return families(t, s)
}

// Dashboard, alerts and their tests speak of nothing that no agent has.
func TestMonitoringKnowsTheMetrics(t *testing.T) {
	all := everyReason(t)
	for _, name := range []string{"alerts.yml", "alerts_test.yml", "prometheus.yml"} {
		for _, why := range unknown(uncommented(read(t, name)), all) {
			t.Errorf("%s: %s", name, why)
		}
	}
	d := readDashboard(t)
	for _, e := range d.exprs() {
		for _, why := range unknown(e, all) {
			t.Errorf("grafana-dashboard.json: %s", why)
		}
	}
	for _, v := range d.Templating.List {
		for _, why := range unknown(v.Definition, all) {
			t.Errorf("grafana-dashboard.json: variable %s: %s", v.Name, why)
		}
	}
}

func uncommented(yaml string) string {
	return regexp.MustCompile(`(?m)^\s*#.*$`).ReplaceAllString(yaml, "")
}

// The check above sees what it is there to see.
func TestUnknown(t *testing.T) {
	all := everyReason(t)
	for text, want := range map[string]string{
		`hbagent_group_owner{cluster="x", group="y"}`:            "",
		`rate(hbagent_lease_left_ratio_bucket{le="0.3"}[5m])`:    "",
		`hbagent_group_ownr`:                                     "no metric hbagent_group_ownr",
		`hbagent_lease_left_ratio > 1`:                           "no metric hbagent_lease_left_ratio",
		`hbagent_group_owner_count`:                              "no metric hbagent_group_owner_count",
		`hbagent_group_owner{grp="y"}`:                           "hbagent_group_owner: no label grp",
		`hbagent_lease_left_ratio_bucket{le="0.33"}`:             `le="0.33"`,
		`hbagent_check_state{state="failed"}`:                    `state="failed"`,
		`hbagent_cluster_problems_total{kind=~"wrong-key|typo"}`: `kind=~"typo"`,
	} {
		got := strings.Join(unknown(text, all), "; ")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// A panel says what it shows, and none lies on another.
func TestDashboardLayout(t *testing.T) {
	taken := make(map[[2]int]string)
	ids := make(map[int]bool)
	for _, p := range readDashboard(t).Panels {
		if ids[p.ID] {
			t.Errorf("%s: the id %d is there twice", p.Title, p.ID)
		}
		ids[p.ID] = true
		if p.Title == "" || p.Type != "row" && (p.Description == "" || len(p.Targets) == 0) {
			t.Errorf("panel %d %q needs a title, a description and a query", p.ID, p.Title)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok || x >= 24 {
					t.Fatalf("%q lies on %q, or beyond the right edge", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

// Each alert is seen to fire in alerts_test.yml, and to be silent before.
func TestRulesHaveTests(t *testing.T) {
	tests := read(t, "alerts_test.yml")
	rules := regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(read(t, "alerts.yml"), -1)
	if len(rules) == 0 {
		t.Fatal("alerts.yml has no rules")
	}
	for _, m := range rules {
		if !regexp.MustCompile(`alertname: ` + m[1] + `\n\s+eval_time: \w+\n\s+exp_alerts:\n\s+- exp_labels`).MatchString(tests) {
			t.Errorf("%s never fires in alerts_test.yml", m[1])
		}
		if !strings.Contains(tests, "{alertname: "+m[1]+", eval_time: ") {
			t.Errorf("%s is never silent in alerts_test.yml", m[1])
		}
	}
}

// promtool runs Prometheus's own checker.
func promtool(t testing.TB, stdin string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath("promtool"); err != nil {
		if os.Getenv("HBAGENT_TEST_NO_SKIP") == "1" {
			t.Fatal("HBAGENT_TEST_NO_SKIP=1 forbids to skip: install promtool (package prometheus)")
		}
		t.Skip("needs promtool: install the package prometheus")
	}
	cmd := exec.Command("promtool", args...)
	cmd.Dir, cmd.Stdin = monitoring, strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestPromtool(t *testing.T) {
	t.Run("rules", func(t *testing.T) { promtool(t, "", "test", "rules", "alerts_test.yml") })
	t.Run("config", func(t *testing.T) { promtool(t, "", "check", "config", "prometheus.yml") }) // and its rules
	t.Run("metrics", func(t *testing.T) { promtool(t, scrape(t, full(t)), "check", "metrics") })
	t.Run("dashboard", func(t *testing.T) {
		// A recording rule for each expression: promtool parses it.
		var rules strings.Builder
		rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
		for i, e := range readDashboard(t).exprs() {
			expr, err := json.Marshal(e) // is YAML too
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&rules, "  - {record: \"panel:%d\", expr: %s}\n", i, expr)
		}
		file := filepath.Join(t.TempDir(), "dashboard.yml")
		if err := os.WriteFile(file, []byte(rules.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		promtool(t, "", "check", "rules", file)
	})
}
