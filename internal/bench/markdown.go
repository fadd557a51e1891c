package bench

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// dash stands for what was not measured.
const dash = "-"

// A table is one of Markdown. Cells are Markdown already: what came from a file has gone through text.
type table struct {
	head []string
	rows [][]string
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// String is the table with a line for every row; a row that is short is filled up.
func (t *table) String() string {
	var b strings.Builder
	line := func(cells []string) {
		for i := range t.head {
			cell := dash
			if i < len(cells) {
				cell = cells[i]
			}
			b.WriteString("| " + cell + " ")
		}
		b.WriteString("|\n")
	}
	line(t.head)
	b.WriteString(strings.Repeat("|---", len(t.head)) + "|\n")
	for _, r := range t.rows {
		line(r)
	}
	return b.String()
}

// text makes one line of Markdown of what a file has, with nothing in it that Markdown, a table or HTML would read.
func text(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "|", `\|`, "*", `\*`, "_", `\_`, "`", "\\`", "[", `\[`, "]", `\]`, `\`, `\\`).Replace(s)
}

// code is what a file has, as code.
func code(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	return "`" + strings.NewReplacer("`", "'", "|", `\|`).Replace(s) + "`"
}

// num is a number with as many digits as it deserves.
func num(f float64) string {
	switch {
	case f == 0:
		return "0"
	case f < 1:
		return strconv.FormatFloat(f, 'g', 2, 64)
	case f < 10:
		return fmt.Sprintf("%.1f", f)
	case f < 1e7:
		return fmt.Sprintf("%.0f", f)
	default:
		return fmt.Sprintf("%.3g", f)
	}
}

// span is a time with its unit.
func span(ms float64) string {
	if ms < 10_000 {
		return num(ms) + " ms"
	}
	return num(ms/1000) + " s"
}

// length is how long something was watched.
func length(seconds float64) string {
	if seconds < 120 {
		return num(math.Round(seconds)) + " s"
	}
	return strings.TrimSuffix(num(seconds/60), ".0") + " min"
}

// plural is a number with its noun.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
