package cli

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/doctor"
	"github.com/hbagent/hbagent/internal/lab"
)

// TestJSONIsDocumented: every key that --json can print stands in the section of its verb.
func TestJSONIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/cli-json.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, s := range strings.Split(string(page), "\n## ")[1:] {
		title, body, _ := strings.Cut(s, "\n")
		sections[title] = body
	}
	for title, v := range map[string]any{
		"`hbagent status [GROUP] --json`":     control.Status{},
		"`hbagent plan --json`":               control.Plan{},
		"`hbagent events [--follow] --json`":  control.Event{},
		"`hbagent switchover GROUP --json`":   control.SwitchoverResult{},
		"`hbagent maintenance on|off --json`": control.MaintenanceResult{},
		"`hbagent check [NAME] --json`":       control.CheckRun{},
		"`hbagent template [NAME] --json`": struct {
			Templates []control.Template       `json:"name"`
			Renders   []control.TemplateRender `json:"file"`
		}{},
		"`hbagent reload --json`":     control.ReloadResult{},
		"`hbagent key status --json`": control.KeyStatus{},
		"`hbagent key rotate --json`": control.KeyRotation{},
		"`hbagent version --json`":    versionInfo{},
		"`hbagent demo --json`":       lab.DemoReport{},
		"`hbagent doctor --json`":     doctor.Report{},
		"The socket":                  struct{ control.Error }{},
	} {
		body, ok := sections[title]
		if !ok {
			t.Errorf("docs/cli-json.md has no section %q", title)
			continue
		}
		for _, key := range jsonKeys(t, reflect.TypeOf(v)) {
			if !strings.Contains(body, "`"+key+"`") && !strings.Contains(body, `"`+key+`":`) {
				t.Errorf("docs/cli-json.md, section %s: nothing about `%s`", title, key)
			}
		}
	}
}

// jsonKeys lists the keys of a type and of what it is made of. Status inside another answer is
// documented once.
func jsonKeys(t *testing.T, typ reflect.Type) []string {
	t.Helper()
	var keys []string
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
		if typ == reflect.TypeFor[*control.Status]() {
			return nil
		}
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct || typ.PkgPath() == "time" {
		return nil
	}
	for i := range typ.NumField() {
		f := typ.Field(i)
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case key == "" && !f.Anonymous:
			t.Errorf("%v.%s has no json key", typ, f.Name)
		case key != "":
			keys = append(keys, key)
		}
		keys = append(keys, jsonKeys(t, f.Type)...)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
