package apply

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// oneLine makes s fit for a terminal: printable text with single spaces, of at most
// limit bytes.
func oneLine(s string, limit int) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r) || r == utf8.RuneError
	}), " ")
	if len(s) <= limit {
		return s
	}
	const ellipsis = "…"
	return strings.ToValidUTF8(s[:limit-len(ellipsis)], "") + ellipsis
}

// alike reports whether two reasons differ in numbers at most: servers put the time
// and their process id into what they say.
func alike(a, b string) bool {
	withoutDigits := func(s string) string {
		return strings.Map(func(r rune) rune {
			if unicode.IsDigit(r) {
				return -1
			}
			return r
		}, s)
	}
	return withoutDigits(a) == withoutDigits(b)
}

// difference names the lines that went and came, as far as a line of history
// carries them: "-server 10.0.0.11:80; +server 10.0.0.12:80;".
func difference(before, after string) string {
	count := make(map[string]int)
	for line := range strings.Lines(before) {
		count[strings.TrimSpace(line)]--
	}
	for line := range strings.Lines(after) {
		count[strings.TrimSpace(line)]++
	}
	var out []string
	note := func(text, sign string, want func(int) bool) {
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "" && want(count[line]) {
				out = append(out, sign+line)
				count[line] = 0
			}
		}
	}
	note(before, "-", func(n int) bool { return n < 0 })
	note(after, "+", func(n int) bool { return n > 0 })
	return oneLine(strings.Join(out, " "), maxDetail)
}
