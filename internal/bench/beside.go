package bench

import (
	"fmt"
	"math"
)

const (
	besideKeepalived = "not slower than keepalived (median)"
	// sure is how many standard deviations make a difference. Chosen by us.
	sure = 2
)

// sameRate is the power-off beside keepalived, each with the same time between two heartbeats.
func (r Run) sameRate() Demand {
	d := Demand{What: "power-off at the same heartbeat rate: the client's outage", Asked: besideKeepalived}
	samples, rhythm := make(map[string][]float64), 0.0
	for _, c := range r.at(Equal) {
		res, _ := r.result(c, PowerOff)
		samples[c.Tool.Name] = each(res.Samples, outage)
		rhythm = max(rhythm, c.Heartbeat)
	}
	return d.beside(samples, rhythm, "ms")
}

// perHeartbeat is the same over all settings, each outage in heartbeats of its setting: there are more of these.
func (r Run) perHeartbeat() Demand {
	d := Demand{What: "power-off at any setting: the client's outage in heartbeats", Asked: besideKeepalived}
	samples := make(map[string][]float64)
	for _, c := range r.all() {
		if c.Heartbeat <= 0 {
			continue
		}
		res, _ := r.result(c, PowerOff)
		for _, ms := range each(res.Samples, outage) {
			samples[c.Tool.Name] = append(samples[c.Tool.Name], ms/c.Heartbeat)
		}
	}
	return d.beside(samples, 1, "heartbeats")
}

// beside compares the medians of hbagent and keepalived. The power fails at any moment between two heartbeats, so that
// each outage is spread over one heartbeat, whatever the tool: medians that differ by less than chance makes of that
// decide nothing.
func (d Demand) beside(samples map[string][]float64, heartbeat float64, unit string) Demand {
	d.Measured, d.Verdict = dash, NotMeasured
	ours, err := Summarize(samples[HBAgent])
	theirs, err2 := Summarize(samples[Keepalived])
	if err != nil || err2 != nil {
		return d
	}
	d.Measured = fmt.Sprintf("hbagent %s; keepalived %s, in %s (n = %d, %d)", ours.shape(), theirs.shape(), unit, ours.N, theirs.N)
	if math.Abs(ours.Median-theirs.Median) <= sure*math.Hypot(medianNoise(ours.N), medianNoise(theirs.N))*heartbeat {
		d.Verdict = Undecided
	} else {
		d.Verdict = judge(ours.Median < theirs.Median)
	}
	return d
}

// medianNoise is the standard deviation of the median of n values that are uniform over 0..1: that of the middle order
// statistic, a beta distribution (exact for an odd n).
func medianNoise(n int) float64 { return 1 / (2 * math.Sqrt(float64(n)+2)) }
