package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/doctor"
	"github.com/hbagent/hbagent/internal/lab"
)

// schemaDir has one JSON Schema (draft 2020-12) for each --json output, made of the Go types and their comments by
// `make schema`.
const schemaDir = "docs/schema"

// schemas are the outputs, by file. Tests of internal/e2e hold real ones against them.
var schemas = map[string]any{
	"status":      control.Status{},
	"plan":        control.Plan{},
	"events":      control.Event{},
	"switchover":  control.SwitchoverResult{},
	"maintenance": control.MaintenanceResult{},
	"check":       []control.CheckRun{},
	"template":    []control.Template{},
	"dry-run":     []control.TemplateRender{},
	"reload":      control.ReloadResult{},
	"key-status":  control.KeyStatus{},
	"key-rotate":  control.KeyRotation{},
	"version":     versionInfo{},
	"demo":        lab.DemoReport{},
	"doctor":      doctor.Report{},
}

// examples are the values of what is a string with a meaning. They are no enum: a later version may know more.
var examples = map[reflect.Type][]any{
	reflect.TypeFor[control.State](): {control.StateActive, control.StateStandby, control.StateAcquiring, control.StateDraining,
		control.StateFault, control.StateMaintenance, control.StateUnowned},
	reflect.TypeFor[control.CheckStatus]():    {control.CheckPending, control.CheckPassing, control.CheckFailing},
	reflect.TypeFor[control.StepState]():      {control.StepRunning, control.StepOK, control.StepFailed},
	reflect.TypeFor[control.Outcome]():        {control.OutcomeMoved, control.OutcomeRefused, control.OutcomeRolledBack, control.OutcomeFailed},
	reflect.TypeFor[control.KeyOutcome]():     {control.KeyRotated, control.KeyRefused, control.KeyWaiting, control.KeyAborted},
	reflect.TypeFor[doctor.Level]():           {doctor.Problem, doctor.Warning, doctor.Skipped, doctor.Ignored, doctor.OK},
	reflect.TypeFor[control.PlanOutcome]():    {control.PlanStays, control.PlanMoves, control.PlanNobody},
	reflect.TypeFor[control.TemplateStatus](): {control.TemplatePending, control.TemplateCurrent, control.TemplateHeld, control.TemplateFailing},
	reflect.TypeFor[control.RenderResult]():   {control.RenderUnchanged, control.RenderChanges, control.RenderHeld, control.RenderFails},
}

// TestSchemas: the files are those of the types, and no key that was ever promised goes away.
func TestSchemas(t *testing.T) {
	t.Chdir("../..")
	have, err := filepath.Glob(schemaDir + "/*.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range have {
		if _, ok := schemas[strings.TrimSuffix(filepath.Base(path), ".schema.json")]; !ok {
			t.Errorf("%s belongs to no output", path)
		}
	}
	for name, v := range schemas {
		path := filepath.Join(schemaDir, name+".schema.json")
		old, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		text := schemaOf(t, name, v)
		for _, key := range missingKeys(t, old, text) {
			t.Errorf("%s: %s was promised and is gone, or is of another type: keys are added, never changed", path, key)
		}
		if bytes.Equal(old, text) {
			continue
		}
		if !*update || t.Failed() {
			t.Errorf("%s is not that of the types: make schema", path)
			continue
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func schemaOf(t *testing.T, name string, v any) []byte {
	t.Helper()
	r := jsonschema.Reflector{
		AllowAdditionalProperties: true, // a program must ignore keys that it does not know
		Mapper: func(typ reflect.Type) *jsonschema.Schema {
			if values, ok := examples[typ]; ok {
				return &jsonschema.Schema{Type: "string", Examples: values}
			}
			return nil
		},
	}
	for _, dir := range []string{"./internal/control", "./internal/doctor", "./internal/lab", "./internal/cli"} {
		if err := r.AddGoComments("github.com/hbagent/hbagent", dir, jsonschema.WithFullComment()); err != nil {
			t.Fatal(err)
		}
	}
	for key, comment := range r.CommentMap { // lines are broken for Go's readers
		r.CommentMap[key] = strings.Join(strings.Fields(comment), " ")
	}
	s := r.Reflect(v)
	s.ID = jsonschema.ID("https://github.com/hbagent/hbagent/docs/schema/" + name + ".schema.json")
	s.Title = "hbagent " + strings.ReplaceAll(name, "-", " ") + " --json"
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(text, '\n')
}

// missingKeys lists what an old schema promises and a new one does not: "Status.node string".
func missingKeys(t *testing.T, old, now []byte) (missing []string) {
	t.Helper()
	if old == nil {
		return nil
	}
	promised := promises(t, now)
	for _, key := range promises(t, old) {
		if !slices.Contains(promised, key) {
			missing = append(missing, key)
		}
	}
	return missing
}

// promises lists every key of a schema with its type.
func promises(t *testing.T, text []byte) (keys []string) {
	t.Helper()
	type property struct {
		Type string `json:"type"`
		Ref  string `json:"$ref"`
	}
	var s struct {
		Defs map[string]struct {
			Properties map[string]property `json:"properties"`
			Required   []string            `json:"required"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	for def, d := range s.Defs {
		for key, p := range d.Properties {
			keys = append(keys, def+"."+key+" "+p.Type+p.Ref)
		}
		for _, key := range d.Required {
			keys = append(keys, def+"."+key+" is always there")
		}
	}
	if keys == nil {
		t.Fatal("a schema without keys")
	}
	slices.Sort(keys)
	return keys
}

func TestMissingKeys(t *testing.T) {
	schema := func(properties, required string) []byte {
		return []byte(`{"$defs": {"T": {"properties": {` + properties + `}, "required": [` + required + `]}}}`)
	}
	old := schema(`"a": {"type": "string"}, "b": {"type": "integer"}`, `"a"`)
	for _, tt := range []struct {
		now  []byte
		want string
	}{
		{old, ""},
		{schema(`"a": {"type": "string"}, "b": {"type": "integer"}, "c": {"type": "string"}`, `"a", "c"`), ""},
		{schema(`"a": {"type": "string"}`, `"a"`), "T.b integer"},
		{schema(`"a": {"type": "string"}, "b": {"type": "string"}`, `"a"`), "T.b integer"},
		{schema(`"a": {"type": "string"}, "b": {"type": "integer"}`, ``), "T.a is always there"},
	} {
		if got := strings.Join(missingKeys(t, old, tt.now), ", "); got != tt.want {
			t.Errorf("missing %q, want %q", got, tt.want)
		}
	}
}
