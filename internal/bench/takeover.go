package bench

import (
	"cmp"
	"fmt"
	"slices"
)

// The takeover plot's measures, in pixels.
const (
	takeLeft, takeRight = 76, 560
	takeTop, takeBottom = 86, 410
)

// A take is a power-off at one setting.
type take struct {
	chosen
	Summary
}

// takeovers are the settings of a tool that lost their owner's power, by heartbeat.
func (r Run) takeovers(tool string) (out []take) {
	for _, c := range r.all() {
		if s, ok := r.outages(c, PowerOff); ok && c.Tool.Name == tool && c.Heartbeat > 0 {
			out = append(out, take{c, s})
		}
	}
	slices.SortStableFunc(out, func(a, b take) int { return cmp.Compare(a.Heartbeat, b.Heartbeat) })
	return out
}

// restless reports whether a setting moved the address while nothing was asked for.
func (r Run) restless(c chosen) bool {
	rest, _ := r.quiet(c, Rest)
	busy, _ := r.quiet(c, Busy)
	return rest.Moves+busy.Moves > 0
}

// takeoverPlot draws what a heartbeat rate buys: the client's outage at a power-off over the time between two
// heartbeats, both logarithmic. Nil where there is nothing to draw.
func (r Run) takeoverPlot() []byte {
	var beats, outages []float64
	byTool := make(map[string][]take)
	for _, t := range r.Tools {
		byTool[t.Name] = r.takeovers(t.Name)
		for _, k := range byTool[t.Name] {
			beats = append(beats, k.Heartbeat)
			outages = append(outages, k.Min, k.Max)
		}
	}
	if len(beats) == 0 {
		return nil
	}
	x := newLogAxis(floorMS, beats, takeLeft, takeRight)
	y := newLogAxis(floorMS, outages, takeBottom, takeTop)
	d := &drawing{}
	d.text(16, 26, start, "title", "Power-off: what a heartbeat rate buys")
	d.text(16, 45, start, "soft", "The client's outage when the owner loses its power: median, and from the shortest to the longest.")
	d.text(16, 62, start, "soft", "A hollow mark: this setting moved the address on its own, at rest or with every core busy.")
	for _, v := range x.ticks() {
		d.line(x.at(v), takeTop, x.at(v), takeBottom, "grid")
		d.text(x.at(v), takeBottom+18, middle, "tick", tickMS(v))
	}
	for _, v := range y.ticks() {
		d.line(takeLeft, y.at(v), takeRight, y.at(v), "grid")
		d.text(takeLeft-8, y.at(v)+4, end, "tick", tickMS(v))
	}
	d.text((takeLeft+takeRight)/2, takeBottom+38, middle, "soft", "time between two heartbeats of the owner")
	told := "Medians by time between two heartbeats."
	labels := newLabels(takeTop, takeBottom)
	for i := len(r.Tools) - 1; i >= 0; i-- { // ours on top
		name := r.Tools[i].Name
		n := series(name, r.names())
		var line []point
		for _, k := range byTool[name] {
			line = append(line, point{x.at(k.Heartbeat), y.at(k.Median)})
		}
		d.path(line, seriesClass(n, "path"))
		for _, k := range byTool[name] {
			at := point{x.at(k.Heartbeat), y.at(k.Median)}
			d.line(at.x, y.at(k.Min), at.x, y.at(k.Max), seriesClass(n, "whisker"))
			class := "full"
			if r.restless(k.chosen) {
				class = "hollow"
			}
			d.mark(n, at.x, at.y, 4.5, seriesClass(n, class))
			told += fmt.Sprintf(" %s, %s (%s): %s.", name, k.Name, span(k.Heartbeat), span(k.Median))
		}
		if len(line) > 0 {
			last := line[len(line)-1]
			d.text(last.x+12, labels.place(last.y)+4, start, labelClass(n), short(name, 16))
		}
	}
	return d.svg(takeBottom+54, "Power-off of the owner: the client's outage by heartbeat interval", told)
}

// labels keeps texts at a right edge from lying on each other.
type labels struct {
	taken    []float64
	from, to float64
}

func newLabels(from, to float64) *labels { return &labels{from: from, to: to} }

// labelRoom is the height of a line of text.
const labelRoom = 15

// place returns the free height next to y.
func (l *labels) place(y float64) float64 {
	free := func(y float64) bool {
		return !slices.ContainsFunc(l.taken, func(t float64) bool { return t-y < labelRoom && y-t < labelRoom })
	}
	best := y
	for off := 0.0; off < l.to-l.from; off++ {
		if free(y - off) {
			best = y - off
			break
		}
		if free(y + off) {
			best = y + off
			break
		}
	}
	l.taken = append(l.taken, best)
	return best
}
