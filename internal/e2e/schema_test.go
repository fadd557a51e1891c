package e2e_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

// fits holds what a command printed against a schema, line by line where each line is a value.
func (r said) fits(t *testing.T, schema string, byLine bool) {
	t.Helper()
	values := []string{r.stdout}
	if byLine {
		values = strings.Split(strings.TrimSpace(r.stdout), "\n")
	}
	for _, text := range values {
		if err := labtest.Misfit(t, schema, text); err != nil {
			t.Errorf("%s: %v\n%s", r.command, err, text)
		}
	}
}

// What real agents answer fits the schemas that the package ships: in a healthy cluster, in the middle of moves, and with a node
// dead and a check failing.
func TestSchemas(t *testing.T) {
	s := newSite(t, func(s *site, c *lab.Config) {
		source := filepath.Join(s.Dir, "list.tmpl")
		must(t, os.WriteFile(source, []byte(`{{range healthy "web"}}{{.Name}} {{end}}`), 0o644))
		c.Templates = []lab.TemplateConfig{{Name: "list", Source: source, File: filepath.Join(s.Dir, "list"), Nodes: []string{"web1"}}}
	})
	used := make(map[string]bool)
	look := func(schema, node string, args ...string) {
		t.Helper()
		used[schema] = true
		s.verb(t, node, append(args, "--json")...).fits(t, schema, schema == "events")
	}
	all := func() {
		t.Helper()
		for _, node := range []string{"web1", "db1"} {
			look("status", node, "status")
			look("status", node, "status", "web")
			look("plan", node, "plan")
			look("plan", node, "plan", "--fail", "web@web1", "--down", "db1")
			look("events", node, "events")
			look("events", node, "events", "--local")
			look("check", node, "check")
			look("template", node, "template")
			look("dry-run", node, "template", "--dry-run")
		}
	}
	all()
	look("version", "web1", "version")
	look("reload", "web1", "reload")
	look("doctor", "web1", "doctor", "--measure", "200ms")
	look("key-status", "web1", "key", "status")
	look("key-rotate", "web1", "key", "rotate")
	look("key-rotate", "web1", "key", "rotate", "--abort") // refused
	look("switchover", "web1", "switchover", "web", "--no-wait")
	all()                                                           // one drains
	look("switchover", "web1", "switchover", "web", "--to", "web2") // refused
	look("maintenance", "db1", "maintenance", "on", "--node", "web2", "--reason", "new kernel")
	all()
	look("maintenance", "db1", "maintenance", "on", "--node", "web1") // nobody else can take it
	look("maintenance", "db1", "maintenance", "off", "--node", "web2")
	must(t, s.Node("web2").PowerOff())
	must(t, s.web["web1"].Kill())
	s.waitPeer(t, "db1", "web2", false)
	s.waitCheck(t, "db1", "web1", "web", "failing")
	look("key-status", "web1", "key", "status")
	all()

	for _, name := range labtest.Schemas(t) {
		if !used[name] && name != "demo" { // internal/lab has that
			t.Errorf("the schema %s is held against no real output", name)
		}
	}
}

// The strict reading refuses what it is there to refuse.
func TestSchemasRefuse(t *testing.T) {
	event := map[string]any{"at": "2026-03-14T03:04:05Z", "node": "web1", "kind": "owner"}
	with := func(key string, value any) string {
		m := maps.Clone(event)
		if m[key] = value; value == nil {
			delete(m, key)
		}
		b, err := json.Marshal(m)
		must(t, err)
		return string(b)
	}
	for _, tt := range []struct {
		text string
		ok   bool
	}{
		{with("kind", "owner"), true},
		{with("epoch", 3), true},
		{with("epoch", "3"), false},
		{with("at", "yesterday"), false},
		{with("colour", "red"), false},
		{with("kind", nil), false},
		{with("accounts", []any{map[string]any{"node": "web2", "at": "2026-03-14T03:04:05Z"}}), true},
		{with("accounts", []any{map[string]any{"node": "web2", "at": "2026-03-14T03:04:05Z", "colour": "red"}}), false},
	} {
		if err := labtest.Misfit(t, "events", tt.text); (err == nil) != tt.ok {
			t.Errorf("%s: %v, want ok: %v", tt.text, err, tt.ok)
		}
		if err := labtest.Misfit(t, "status", tt.text); err == nil {
			t.Errorf("%s is taken for a status", tt.text)
		}
	}
}
