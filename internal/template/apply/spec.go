package apply

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"regexp"
	"slices"
	"time"

	"github.com/hbagent/hbagent/internal/template"
)

// A Spec is a [[template]] of the config on one node.
type Spec struct {
	Name     string
	Source   string      // file with the template
	File     string      // the file that is kept
	Mode     fs.FileMode // 0: as it is, 0644 if there is none
	Owner    string      // user:group, each may be empty; empty: as it is
	Check    []string    // program and arguments; nil: none
	Reload   []string
	Interval time.Duration // see template.Machine
	Timeout  time.Duration // of each command
	AsRoot   bool          // the commands are run by root
}

// same reports whether a task for s can go on with t.
func (s Spec) same(t Spec) bool { return reflect.DeepEqual(s, t) }

// Kind is one of the commands of a template.
type Kind string

// The commands.
const (
	Check  Kind = "check"
	Reload Kind = "reload"
)

// Placeholders of commands; the config refuses any other.
var (
	pathPlaceholder = regexp.MustCompile(`\{\{\s*\.Path\s*\}\}`)
	filePlaceholder = regexp.MustCompile(`\{\{\s*\.File\s*\}\}`)
)

// inPlace reports whether the check looks at the file where it belongs.
func (s Spec) inPlace() bool {
	return !slices.ContainsFunc(s.Check, pathPlaceholder.MatchString)
}

// argv is a command as it is run.
func (s Spec) argv(kind Kind) []string {
	argv, path := s.Check, s.File
	if kind == Reload {
		argv = s.Reload
	} else if !s.inPlace() {
		path = candidate(s.File)
	}
	out := make([]string, len(argv))
	for i, arg := range argv {
		out[i] = filePlaceholder.ReplaceAllLiteralString(pathPlaceholder.ReplaceAllLiteralString(arg, path), s.File)
	}
	return out
}

// Load reads and parses the source of a template.
func Load(s Spec) (source string, t *template.Template, err error) {
	f, err := os.Open(s.Source)
	if err != nil {
		return "", nil, fmt.Errorf("template %s: %w", s.Name, err)
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return "", nil, fmt.Errorf("template %s: %s is not a regular file", s.Name, s.Source)
	}
	b, err := io.ReadAll(io.LimitReader(f, template.MaxSource+1))
	if err != nil {
		return "", nil, fmt.Errorf("template %s: %w", s.Name, err)
	}
	if t, err = template.Parse(s.Source, string(b)); err != nil {
		return "", nil, fmt.Errorf("template %s: %w", s.Name, err)
	}
	return string(b), t, nil
}
