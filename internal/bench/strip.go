package bench

import (
	"fmt"
	"math"
)

// The strip plot's measures, in pixels.
const (
	stripLeft, stripRight = 196, 600 // of the axis
	stripRow              = 20       // one tool
	stripHead             = 26       // the name of a scenario
	stripTop              = 72
)

// floorMS is what a plot shows as the least: the client asks once in this time.
const floorMS = 1

// strips draws the client's outages at a pace: a panel for each scenario, a strip for each tool, a dot for each sample,
// a bar at the median.
func (r Run) strips(pace string) []byte {
	tools := r.at(pace)
	var played []string
	var values []float64
	for _, scenario := range Scenarios {
		found := false
		for _, c := range tools {
			res, ok := r.result(c, scenario)
			found = found || ok
			values = append(values, each(res.moved(), outage)...)
		}
		if found {
			played = append(played, scenario)
		}
	}
	axis := newLogAxis(floorMS, values, stripLeft, stripRight)
	panel := float64(stripHead + len(tools)*stripRow + 8)
	bottom := stripTop + panel*float64(len(played))
	d := &drawing{}
	d.text(16, 26, start, "title", "How long the client had no answer")
	d.text(16, 45, start, "soft", r.paceTitle(pace)+". Each mark is one time, the bar is the median; the axis is logarithmic.")
	for i := range played {
		if i%2 == 0 {
			d.rect(8, stripTop+panel*float64(i), plotWidth-16, panel, "band")
		}
	}
	for _, v := range axis.ticks() {
		d.line(axis.at(v), stripTop, axis.at(v), bottom, "grid")
		d.text(axis.at(v), stripTop-6, middle, "tick", tickMS(v))
		d.text(axis.at(v), bottom+15, middle, "tick", tickMS(v))
	}
	d.text(plotWidth-16, stripTop-6, end, "tick", "median")
	for i, scenario := range played {
		top := stripTop + panel*float64(i)
		d.text(16, top+18, start, "head", scenarioShort[scenario])
		for j, c := range tools {
			r.strip(d, axis, c, scenario, top+stripHead+stripRow*(float64(j)+.5))
		}
	}
	return d.svg(bottom+28, "How long the client had no answer: "+r.paceTitle(pace), r.stripsTold(tools, played))
}

// scenarioShort names a scenario in a plot.
var scenarioShort = map[string]string{
	PowerOff:   "The owner loses its power",
	Kill:       "Its daemon is killed",
	Freeze:     "Its daemon stands still",
	Partition:  "It is cut off, and comes back",
	OneWay:     "It hears nobody, and is heard",
	Service:    "Its web server is killed",
	Switchover: "A planned move",
	Restart:    "Its daemon is restarted",
	Loss:       "30 % of all frames are lost, 20 s",
}

// strip draws the samples of one tool in one scenario around y.
func (r Run) strip(d *drawing, axis logAxis, c chosen, scenario string, y float64) {
	n := series(c.Tool.Name, r.names())
	d.text(stripLeft-12, y+4, end, labelClass(n), short(c.Tool.Name+" "+c.Name, 28))
	res, _ := r.result(c, scenario)
	s, err := Summarize(each(res.moved(), outage))
	if err != nil {
		why := "not played"
		if res.Failed != "" {
			why = "failed"
		}
		d.text(plotWidth-16, y+4, end, "soft small", why)
		return
	}
	for i, sample := range res.moved() {
		_, part := math.Modf(float64(i) * math.Phi) // spread up and down, so that equal ones are seen
		d.mark(n, axis.at(sample.Outage), y+(part-.5)*9, 3, seriesClass(n, "dot"))
	}
	d.line(axis.at(s.Median), y-8, axis.at(s.Median), y+8, seriesClass(n, "mid"))
	d.text(plotWidth-16, y+4, end, labelClass(n), span(s.Median))
}

// stripsTold is the plot in words: the medians.
func (r Run) stripsTold(tools []chosen, played []string) string {
	told := "Medians."
	for _, scenario := range played {
		told += " " + scenarioShort[scenario] + ":"
		for i, c := range tools {
			if i > 0 {
				told += ","
			}
			if s, ok := r.outages(c, scenario); ok {
				told += fmt.Sprintf(" %s %s", c.Tool.Name, span(s.Median))
			} else {
				told += fmt.Sprintf(" %s none", c.Tool.Name)
			}
		}
		told += "."
	}
	return told
}
