package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// A Level says how bad a finding is.
type Level string

// The levels, from the worst on.
const (
	Problem Level = "problem" // failover does not work, or not as the config says
	Warning Level = "warning" // it works now, and something will break it or makes it slower
	Skipped Level = "skipped" // could not be looked at; the text says why
	Ignored Level = "ignored" // a problem or a warning that the caller does not want to hear of
	OK      Level = "ok"
)

var order = []Level{Problem, Warning, Skipped, Ignored, OK}

// A Finding is one line: what was looked at, and what came of it.
type Finding struct {
	ID      string `json:"id"` // of the check, see Checks
	Level   Level  `json:"level"`
	Subject string `json:"subject,omitempty"` // the interface, node, address, file or group it is about
	Text    string `json:"text"`              // what is so
	Do      string `json:"do,omitempty"`      // what to do about it
}

// Report is everything that was found.
type Report struct {
	Cluster  string    `json:"cluster"`
	Node     string    `json:"node"`
	At       time.Time `json:"at"`
	TookMs   int64     `json:"took_ms"`
	Problems int       `json:"problems"`
	Warnings int       `json:"warnings"`
	Findings []Finding `json:"findings"` // problems first
}

// Worst is the level that decides the exit code: Problem, Warning or OK.
func (r Report) Worst() Level {
	switch {
	case r.Problems > 0:
		return Problem
	case r.Warnings > 0:
		return Warning
	}
	return OK
}

// sheet collects findings.
type sheet struct{ findings []Finding }

func (s *sheet) add(level Level, id, subject, do, format string, args ...any) {
	if !known(id) {
		panic("doctor: no check has the id " + id)
	}
	s.findings = append(s.findings, Finding{ID: id, Level: level, Subject: subject, Text: fmt.Sprintf(format, args...), Do: do})
}

func (s *sheet) problem(id, subject, do, format string, args ...any) {
	s.add(Problem, id, subject, do, format, args...)
}

func (s *sheet) warn(id, subject, do, format string, args ...any) {
	s.add(Warning, id, subject, do, format, args...)
}

func (s *sheet) ok(id, subject, format string, args ...any) {
	s.add(OK, id, subject, "", format, args...)
}

func (s *sheet) skip(id, subject, why string) { s.add(Skipped, id, subject, "", "%s", why) }

// bad tells whether something was found for an id and a subject.
func (s *sheet) bad(id, subject string) bool {
	return slices.ContainsFunc(s.findings, func(f Finding) bool {
		return f.ID == id && f.Subject == subject && (f.Level == Problem || f.Level == Warning)
	})
}

// sorted puts the worst first; the order of Checks decides among equals.
func sorted(list []Finding) []Finding {
	slices.SortStableFunc(list, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(slices.Index(order, a.Level), slices.Index(order, b.Level)),
			cmp.Compare(position(a.ID), position(b.ID)),
			cmp.Compare(a.Subject, b.Subject))
	})
	return list
}

// report counts, and turns what is to be ignored.
func report(f *Facts, findings []Finding, ignore []string) Report {
	r := Report{Node: f.Node, At: f.At, Findings: findings}
	if f.Config != nil {
		r.Cluster = f.Config.Cluster.Name
	}
	for i := range r.Findings {
		g := &r.Findings[i]
		if (g.Level == Problem || g.Level == Warning) && slices.Contains(ignore, g.ID) {
			g.Level = Ignored
		}
		switch g.Level {
		case Problem:
			r.Problems++
		case Warning:
			r.Warnings++
		}
	}
	r.Findings = sorted(r.Findings)
	return r
}
