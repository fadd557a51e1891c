package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Chosen by us.
const (
	// maxProblems shown of one file. Nobody reads further before correcting the first.
	maxProblems = 20
	// maxCollected bounds what a hostile file can make us keep before sorting.
	maxCollected = 200
)

// Place is a piece of one line of a file.
type Place struct {
	File  string
	Line  int    // from 1; 0 if the whole file is meant
	Col   int    // from 1, in characters
	Width int    // characters to underline, at least 1
	Text  string // the line, or the part of a very long line around Col

	caret int // characters of Text before the underlined part
}

// Problem is one thing wrong in a configuration, or (Warning) one that was accepted
// and is probably not what was meant.
type Problem struct {
	Place
	Message string
	Hint    string // what to do; may be empty if Message says it
	Warning bool
	Also    *Place // a second place that belongs to it, for example the first of two equal names
	Label   string // what Also is, for example "first defined here"
}

// Error returns the problem as several lines without a final newline: place and
// message, the line of the file, a caret line, the hint.
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Col)
	}
	b.WriteString(": ")
	if p.Warning {
		b.WriteString("warning: ")
	}
	b.WriteString(p.Message)
	p.excerpt(&b, "")
	if p.Also != nil {
		p.Also.excerpt(&b, p.Label)
	}
	if p.Hint != "" {
		b.WriteString("\n  hint: " + p.Hint)
	}
	return b.String()
}

func (p *Place) excerpt(b *strings.Builder, label string) {
	if p.Line == 0 {
		return
	}
	var pad strings.Builder
	for i, r := range []rune(p.Text) {
		if i == p.caret {
			break
		}
		if r == '\t' { // a tab under a tab, so that the caret stands right for every tab width
			pad.WriteByte('\t')
		} else {
			pad.WriteByte(' ')
		}
	}
	if label != "" {
		label = " " + label
	}
	fmt.Fprintf(b, "\n%5d | %s\n      | %s%s%s", p.Line, p.Text, pad.String(), strings.Repeat("^", p.Width), label)
}

// Problems is every problem of one file, in the order of its lines; never empty when
// it is returned as an error. If there were more than the limit, the last entry has
// no line and says how many are not shown.
type Problems []Problem

// Error returns all problems, with an empty line between them.
func (ps Problems) Error() string {
	texts := make([]string, len(ps))
	for i, p := range ps {
		texts[i] = p.Error()
	}
	return strings.Join(texts, "\n\n")
}

// report collects what one Parse finds.
type report struct {
	src      *source
	problems []Problem
	warnings []Problem
	dropped  int
}

func newReport(file string, data []byte) *report {
	return &report{src: newSource(file, data)}
}

// full tells that a further problem would only be counted, so that the caller can
// save itself the work of finding a suggestion.
func (r *report) full() bool { return len(r.problems) >= maxCollected }

func (r *report) add(p Problem) {
	list := &r.problems
	if p.Warning {
		list = &r.warnings
	}
	if len(*list) >= maxCollected {
		r.dropped++
		return
	}
	*list = append(*list, p)
}

// refuse reports a problem: the file will not be accepted.
func (r *report) refuse(at span, message, hint string) {
	r.add(Problem{Place: r.src.place(at), Message: message, Hint: hint})
}

// clash reports a problem that has two places.
func (r *report) clash(at span, message, hint string, also span, label string) {
	other := r.src.place(also)
	r.add(Problem{Place: r.src.place(at), Message: message, Hint: hint, Also: &other, Label: label})
}

// whole reports a problem of the file as such.
func (r *report) whole(message, hint string) {
	r.add(Problem{Place: Place{File: r.src.file}, Message: message, Hint: hint})
}

// warn reports something that is accepted.
func (r *report) warn(at span, message, hint string) {
	r.add(Problem{Place: r.src.place(at), Message: message, Hint: hint, Warning: true})
}

func (r *report) errors() Problems {
	ps := sorted(r.problems)
	if hidden := len(ps) - maxProblems + r.dropped; hidden > 0 && len(ps) >= maxProblems {
		ps = append(ps[:maxProblems:maxProblems], Problem{
			Place:   Place{File: r.src.file},
			Message: fmt.Sprintf("%d more problems are not shown", hidden),
			Hint:    "correct these first, then check again",
		})
	}
	return ps
}

func (r *report) sortedWarnings() []Problem { return sorted(r.warnings) }

func sorted(ps []Problem) []Problem {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	return ps
}
