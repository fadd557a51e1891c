package metrics

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
)

const docFile = "../../docs/metrics.md"

// families are all metrics of ours, by name.
func families(t testing.TB, s *Set) map[string]*dto.MetricFamily {
	t.Helper()
	list, err := s.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]*dto.MetricFamily)
	for _, f := range list {
		if strings.HasPrefix(f.GetName(), namespace+"_") {
			out[f.GetName()] = f
		}
	}
	return out
}

// row is how docs/metrics.md has a metric.
func row(f *dto.MetricFamily) string {
	labels := make(map[string]bool)
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			labels["`"+l.GetName()+"`"] = true
		}
	}
	text := strings.Join(slices.Sorted(maps.Keys(labels)), ", ")
	if text == "" {
		text = "-"
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s |", f.GetName(), strings.ToLower(f.GetType().String()), text, f.GetHelp())
}

var documented = regexp.MustCompile("(?m)^\\| `(hbagent_[a-z_]+)` \\|.*$")

// docs/metrics.md has a row for every metric, and no other: a new metric needs a line there, and one that goes
// takes its line along.
func TestDocumentation(t *testing.T) {
	b, err := os.ReadFile(docFile)
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]string)
	for _, m := range documented.FindAllStringSubmatch(string(b), -1) {
		if rows[m[1]] != "" {
			t.Errorf("%s stands there twice", m[1])
		}
		rows[m[1]] = m[0]
	}
	all := families(t, full(t))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if want := row(all[name]); rows[name] != want {
			t.Errorf("docs/metrics.md has\n%s\nit should have\n%s", rows[name], want)
		}
		delete(rows, name)
	}
	for name := range rows {
		t.Errorf("docs/metrics.md has %s, which does not exist", name)
	}
}

// The values of labels that come from a list of ours are explained.
func TestDocumentedValues(t *testing.T) {
	b, err := os.ReadFile(docFile)
	if err != nil {
		t.Fatal(err)
	}
	fromConfig := []string{"group", "node", "check", "version", "goversion", "hash", "cluster_name", "gate"}
	for name, f := range families(t, full(t)) {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if !slices.Contains(fromConfig, l.GetName()) && !strings.Contains(string(b), "`"+l.GetValue()+"`") {
					t.Errorf("%s: what does %s=%q mean?", name, l.GetName(), l.GetValue())
				}
			}
		}
	}
}
