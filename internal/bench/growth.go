package bench

import "fmt"

// The measures of a plot of growth, in pixels: panels two by two, each with its name, its axes and lines.
const (
	growTop    = 60
	growPanel  = 230 // height of a panel
	growHead   = 24  // of its name
	growFoot   = 34  // of its axis
	growLeft   = 62  // of what is named at its vertical axis
	growWidth  = 196 // of its axis
	growLabels = 78  // right of it, where the lines are named
)

// growth draws what grows with x, which is logarithmic as are the values: a straight line that rises by one decade for a
// decade means proportional.
func growth(title, what string, lines []course, x func(ScalePoint) float64) []byte {
	d := &drawing{}
	d.text(16, 26, start, "title", title)
	d.text(16, 45, start, "soft", "Both axes are logarithmic, over the "+what+".")
	var xs []float64
	for _, l := range lines {
		for _, p := range l.points {
			xs = append(xs, x(p))
		}
	}
	told := ""
	for i, panel := range scalePanels {
		left, top := 8+float64(i%2)*plotWidth/2, growTop+float64(i/2)*growPanel
		from, to := left+growLeft, left+growLeft+growWidth
		bottom, ceiling := top+growPanel-growFoot, top+growHead+8
		d.text(left+8, top+16, start, "head", panel.title)
		told += panel.title + ":"
		var ys []float64
		for _, l := range lines {
			for _, p := range l.points {
				if y, ok := panel.pick(p); ok {
					ys = append(ys, y)
				}
			}
		}
		across, up := newLogAxis(1, xs, from, to), newLogAxis(.001, ys, bottom, ceiling)
		grid(d, across, up)
		names := newLabels(ceiling, bottom)
		for n, l := range lines {
			var path []point
			for _, p := range l.points {
				if y, ok := panel.pick(p); ok {
					path = append(path, point{across.at(x(p)), up.at(y)})
					told += fmt.Sprintf(" %s, %g: %s;", l.name, x(p), num(y))
				}
			}
			d.path(path, seriesClass(n%4, "path"))
			for _, at := range path {
				d.mark(n, at.x, at.y, 3.5, seriesClass(n%4, "full"))
			}
			if len(path) > 0 {
				last := path[len(path)-1]
				d.text(last.x+8, names.place(last.y)+4, start, labelClass(n)+" small", short(l.name, 16))
			}
		}
		told += " "
	}
	return d.svg(growTop+2*growPanel+8, title, told)
}

// grid draws and names the lines of two axes.
func grid(d *drawing, x, y logAxis) {
	for _, v := range x.ticks() {
		d.line(x.at(v), y.from, x.at(v), y.to, "grid")
	}
	for _, v := range decades(x) {
		d.text(x.at(v), y.from+15, middle, "tick", fmt.Sprintf("%g", round(v)))
	}
	for _, v := range y.ticks() {
		d.line(x.from, y.at(v), x.to, y.at(v), "grid")
		d.text(x.from-6, y.at(v)+4, end, "tick", fmt.Sprintf("%g", round(v)))
	}
}

// decades are the ticks to be named where there is little room: every one of up to five, else the powers of ten.
func decades(a logAxis) (out []float64) {
	all := a.ticks()
	if len(all) <= 5 {
		return all
	}
	for v := 1e-9; v <= a.high*(1+1e-9); v *= 10 {
		if v >= a.low*(1-1e-9) {
			out = append(out, v)
		}
	}
	if len(out) > 5 {
		out = out[len(out)-5:]
	}
	return out
}
