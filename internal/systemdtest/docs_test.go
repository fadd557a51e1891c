package systemdtest_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A step of a document is a command as a reader would type it, with some lines of its answer; or something that the test
// does for the reader.
type step struct {
	line   int    // in the file
	where  string // "laptop", a machine, "all" or "test"
	does   string
	answer []string // lines that must be in the answer, in this order; numbers may differ
}

var (
	prompt    = regexp.MustCompile(`^([a-z0-9]+)[#$] (.+)$`)
	directive = regexp.MustCompile(`^<!-- test: (.+) -->$`)
)

// steps reads a document. What is in a block ```console is run; other blocks must name another language.
func steps(text string) ([]step, error) {
	var all []step
	block := "" // language of the fenced block that we are in
	more := false
	for i, l := range strings.Split(text, "\n") {
		t := strings.TrimSpace(l)
		fence, fenced := strings.CutPrefix(t, "```")
		m, d := prompt.FindStringSubmatch(t), directive.FindStringSubmatch(t)
		switch {
		case fenced && block != "":
			block = ""
		case fenced && fence == "":
			return nil, fmt.Errorf("line %d: a block without a language", i+1)
		case fenced:
			block, more = fence, false
		case block == "" && d != nil:
			all = append(all, step{line: i + 1, where: "test", does: d[1]})
		case block != "console":
		case more:
			last := &all[len(all)-1]
			last.does = strings.TrimSuffix(last.does, "\\") + " " + strings.TrimSuffix(t, "\\")
			more = strings.HasSuffix(t, "\\")
		case m != nil:
			all = append(all, step{line: i + 1, where: m[1], does: strings.TrimSuffix(m[2], "\\")})
			more = strings.HasSuffix(t, "\\")
		case t == "" || t == "...":
		case len(all) == 0:
			return nil, fmt.Errorf("line %d: an answer without a command", i+1)
		default:
			last := &all[len(all)-1]
			last.answer = append(last.answer, t)
		}
	}
	return all, nil
}

// number is a word that is a number, a time, a duration, a version or a hash, with punctuation around it.
var number = regexp.MustCompile(`^[(~v]*([0-9][0-9.:+-]*(ms|s|m|h|d)?)+[),;:]*$|^[0-9a-f]{12}$`)

// same makes lines comparable that differ in nothing but numbers and the width of columns. An address stays as it is.
func same(l string) string {
	var words []string
	for _, w := range strings.Fields(l) {
		if number.MatchString(w) && !strings.HasPrefix(w, "10.77.0.") {
			w = "#"
		}
		if w == "ms" && len(words) > 0 && words[len(words)-1] == "#" {
			continue
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

// missing returns the first of the wanted lines that is not in what was said, behind the one before it.
func missing(want []string, said string) (string, bool) {
	lines := strings.Split(said, "\n")
	for _, w := range want {
		i := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(same(l), same(w)) })
		if i < 0 {
			return w, true
		}
		lines = lines[i+1:]
	}
	return "", false
}

func TestSteps(t *testing.T) {
	got, err := steps("# A page\n```console\nall# a \\\n  b\nlaptop$ c | d\nanswer 1\n...\n\nanswer 2\n```\n<!-- test: power on web2 -->\n```toml\nweb1# no\n```\n")
	want := []step{{3, "all", "a  b", nil}, {5, "laptop", "c | d", []string{"answer 1", "answer 2"}}, {11, "test", "power on web2", nil}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(step{})); diff != "" || err != nil {
		t.Errorf("error %v, -want +got:\n%s", err, diff)
	}
	for _, bad := range []string{"```\nx\n```\n", "```console\nanswer\n```\n"} {
		if _, err := steps(bad); err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}

func TestMissing(t *testing.T) {
	const said = "all well: 1 group owned\n\nweb    web1   active  1m12s  10.77.0.50/24  nobody had it\nweb2  up  0.31 ms  v1.0.0\n"
	for want, ok := range map[string]bool{
		"web web1 active 3s 10.77.0.50/24 nobody had it": true,
		"web web1 active 3s 10.77.0.51/24 nobody had it": false,
		"web web2 active 3s":                             false,
		"web2 up 12 ms v2.1.0":                           true,
		"all well: 2 group owned":                        true,
	} {
		if line, no := missing([]string{want}, said); no == ok {
			t.Errorf("%q: missing %q, %v", want, line, no)
		}
	}
	if _, no := missing([]string{"web2 up", "all well"}, said); !no {
		t.Error("the order of the lines does not count")
	}
}
