package cli

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// commentedKey is a line of the reference that stands for a key it does not set.
var commentedKey = regexp.MustCompile(`^# [a-z_]+ = `)

var roffEscapes = strings.NewReplacer(`\`, `\e`, "-", `\-`)

// roff escapes a line of text. At its begin, a dot or an apostrophe would be a request.
func roff(line string) string {
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		return `\&` + roffEscapes.Replace(line)
	}
	return roffEscapes.Replace(line)
}

// configManual makes hbagent.toml(5) of the commented reference config: what stands there is explained
// once. A table is a section, a key with the comment above it a paragraph with the key as its tag, and
// what has no comment is an example and keeps its lines.
func configManual(reference, source string, date time.Time) string {
	m := &manual{seen: map[string]bool{}}
	fmt.Fprintf(&m.out, ".TH HBAGENT.TOML 5 %q %q \"hbagent\"\n", date.Format("Jan 2006"), source)
	m.out.WriteString(".SH NAME\nhbagent.toml \\- the config file of hbagent\n")
	fmt.Fprintf(&m.out, ".SH SYNOPSIS\n.B %s\n.SH DESCRIPTION\n", defaultConfig)
	for line := range strings.Lines(reference) {
		m.line(strings.TrimRight(line, "\n"))
	}
	m.prose()
	m.verbatim(false)
	m.out.WriteString(".SH SEE ALSO\n.BR hbagent (8),\n.BR hbagent\\-config (8),\n.BR hbagent\\-reload (8)\n")
	return m.out.String()
}

type manual struct {
	out     strings.Builder
	comment []string // above what comes next
	seen    map[string]bool
	example bool // lines are kept as they are
}

func (m *manual) line(line string) {
	switch {
	case line == "":
		m.prose()
	case strings.HasPrefix(line, "["):
		m.table(line)
	case strings.HasPrefix(line, "#") && !commentedKey.MatchString(line):
		m.comment = append(m.comment, strings.TrimPrefix(strings.TrimPrefix(line, "#"), " "))
	case len(m.comment) > 0:
		m.verbatim(false)
		fmt.Fprintf(&m.out, ".TP\n\\fB%s\\fR\n", roff(strings.TrimPrefix(line, "# ")))
		m.text()
	default:
		m.verbatim(true)
		fmt.Fprintf(&m.out, "%s\n", roff(line))
	}
}

// table begins a section, once for each table: those that follow are examples of it.
func (m *manual) table(line string) {
	if m.seen[line] {
		m.prose()
		m.verbatim(true)
		fmt.Fprintf(&m.out, "\n%s\n", roff(line))
		return
	}
	m.seen[line] = true
	m.verbatim(false)
	fmt.Fprintf(&m.out, ".SH %s\n", roff(line))
	m.text()
}

// prose writes a comment that belongs to no key.
func (m *manual) prose() {
	if len(m.comment) > 0 {
		m.verbatim(false)
		m.out.WriteString(".PP\n")
		m.text()
	}
}

// text writes the comment and forgets it. A line that ends a sentence ends in the output, too, and what
// is indented is a list that keeps its lines.
func (m *manual) text() {
	list := false
	for i, line := range m.comment {
		indented := strings.HasPrefix(line, "  ")
		switch {
		case line == "":
			m.out.WriteString(".sp\n")
			continue
		case indented != list && indented:
			m.out.WriteString(".nf\n")
		case indented != list:
			m.out.WriteString(".fi\n")
		case i > 0 && !list && strings.HasSuffix(m.comment[i-1], "."):
			m.out.WriteString(".br\n")
		}
		list = indented
		fmt.Fprintf(&m.out, "%s\n", roff(line))
	}
	if list {
		m.out.WriteString(".fi\n")
	}
	m.comment = nil
}

// verbatim begins or ends the lines of an example.
func (m *manual) verbatim(on bool) {
	if on != m.example {
		m.out.WriteString(map[bool]string{true: ".PP\n.nf\n", false: ".fi\n"}[on])
	}
	m.example = on
}
