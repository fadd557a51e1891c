package bench

import (
	_ "embed"
	"encoding/xml"
	"fmt"
	"math"
	"strconv"
	"strings"
)

//go:embed svg.css
var svgStyle string

// plotWidth is that of every plot, in CSS pixels: it fits GitHub's column without being made smaller.
const plotWidth = 700

// A drawing is an SVG in the making. Its colours come from classes of svg.css, which knows a light and a dark scheme; it
// needs nothing from anywhere else. The background is painted, since the scheme of the page around it may be another.
type drawing struct {
	body strings.Builder
}

// px is a coordinate. What is no number is drawn at 0: a plot shows less, and does not fail.
func px(f float64) string {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		f = 0
	}
	return strconv.FormatFloat(math.Round(f*10)/10, 'f', -1, 64)
}

// escape makes any text one of XML.
func escape(s string) string {
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(s)); err != nil {
		return "" // a strings.Builder does not fail
	}
	return b.String()
}

// An anchor is the point of a text that x means.
type anchor string

const (
	start  anchor = "start"
	middle anchor = "middle"
	end    anchor = "end"
)

func (d *drawing) text(x, y float64, a anchor, class, s string) {
	fmt.Fprintf(&d.body, "<text x=\"%s\" y=\"%s\" text-anchor=\"%s\" class=\"%s\">%s</text>\n", px(x), px(y), a, class, escape(s))
}

func (d *drawing) line(x1, y1, x2, y2 float64, class string) {
	fmt.Fprintf(&d.body, "<line x1=\"%s\" y1=\"%s\" x2=\"%s\" y2=\"%s\" class=\"%s\"/>\n", px(x1), px(y1), px(x2), px(y2), class)
}

func (d *drawing) rect(x, y, w, h float64, class string) {
	fmt.Fprintf(&d.body, "<rect x=\"%s\" y=\"%s\" width=\"%s\" height=\"%s\" class=\"%s\"/>\n", px(x), px(y), px(max(w, 0)), px(max(h, 0)), class)
}

// A point is a place in a drawing.
type point struct{ x, y float64 }

func (d *drawing) path(points []point, class string) {
	if len(points) < 2 {
		return
	}
	d.body.WriteString("<polyline points=\"")
	for i, p := range points {
		if i > 0 {
			d.body.WriteByte(' ')
		}
		d.body.WriteString(px(p.x) + "," + px(p.y))
	}
	fmt.Fprintf(&d.body, "\" class=\"%s\"/>\n", class)
}

// mark draws a sign whose form, beside its colour, tells the series: a circle, a square, a triangle, a diamond.
func (d *drawing) mark(series int, x, y, r float64, class string) {
	switch series % 4 {
	case 0:
		fmt.Fprintf(&d.body, "<circle cx=\"%s\" cy=\"%s\" r=\"%s\" class=\"%s\"/>\n", px(x), px(y), px(r), class)
	case 1:
		d.rect(x-r*.85, y-r*.85, r*1.7, r*1.7, class)
	case 2:
		d.polygon(class, point{x, y - r*1.15}, point{x + r*1.1, y + r*.8}, point{x - r*1.1, y + r*.8})
	default:
		d.polygon(class, point{x, y - r*1.25}, point{x + r*1.25, y}, point{x, y + r*1.25}, point{x - r*1.25, y})
	}
}

func (d *drawing) polygon(class string, points ...point) {
	var at []string
	for _, p := range points {
		at = append(at, px(p.x)+","+px(p.y))
	}
	fmt.Fprintf(&d.body, "<polygon points=\"%s\" class=\"%s\"/>\n", strings.Join(at, " "), class)
}

// svg is the whole file. The title and the description are what a screen reader says.
func (d *drawing) svg(height float64, title, desc string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%s\" viewBox=\"0 0 %d %s\" role=\"img\" aria-labelledby=\"title desc\">\n",
		plotWidth, px(height), plotWidth, px(height))
	fmt.Fprintf(&b, "<title id=\"title\">%s</title>\n<desc id=\"desc\">%s</desc>\n<style>\n%s</style>\n", escape(title), escape(desc), escape(svgStyle))
	fmt.Fprintf(&b, "<rect width=\"%d\" height=\"%s\" class=\"paper\"/>\n", plotWidth, px(height))
	b.WriteString(d.body.String())
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

// series is the number of a tool's colour and form: hbagent has the strong one.
func series(tool string, others []string) int {
	if tool == HBAgent {
		return 0
	}
	n := 1
	for _, o := range others {
		if o == tool {
			break
		}
		if o != HBAgent {
			n++
		}
	}
	return 1 + (n-1)%3
}

// seriesClass is the class of a series, with others.
func seriesClass(n int, more string) string { return fmt.Sprintf("s%d %s", n, more) }

// labelClass is the class of the text that names a series.
func labelClass(n int) string {
	if n == 0 {
		return "ours"
	}
	return ""
}

// names are those of the tools, for series.
func (r Run) names() (out []string) {
	for _, t := range r.Tools {
		out = append(out, t.Name)
	}
	return out
}

// short cuts a text to so many runes.
func short(s string, most int) string {
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return string(r[:most-1]) + "…"
}
