package config

import (
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Chosen by us: far above any site, far below what hurts.
const (
	maxFileBytes  = 1 << 20 // a thousand groups with comments stay under a quarter of it
	maxLineShown  = 140     // characters of a line in a message
	contextBefore = 60      // of them before the caret, if the line is longer
)

// span is a piece of the text, in bytes: [start, end).
type span struct{ start, end int }

// source is the text of a file, and where its lines begin.
type source struct {
	file  string
	text  string
	lines []int // offset of the first byte of each line
}

func newSource(file string, data []byte) *source {
	s := &source{file: file, text: string(data), lines: []int{0}}
	for i, c := range data {
		if c == '\n' {
			s.lines = append(s.lines, i+1)
		}
	}
	return s
}

// line returns the bounds of the line that holds the byte at off, without its end. An
// offset outside the text (the library has told -1 for its first byte) is moved into it.
func (s *source) line(off int) (number int, bounds span) {
	off = min(max(off, 0), len(s.text))
	n := sort.SearchInts(s.lines, off+1) // the first line that begins after off
	start := s.lines[n-1]
	end := len(s.text)
	if i := strings.IndexByte(s.text[start:], '\n'); i >= 0 {
		end = start + i
	}
	if end > start && s.text[end-1] == '\r' {
		end--
	}
	return n, span{start, end}
}

// place turns a span into what a person can look at. A span over several lines is
// shown by its first.
func (s *source) place(at span) Place {
	at.start = min(max(at.start, 0), len(s.text))
	number, line := s.line(at.start)
	at.start = min(at.start, line.end)
	at.end = min(max(at.end, at.start), line.end)

	text := []rune(printable(s.text[line.start:line.end]))
	before := utf8.RuneCountInString(s.text[line.start:at.start])
	width := max(1, utf8.RuneCountInString(s.text[at.start:at.end]))
	p := Place{File: s.file, Line: number, Col: before + 1, Width: width, caret: before}
	if len(text) > maxLineShown {
		first := min(max(0, before-contextBefore), len(text)-maxLineShown)
		text = text[first : first+maxLineShown]
		p.caret -= first
	}
	p.Width = max(1, min(p.Width, len(text)-p.caret))
	p.Text = string(text)
	return p
}

// printable keeps one character for each character, so that columns stay right, and
// lets nothing through that could move the terminal's cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// usable reports what makes a file unreadable as such, before anything is parsed.
func (s *source) usable(rep *report) bool {
	const save = "save it as UTF-8 without a byte order mark (in vim: `:set nobomb fileencoding=utf-8`)"
	switch {
	case len(s.text) > maxFileBytes:
		rep.whole("the file is larger than 1 MiB", "this cannot be a configuration of hbagent: is the path right?")
	case strings.HasPrefix(s.text, "\xff\xfe"), strings.HasPrefix(s.text, "\xfe\xff"):
		rep.whole("the file is UTF-16, not UTF-8", save)
	case strings.HasPrefix(s.text, "\xef\xbb\xbf"):
		rep.whole("the file begins with a byte order mark", save)
	case !utf8.ValidString(s.text):
		off := firstInvalid(s.text)
		rep.refuse(span{off, off + 1}, "the file is not UTF-8 here", "save it as UTF-8; comments too (an old Latin-1 umlaut is a usual cause)")
	case strings.TrimSpace(s.text) == "":
		rep.whole("the file is empty", "start from `hbagent config example`, or let `hbagent init` write it")
	default:
		return true
	}
	return false
}

func firstInvalid(s string) int {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(s)
}
