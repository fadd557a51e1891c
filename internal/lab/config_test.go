package lab_test

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

// What the lab writes is what hbagent reads: keys that are left out must not appear.
func TestConfigIsValid(t *testing.T) {
	w := labtest.New(t, lab.Options{Nodes: []string{"a", "b", "c"}})
	c := w.Config()
	c.Checks = []lab.CheckConfig{{Name: "web", Type: "http", URL: "http://127.0.0.1/", Nodes: []string{"a", "b"}}}
	group := w.WebGroup("a", "b")
	group.Checks = []string{"web"}
	c.Groups = []lab.GroupConfig{group}
	if err := w.WriteConfig(c); err != nil {
		t.Fatal(err)
	}
	read, err := config.Load(w.Node("a").ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	if len(read.Warnings) > 0 {
		t.Errorf("warnings: %v", read.Warnings)
	}
	if _, err := config.ReadKeys(read.Cluster.KeyFile); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, read.Voters()); diff != "" {
		t.Errorf("voters (-want +got):\n%s", diff)
	}
	first, err := os.ReadFile(read.Cluster.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteConfig(c); err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(read.Cluster.KeyFile); err != nil || string(again) != string(first) {
		t.Errorf("a second config changed the key (%v)", err)
	}
}
