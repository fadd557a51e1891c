package keepalived

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Chosen by us: far above any site, and small enough to be held.
const (
	maxFileBytes = 1 << 20
	maxFiles     = 100
	maxIncludes  = 10 // files that include each other
	maxLines     = 20_000
	maxExpand    = 20 // parameters within parameters
	maxLineBytes = 16 << 10
	maxAllBytes  = 4 << 20 // of all lines, parameters replaced
	maxIDs       = 16      // machines that one file is for
	maxSteps     = 100_000 // lines looked at, those of parameters too
)

// Files is where configs come from.
type Files interface {
	// Read returns a file's content; more than limit bytes are an error.
	Read(path string, limit int) ([]byte, error)
	// Glob is filepath.Glob.
	Glob(pattern string) ([]string, error)
}

// A Pos is a place in a file.
type Pos struct {
	File string
	Line int
}

func (p Pos) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// A Note is something that could not be carried over, or not as it was, and why.
type Note struct {
	Pos
	Text string
}

func (n Note) String() string { return n.Pos.String() + ": " + n.Text }

// An Error is a file that is not keepalived's.
type Error struct {
	Pos
	Text string
}

func (e *Error) Error() string { return e.Pos.String() + ": " + e.Text }

// ErrTooMuch: a bound of the package is reached.
var ErrTooMuch = errors.New("more than a site's config")

// line is a line without comment, with parameters replaced.
type line struct {
	pos  Pos
	text string
}

// reader makes lines of a file and what it includes.
type reader struct {
	files    Files
	configID string // what @conditions compare with
	params   map[string]string
	out      []line
	notes    []Note
	ids      []string // that conditions name
	opened   int
	bytes    int
	steps    int
}

func (r *reader) note(pos Pos, format string, args ...any) {
	r.notes = append(r.notes, Note{pos, fmt.Sprintf(format, args...)})
}

// file reads path and appends its lines. depth counts includes.
func (r *reader) file(path string, depth int) error {
	if r.opened++; r.opened > maxFiles || depth > maxIncludes {
		return fmt.Errorf("%s: %w: at most %d files, %d deep: does one include itself?", path, ErrTooMuch, maxFiles, maxIncludes)
	}
	data, err := r.files.Read(path, maxFileBytes)
	if err != nil {
		return err
	}
	physical := strings.Split(strings.ReplaceAll(string(data), "\r\n", "\n"), "\n")
	for i := 0; i < len(physical); i++ {
		pos := Pos{path, i + 1}
		parts := []string{decomment(physical[i])}
		for strings.HasSuffix(parts[len(parts)-1], `\`) && i+1 < len(physical) {
			i++
			parts[len(parts)-1] = strings.TrimSuffix(parts[len(parts)-1], `\`)
			parts = append(parts, decomment(physical[i]))
		}
		if err := r.logical(pos, parts, depth, 0); err != nil {
			return err
		}
	}
	return nil
}

// logical takes one line, whose continuations are parts: conditions, definitions, includes, parameters.
func (r *reader) logical(pos Pos, parts []string, depth, expanded int) error {
	if r.steps++; r.steps > maxSteps {
		return fmt.Errorf("%s: %w: more than %d lines with those of parameters", pos, ErrTooMuch, maxSteps)
	}
	text := strings.TrimSpace(parts[0])
	for strings.HasPrefix(text, "@") {
		word, rest, _ := strings.Cut(text[1:], " ")
		if w, after, ok := strings.Cut(text[1:], "\t"); ok && len(w) < len(word) {
			word, rest = w, after
		}
		id, not := strings.CutPrefix(word, "^")
		if !slices.Contains(r.ids, id) && len(r.ids) < maxIDs {
			r.ids = append(r.ids, id)
		}
		if (id == r.configID) == not {
			return nil
		}
		text = strings.TrimSpace(rest)
	}
	if name, value, ok := definition(text); ok {
		r.params[name] = strings.TrimSpace(strings.Join(append([]string{value}, parts[1:]...), "\n"))
		return nil
	}
	parts[0] = text
	text = strings.TrimSpace(strings.Join(parts, " "))
	if len(text) > maxLineBytes {
		return &Error{pos, "the line is longer than any that makes sense"}
	}
	if keyword, pattern, ok := strings.Cut(text, " "); ok && isInclude(keyword) {
		return r.include(pos, strings.Trim(strings.TrimSpace(pattern), `"'`), depth)
	}
	replaced, changed := r.replace(text)
	if !changed {
		return r.emit(pos, text)
	}
	if expanded++; expanded > maxExpand {
		return fmt.Errorf("%s: %w: parameters within parameters, more than %d deep", pos, ErrTooMuch, maxExpand)
	}
	for l := range strings.SplitSeq(replaced, "\n") {
		if err := r.logical(pos, []string{decomment(l)}, depth, expanded); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) emit(pos Pos, text string) error {
	if text == "" {
		return nil
	}
	if strings.HasPrefix(text, "~SEQ") || strings.HasPrefix(text, "~LST") {
		r.note(pos, "%s...) is not read: write its lines out", text[:min(len(text), 4)]+"(")
		return nil
	}
	r.bytes += len(text)
	if len(r.out) >= maxLines || r.bytes > maxAllBytes {
		return fmt.Errorf("%s: %w: at most %d lines and %d bytes", pos, ErrTooMuch, maxLines, maxAllBytes)
	}
	r.out = append(r.out, line{pos, text})
	return nil
}

func isInclude(word string) bool {
	switch word {
	case "include", "includer", "includem", "includew", "includeb", "includea":
		return true
	}
	return false
}

func (r *reader) include(pos Pos, pattern string, depth int) error {
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(filepath.Dir(pos.File), pattern)
	}
	paths, err := r.files.Glob(pattern)
	if err != nil || len(paths) == 0 {
		r.note(pos, "include %s: there is no such file here: copy it beside, and import again", pattern)
		return nil
	}
	for _, p := range paths {
		if err := r.file(p, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// definition recognises $NAME=value.
func definition(text string) (name, value string, ok bool) {
	if !strings.HasPrefix(text, "$") {
		return "", "", false
	}
	name, value, ok = strings.Cut(text[1:], "=")
	return name, value, ok && isName(name)
}

func isName(s string) bool {
	for i := range len(s) {
		if !nameByte(s[i]) || i == 0 && s[i] >= '0' && s[i] <= '9' {
			return false
		}
	}
	return s != ""
}

func nameByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// replace puts values for $NAME before a space and for ${NAME}. What is not defined stays.
func (r *reader) replace(text string) (string, bool) {
	var b strings.Builder
	changed := false
	for {
		i := strings.IndexByte(text, '$')
		if i < 0 || b.Len() > maxLineBytes {
			break
		}
		b.WriteString(text[:i])
		text = text[i:]
		name, after := "", ""
		if strings.HasPrefix(text, "${") {
			if end := strings.IndexByte(text, '}'); end > 0 {
				name, after = text[2:end], text[end+1:]
			}
		} else {
			end := 1
			for end < len(text) && nameByte(text[end]) {
				end++
			}
			if end == len(text) || text[end] == ' ' || text[end] == '\t' {
				name, after = text[1:end], text[end:]
			}
		}
		value, ok := r.params[name]
		if !ok || name == "" {
			b.WriteByte('$')
			text = text[1:]
			continue
		}
		b.WriteString(value)
		text, changed = after, true
	}
	b.WriteString(text)
	return b.String(), changed
}

// decomment cuts a line at # or !, unless they are quoted, and the spaces at its end.
func decomment(s string) string {
	var quote byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '#' || c == '!':
			return strings.TrimRight(s[:i], " \t")
		}
	}
	return strings.TrimRight(s, " \t")
}
