package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

const metricsPort = "9746"

// A scraped is what /metrics of a node said: each series, named as in the text format, of histograms the count.
type scraped map[string]float64

// scrapeText asks a node's agent as Prometheus does, from the node itself.
func scrapeText(ctx context.Context, n *lab.Node) (text []byte, err error) {
	dial := func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		err = n.Do(func() error { conn, err = new(net.Dialer).DialContext(ctx, network, addr); return err })
		return conn, err
	}
	client := http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+metricsPort+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("/metrics of %s: %s", n.Name, res.Status)
	}
	return io.ReadAll(res.Body)
}

func parseMetrics(text []byte) (map[string]*dto.MetricFamily, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(bytes.NewReader(text))
}

func (s *site) scrape(ctx context.Context, node string) (scraped, error) {
	text, err := scrapeText(ctx, s.Node(node))
	if err != nil {
		return nil, err
	}
	families, err := parseMetrics(text)
	if err != nil {
		return nil, err
	}
	out := make(scraped)
	for name, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			key := name
			if labels != nil {
				key += "{" + strings.Join(labels, ",") + "}"
			}
			out[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return out, nil
}

// waitMetrics waits until a node's metrics are as wanted.
func (s *site) waitMetrics(t testing.TB, node string, want scraped) {
	t.Helper()
	eventually(t, func(ctx context.Context) error {
		got, err := s.scrape(ctx, node)
		if err != nil {
			return err
		}
		for _, series := range slices.Sorted(maps.Keys(want)) {
			if v, ok := got[series]; !ok || v != want[series] {
				return fmt.Errorf("%s: %s is %v (there: %v), want %v", node, series, v, ok, want[series])
			}
		}
		return nil
	})
}

// now is what a node's metrics are at this moment.
func (s *site) now(t testing.TB, node string) scraped {
	t.Helper()
	got, err := s.scrape(within(t), node)
	must(t, err)
	return got
}

// viewsAgree waits until these agents see web at owner, by their metrics and by their status, in the same epoch.
func (s *site) viewsAgree(t testing.TB, owner string, nodes ...string) {
	t.Helper()
	eventually(t, func(ctx context.Context) error {
		epochs := make(map[float64][]string)
		for _, node := range nodes {
			m, err := s.scrape(ctx, node)
			if err != nil {
				return err
			}
			st, err := s.Node(node).Status(ctx)
			if err != nil {
				return err
			}
			for _, other := range []string{"web1", "web2"} {
				want := 0.0
				if other == owner {
					want = 1
				}
				series := fmt.Sprintf(`hbagent_group_seen_owner{group="web",node=%q}`, other)
				if got, ok := m[series]; !ok || got != want {
					return fmt.Errorf("%s: %s is %v (there: %v), want %v", node, series, got, ok, want)
				}
				own, may := m[`hbagent_group_owner{group="web"}`]
				if may != (node != "db1") || other == node && own != want {
					return fmt.Errorf("%s says of itself that it owns web: %v (there: %v), want %v", node, own, may, want)
				}
			}
			g := groupOf(st, "web")
			epoch := m[`hbagent_group_epoch{group="web"}`]
			if g.Owner != owner || float64(g.Epoch) != epoch {
				return fmt.Errorf("%s: status says %s epoch %d, metrics %s epoch %v", node, g.Owner, g.Epoch, owner, epoch)
			}
			epochs[epoch] = append(epochs[epoch], node)
		}
		if len(epochs) != 1 {
			return fmt.Errorf("the nodes see different epochs: %v", epochs)
		}
		return nil
	})
}

func moves(reason string) string {
	return fmt.Sprintf(`hbagent_group_moves_total{group="web",reason=%q}`, reason)
}

func shuts(reason string) string {
	return fmt.Sprintf(`hbagent_group_shuts_total{group="web",reason=%q}`, reason)
}

// Real agents are scraped while a group moves in each of the ways that matter: the counters move as docs/metrics.md
// says, and all agents' views agree.
func TestMetrics(t *testing.T) {
	all := []string{"web1", "web2", "db1"}
	s := newSite(t, func(_ *site, c *lab.Config) {
		c.HTTP = &lab.HTTPConfig{Listen: []string{"127.0.0.1:" + metricsPort}}
		c.Groups[0].Drain = "10s"
	})
	s.viewsAgree(t, "web1", all...)

	t.Run("at rest", func(t *testing.T) {
		before := s.now(t, "web1")
		for _, series := range []string{`hbagent_gate_transaction_seconds{operation="renew"}`, "hbagent_lease_left_ratio", "hbagent_lease_renewal_round_trip_seconds",
			`hbagent_check_runs_total{check="web",result="ok"}`, `hbagent_cluster_packets_total{direction="in"}`, "hbagent_lease_grants_total"} {
			eventually(t, func(ctx context.Context) error {
				got, err := s.scrape(ctx, "web1")
				if err == nil && got[series] <= before[series] {
					err = fmt.Errorf("%s does not grow: %v, %v before", series, got[series], before[series])
				}
				return err
			})
		}
		for _, node := range all {
			s.waitMetrics(t, node, scraped{
				"hbagent_loop_responding": 1, "hbagent_quorum_seen": 3, "hbagent_quorum_needed": 2, "hbagent_quorum_complete": 1,
				`hbagent_node_alive{node="web1"}`: 1, `hbagent_node_alive{node="web2"}`: 1, `hbagent_node_alive{node="db1"}`: 1,
				"hbagent_lease_ttl_seconds": ttl.Seconds(), `hbagent_config_reloads_total{result="failed"}`: 0,
			})
		}
		s.waitMetrics(t, "web2", scraped{`hbagent_group_state{group="web",state="standby"}`: 1, `hbagent_check_state{check="web",state="passing"}`: 1})
	})
	t.Run("formats and names", func(t *testing.T) { s.realNames(t) })

	t.Run("switchover", func(t *testing.T) {
		was1, was2 := s.now(t, "web1"), s.now(t, "web2")
		s.verb(t, "db1", "switchover", "web", "--to", "web2").wants(t, 0)
		s.viewsAgree(t, "web2", all...)
		s.waitMetrics(t, "web2", scraped{moves("switchover"): was2[moves("switchover")] + 1, moves("health"): was2[moves("health")]})
		ended := `hbagent_drains_total{result="finished"}`
		s.waitMetrics(t, "web1", scraped{
			shuts("transferred"): was1[shuts("transferred")] + 1, shuts("expired"): was1[shuts("expired")], moves("switchover"): was1[moves("switchover")],
			ended: was1[ended] + 1, `hbagent_group_lease_left_seconds{group="web"}`: 0,
		})
	})
	t.Run("the web server is killed", func(t *testing.T) {
		was1, was2 := s.now(t, "web1"), s.now(t, "web2")
		must(t, s.web["web2"].Kill())
		s.viewsAgree(t, "web1", all...)
		s.waitMetrics(t, "web2", scraped{
			`hbagent_check_state{check="web",state="failing"}`: 1, `hbagent_group_state{group="web",state="fault"}`: 1,
			`hbagent_group_eligible{group="web"}`: 0, shuts("transferred"): was2[shuts("transferred")] + 1,
		})
		failed := `hbagent_check_runs_total{check="web",result="failed"}`
		if now := s.now(t, "web2"); now[failed] < was2[failed]+fall {
			t.Errorf("%s: %v, %v before: want %d more", failed, now[failed], was2[failed], fall)
		}
		s.waitMetrics(t, "web1", scraped{moves("health"): was1[moves("health")] + 1, moves("switchover"): was1[moves("switchover")]})
		must(t, s.web["web2"].Start(within(t)))
		must(t, s.WaitEligible(within(t), "web", "web2"))
	})
	t.Run("another config, and a bad one", func(t *testing.T) {
		text, err := os.ReadFile(s.Node("web2").ConfigFile())
		must(t, err)
		must(t, os.WriteFile(s.Node("web2").ConfigFile(), bytes.Replace(text, []byte(`hold = "500ms"`), []byte(`hold = "600ms"`), 1), 0o644))
		s.verb(t, "web2", "reload").wants(t, 0, "hold 500ms -> 600ms")
		s.waitMetrics(t, "web1", scraped{`hbagent_node_config_differs{node="web2"}`: 1, `hbagent_node_config_differs{node="db1"}`: 0})
		s.waitMetrics(t, "web2", scraped{`hbagent_config_reloads_total{result="ok"}`: 1, "hbagent_config_last_reload_successful": 1})
		must(t, os.WriteFile(s.Node("web2").ConfigFile(), append(text, "nmae = 1\n"...), 0o644))
		s.verb(t, "web2", "reload").wants(t, 1, "nmae")
		s.waitMetrics(t, "web2", scraped{`hbagent_config_reloads_total{result="failed"}`: 1, "hbagent_config_last_reload_successful": 0})
		must(t, os.WriteFile(s.Node("web2").ConfigFile(), text, 0o644))
		s.verb(t, "web2", "reload").wants(t, 0)
		s.waitMetrics(t, "web1", scraped{`hbagent_node_config_differs{node="web2"}`: 0})
	})
	t.Run("maintenance", func(t *testing.T) {
		s.verb(t, "db1", "maintenance", "on", "--reason", "disk").wants(t, 0)
		for _, node := range all {
			s.waitMetrics(t, node, scraped{`hbagent_node_maintenance{node="db1"}`: 1, `hbagent_node_maintenance{node="web1"}`: 0})
		}
		s.verb(t, "db1", "maintenance", "off").wants(t, 0)
		s.waitMetrics(t, "web1", scraped{`hbagent_node_maintenance{node="db1"}`: 0})
	})
	t.Run("the owner loses its power", func(t *testing.T) {
		was := s.now(t, "web2")
		must(t, s.Node("web1").PowerOff())
		s.viewsAgree(t, "web2", "web2", "db1")
		s.waitMetrics(t, "web2", scraped{
			moves("dead-owner"): was[moves("dead-owner")] + 1, `hbagent_node_alive{node="web1"}`: 0, "hbagent_quorum_seen": 2, "hbagent_quorum_complete": 0,
		})
	})
}

var documentedMetric = regexp.MustCompile("(?m)^\\| `(hbagent_[a-z_]+)` \\|")

// realNames holds what a real owner serves against docs/metrics.md, and has Prometheus's own checker read it.
func (s *site) realNames(t *testing.T) {
	text, err := scrapeText(within(t), s.Node("web1"))
	must(t, err)
	families, err := parseMetrics(text)
	must(t, err)
	doc, err := os.ReadFile("../../docs/metrics.md")
	must(t, err)
	documented := make(map[string]bool)
	for _, m := range documentedMetric.FindAllStringSubmatch(string(doc), -1) {
		documented[m[1]] = true
	}
	series := 0
	for name, f := range families {
		if !strings.HasPrefix(name, "hbagent_") {
			continue
		}
		if !documented[name] {
			t.Errorf("docs/metrics.md does not know %s", name)
		}
		delete(documented, name)
		for _, m := range f.GetMetric() {
			series += 1 + len(m.GetHistogram().GetBucket())
		}
	}
	for name := range documented {
		if !strings.HasPrefix(name, "hbagent_group_drain_") { // only while one is under way
			t.Errorf("docs/metrics.md has %s, and the owner does not serve it", name)
		}
	}
	t.Logf("web1 serves %d series of hbagent, %d bytes in all", series, len(text))

	if _, err := exec.LookPath("promtool"); err != nil {
		labtest.Skip(t, "promtool: apt install prometheus")
	}
	cmd := exec.Command("promtool", "check", "metrics")
	cmd.Stdin = bytes.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}
