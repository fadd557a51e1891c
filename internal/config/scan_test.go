package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// places flattens a tree to path -> "key text|value text", as the spans cut it.
func places(text string, n *node, path string, into map[string]string) {
	cut := func(s span) string { return text[s.start:s.end] }
	if path != "" {
		into[path] = cut(n.key) + "|" + cut(n.value)
	}
	for name, f := range n.fields {
		places(text, f, path+"/"+name, into)
	}
	for i, item := range n.items {
		places(text, item, path+"/"+string(rune('0'+i)), into)
	}
}

func TestScanPlaces(t *testing.T) {
	tests := map[string]struct {
		text string
		want map[string]string
	}{
		"pair":           {"a = 1 # one", map[string]string{"/a": "a|1"}},
		"spaces":         {"\t a\t=\t1\t\r\n", map[string]string{"/a": "a|1"}},
		"hash in text":   {`a = "x # y"  # z`, map[string]string{"/a": `a|"x # y"`}},
		"escaped quote":  {`a = "x \" y"`, map[string]string{"/a": `a|"x \" y"`}},
		"backslash end":  {`a = 'x\'`, map[string]string{"/a": `a|'x\'`}},
		"quoted key":     {`"a.b" = 1`, map[string]string{"/a.b": `"a.b"|1`}},
		"escaped key":    {`"\u0061" = 1`, map[string]string{"/a": `"\u0061"|1`}},
		"dotted key":     {"a . b = 1", map[string]string{"/a": "a . b|a . b", "/a/b": "a . b|1"}},
		"table":          {"[a.b]\nc = 1", map[string]string{"/a": "[a.b]|[a.b]", "/a/b": "[a.b]|[a.b]", "/a/b/c": "c|1"}},
		"later parent":   {"[a.b]\n[a]\nc = 1", map[string]string{"/a": "[a]|[a]", "/a/b": "[a.b]|[a.b]", "/a/c": "c|1"}},
		"array":          {"a = [ # list\n  1,\n  [2],\n]", map[string]string{"/a": "a|[ # list\n  1,\n  [2],\n]", "/a/0": "|1", "/a/1": "|[2]", "/a/1/0": "|2"}},
		"inline table":   {`a = { b = 1, "c" = "}" }`, map[string]string{"/a": `a|{ b = 1, "c" = "}" }`, "/a/b": "b|1", "/a/c": `"c"|"}"`}},
		"multiline":      {"a = \"\"\"x\n\"\" \\\"\"\"y\"\"\"\"\"\nb = 1", map[string]string{"/a": "a|\"\"\"x\n\"\" \\\"\"\"y\"\"\"\"\"", "/b": "b|1"}},
		"literal lines":  {"a = '''x\n'' y'''\nb = 1", map[string]string{"/a": "a|'''x\n'' y'''", "/b": "b|1"}},
		"date and float": {"a = 1979-05-27 07:32:00 # d\nb = 1e3", map[string]string{"/a": "a|1979-05-27 07:32:00", "/b": "b|1e3"}},
		"tables": {
			"[[a]]\nb = 1\n[a.c]\nd = 2\n[[a]]\nb = 3",
			map[string]string{
				"/a": "[[a]]|[[a]]", "/a/0": "[[a]]|[[a]]", "/a/0/b": "b|1", "/a/0/c": "[a.c]|[a.c]", "/a/0/c/d": "d|2",
				"/a/1": "[[a]]|[[a]]", "/a/1/b": "b|3",
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			rep := newReport("test.toml", []byte(tt.text))
			root, stop := scan(rep)
			if stop != nil || len(rep.problems) > 0 {
				t.Fatalf("stopped at %+v, problems %v", stop, rep.problems)
			}
			got := map[string]string{}
			places(tt.text, root, "", got)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("places (-want +got):\n%s", diff)
			}
			if _, err := decodeTOML(tt.text); err != nil {
				t.Errorf("the test itself is not TOML: %v", err)
			}
		})
	}
}

// TestHostileShapes: what would make the TOML library recurse or go quadratic is
// refused before it gets there.
func TestHostileShapes(t *testing.T) {
	const n = maxFileBytes - 10
	shapes := map[string]string{
		"brackets":      "a = " + strings.Repeat("[", n),
		"braces":        "a = " + strings.Repeat("{a=", n/3),
		"dots":          strings.Repeat("a.", n/2) + "a = 1",
		"header dots":   "[" + strings.Repeat("a.", n/2) + "a]",
		"behind a slip": "x = = 1\na = " + strings.Repeat("[", n-10),
		"unknown keys":  strings.Repeat("x", 60) + " = 1\n" + keys(n/20),
		"open text":     `a = "` + strings.Repeat(`\"`, n/2-10),
	}
	for name, text := range shapes {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("test.toml", []byte(text))
			problems, ok := err.(Problems)
			if !ok || len(problems) > maxProblems+1 || len(err.Error()) > 64<<10 {
				t.Errorf("%d bytes of error of type %T, want at most %d Problems", len(err.Error()), err, maxProblems+1)
			}
		})
	}
}

// keys returns n different lines.
func keys(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("k")
		for ; i > 0; i /= 26 {
			b.WriteByte(byte('a' + i%26))
		}
		b.WriteString(" = 1\n")
	}
	return b.String()
}

func TestSuggest(t *testing.T) {
	tests := []struct{ word, want string }{
		{"intervall", "interval"},
		{"timout", "timeout"},
		{"tmieout", "timeout"},
		{"addr", "address"},
		{"INTERVAL", "interval"},
		{"dsn", "dsn_file"},
		{"priority", ""},
		{"x", ""},
		{"", ""},
		{strings.Repeat("interval", 100), ""},
	}
	for _, tt := range tests {
		if got, ok := suggest(tt.word, schema["check"]); got != tt.want || ok != (tt.want != "") {
			t.Errorf("suggest(%q) = %q, %v; want %q", tt.word, got, ok, tt.want)
		}
	}
}
