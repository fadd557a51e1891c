package labtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// schemaDir is where the schemas of the program's JSON are, as the tests of a package two levels deep find them.
const schemaDir = "../../docs/schema"

const schemaEnd = ".schema.json"

// Schemas returns the names of the schemas that the package ships.
func Schemas(t testing.TB) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(schemaDir, "*"+schemaEnd))
	if err != nil || len(files) == 0 {
		t.Fatalf("schemas in %s: %v, %v", schemaDir, files, err)
	}
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), schemaEnd))
	}
	return names
}

// Misfit returns what is wrong with a JSON text by the schema of an output, nil if nothing is. Programs may meet keys that they do
// not know; here one that is not in the schema is a mistake.
func Misfit(t testing.TB, schema, text string) error {
	t.Helper()
	f, err := os.Open(filepath.Join(schemaDir, schema+schemaEnd))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	doc, err := jsonschema.UnmarshalJSON(f)
	if err != nil {
		t.Fatal(err)
	}
	closeObjects(doc)
	c := jsonschema.NewCompiler()
	c.AssertFormat() // times
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource(schema, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(schema)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

// closeObjects forbids keys beside those that are listed, wherever some are.
func closeObjects(v any) {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["properties"].(map[string]any); ok && v["type"] == "object" {
			v["additionalProperties"] = false
		}
		for _, sub := range v {
			closeObjects(sub)
		}
	case []any:
		for _, sub := range v {
			closeObjects(sub)
		}
	}
}
