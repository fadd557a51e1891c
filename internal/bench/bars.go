package bench

import (
	"fmt"
)

// A gauge is one thing that a tool costs.
type gauge struct {
	title, unit string
	pick        func(Cost) float64
	digits      int
}

var gauges = []gauge{
	{"Memory", "MB", func(c Cost) float64 { return c.MemoryMB }, 1},
	{"CPU", "% of a core", func(c Cost) float64 { return c.CPUPercent }, 2},
	{"Traffic, in and out", "kB/s", func(c Cost) float64 { return c.BytesPerS / 1000 }, 2},
	{"Packets, in and out", "/s", func(c Cost) float64 { return c.PacketsPerS }, 1},
}

// The cost plot's measures, in pixels.
const (
	barTop   = 66
	barRow   = 24
	barHead  = 26
	barHalf  = plotWidth / 2
	barLabel = 96 // the name of the tool
	barMost  = 150
)

// costBars draws what each tool costs the owner at rest, at its default. Nil where nothing was measured.
func (r Run) costBars() []byte {
	var owners []Cost
	for _, c := range r.at(Default) {
		for _, k := range r.costs(c, few) {
			if k.Owner {
				owners = append(owners, k)
				break
			}
		}
	}
	if len(owners) == 0 {
		return nil
	}
	d := &drawing{}
	d.text(16, 26, start, "title", "What the owner pays at rest")
	d.text(16, 45, start, "soft", "Each tool at its default, one group of addresses.")
	told := "On the owner's machine, each tool at its default."
	panel := float64(barHead + len(owners)*barRow + 18)
	for i, g := range gauges {
		left, top := 16+float64(i%2)*barHalf, barTop+float64(i/2)*panel
		d.text(left, top+14, start, "head", g.title+", "+g.unit)
		told += " " + g.title + " (" + g.unit + "):"
		most := 0.0
		for _, k := range owners {
			most = max(most, g.pick(k))
		}
		for j, k := range owners {
			n, y := series(k.Tool, r.names()), top+barHead+float64(j)*barRow
			value := fmt.Sprintf("%.*f", g.digits, g.pick(k))
			width := 0.0
			if most > 0 {
				width = barMost * (g.pick(k) / most)
			}
			d.text(left+barLabel-8, y+14, end, labelClass(n), short(k.Tool, 12))
			d.rect(left+barLabel, y+3, max(width, 1), barRow-8, seriesClass(n, "bar"))
			d.text(left+barLabel+max(width, 1)+6, y+14, start, labelClass(n), short(value, 12))
			told += fmt.Sprintf(" %s %s;", k.Tool, value)
		}
	}
	rows := float64((len(gauges) + 1) / 2)
	return d.svg(barTop+rows*panel, "Cost at rest on the owner's machine", told)
}
