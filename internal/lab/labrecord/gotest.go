package main

import (
	"regexp"
	"strings"
)

var (
	// verdict are the lines of `go test -v` that say what runs, and how it went.
	verdict = regexp.MustCompile(`^\s*(=== (RUN|PAUSE|CONT|NAME)|--- (PASS|FAIL|SKIP)|PASS$|FAIL$|ok  \t|testing: warning)`)
	// logged begins what a test says.
	logged = regexp.MustCompile(`^(\s+)\w+\.go:\d+: (.*)$`)
)

// testOutput is what tests said with t.Log in the output of `go test -v`, without the places in their source. Further lines
// of one t.Log stand four columns to the right of its first.
func testOutput(output string) string {
	var b strings.Builder
	indent := ""
	for line := range strings.Lines(output) {
		line = strings.TrimRight(line, " \r\n")
		if verdict.MatchString(line) {
			indent = ""
			continue
		}
		if m := logged.FindStringSubmatch(line); m != nil {
			indent, line = m[1]+"    ", m[2]
		} else if indent != "" {
			line = strings.TrimPrefix(line, indent)
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}
