package template

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/template"
)

// Chosen by us.
const (
	// MaxSource bounds a template, in bytes, and MaxContent what it makes.
	MaxSource  = 256 << 10
	MaxContent = 1 << 20
)

// A Template is a parsed template. It is immutable and may be used by many
// goroutines.
type Template struct{ parsed *template.Template }

// Parse parses a template. name is for messages.
func Parse(name, source string) (*Template, error) {
	if len(source) > MaxSource {
		return nil, fmt.Errorf("the template has %d bytes, at most %d", len(source), MaxSource)
	}
	t, err := template.New(name).Option("missingkey=error").Funcs((&scope{}).functions()).Parse(source)
	if err != nil {
		return nil, shorter(err)
	}
	return &Template{t}, nil
}

// An Outcome is what a Template makes of a View: exactly one of the fields is set.
// Content may also stand beside Wait and Held, as what the file would become.
type Outcome struct {
	Content string
	Wait    string // nothing is known yet: why
	Held    string // the file is to stay as it is: why
	Err     error  // the template cannot be carried out
}

// Render carries the template out. It returns within the time that the template
// takes, which has no loops but over the lists that it is given and over numbers.
func (t *Template) Render(v View) Outcome {
	s := &scope{view: v}
	bound, err := t.parsed.Clone()
	if err != nil {
		return Outcome{Err: err}
	}
	out := &limited{left: MaxContent}
	if err := bound.Funcs(s.functions()).Execute(out, nil); err != nil {
		return Outcome{Err: shorter(err)}
	}
	o := Outcome{Content: out.String()}
	switch {
	case len(v.Waiting) > 0:
		o.Wait = "the agent has just come, and has not heard all from " + strings.Join(v.Waiting, ", ")
	case v.Heard < v.Needed:
		o.Held = fmt.Sprintf("this node hears %d of %d voters: it may be cut off itself", v.Heard, v.Voters)
	case v.Doubt:
		o.Wait = "a node went down: the others are asked whether this one is cut off"
	case len(s.lacks) > 0:
		o.Held = strings.Join(s.lacks, "; ")
	case strings.TrimSpace(o.Content) == "":
		o.Held = "the template makes an empty file of the present state"
	}
	return o
}

// shorter takes away what text/template puts before every message.
func shorter(err error) error {
	return errors.New(strings.TrimPrefix(err.Error(), "template: "))
}

var errTooLong = fmt.Errorf("it makes more than %d bytes", MaxContent)

// limited keeps a template from filling the memory.
type limited struct {
	bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, errTooLong
	}
	return l.Buffer.Write(p)
}

// scope is what the functions of one rendering work on.
type scope struct {
	view  View
	lacks []string // why this must not be written
}

// lack notes a reason once.
func (s *scope) lack(format string, args ...any) {
	if why := fmt.Sprintf(format, args...); !slices.Contains(s.lacks, why) {
		s.lacks = append(s.lacks, why)
	}
}
