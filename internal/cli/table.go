package cli

import (
	"io"
	"strings"
	"unicode/utf8"
)

// Chosen by us.
const (
	columnGap = 2
	// minLast is the least width of a wrapped last column, even if that leaves the screen.
	minLast = 24
)

// cell is one field of a table: lines one below the other, in one style.
type cell struct {
	lines []string
	style style
}

func text(s string) cell                    { return styled(plain, s) }
func styled(st style, lines ...string) cell { return cell{lines: lines, style: st} }

// table aligns its columns and wraps the last one at the width of the screen.
type table struct {
	head []string
	rows [][]cell
}

func (t *table) add(cells ...cell) {
	for i, c := range cells {
		for j, line := range c.lines {
			cells[i].lines[j] = clean(line)
		}
	}
	t.rows = append(t.rows, cells)
}

// write prints the table with indent spaces before each line.
func (t *table) write(w io.Writer, s screen, indent int) error {
	widths := make([]int, len(t.head))
	for i, h := range t.head {
		widths[i] = len(h)
	}
	for _, row := range t.rows {
		for i, c := range row {
			for _, line := range c.lines {
				widths[i] = max(widths[i], utf8.RuneCountInString(line))
			}
		}
	}
	last := len(t.head) - 1
	before := indent
	for _, n := range widths[:last] {
		before += n + columnGap
	}
	widths[last] = max(s.width-before, minLast)

	var b strings.Builder
	head := make([]cell, len(t.head))
	for i, h := range t.head {
		head[i] = styled(faint, h)
	}
	for _, row := range append([][]cell{head}, t.rows...) {
		writeRow(&b, s, row, widths, indent)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeRow(b *strings.Builder, s screen, row []cell, widths []int, indent int) {
	last := len(row) - 1
	height := 1
	lines := make([][]string, len(row))
	for i, c := range row {
		lines[i] = c.lines
		if i == last {
			lines[i] = nil
			for _, line := range c.lines {
				lines[i] = append(lines[i], wrap(line, widths[i])...)
			}
		}
		height = max(height, len(lines[i]))
	}
	for y := range height {
		pending := indent // spaces not written yet, so that no line ends in them
		for i, c := range row {
			width := 0
			if y < len(lines[i]) && lines[i][y] != "" {
				b.WriteString(strings.Repeat(" ", pending))
				pending = 0
				b.WriteString(s.paint(c.style, lines[i][y]))
				width = utf8.RuneCountInString(lines[i][y])
			}
			pending += widths[i] - width + columnGap
		}
		b.WriteByte('\n')
	}
}
