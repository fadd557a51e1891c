package bench

import (
	"fmt"
	"math"
)

// A logAxis maps values to coordinates by their logarithm. What lies outside is drawn at the end.
type logAxis struct {
	low, high float64 // values, both above 0
	from, to  float64 // their coordinates
}

// newLogAxis spans the values, in whole steps of 1, 2, 5 and not less than one decade.
func newLogAxis(least float64, values []float64, from, to float64) logAxis {
	low, high := math.Inf(1), 0.0
	for _, v := range values {
		if v > 0 {
			low, high = min(low, v), max(high, v)
		}
	}
	low = max(low, least)
	if high <= low {
		high = low
	}
	if math.IsInf(low, 0) {
		low, high = least, least
	}
	a := logAxis{low: below(low), high: above(high), from: from, to: to}
	if a.high < a.low*10 {
		a.high = a.low * 10
	}
	return a
}

// steps within a decade.
var steps = [...]float64{1, 2, 5}

// below is the greatest step that is not above v.
func below(v float64) float64 {
	decade := math.Pow(10, math.Floor(math.Log10(v)))
	best := decade
	for _, s := range steps {
		if s*decade <= v*(1+1e-9) {
			best = s * decade
		}
	}
	return best
}

// above is the least step that is not below v.
func above(v float64) float64 {
	decade := math.Pow(10, math.Floor(math.Log10(v)))
	for _, s := range steps {
		if s*decade >= v*(1-1e-9) {
			return s * decade
		}
	}
	return 10 * decade
}

func (a logAxis) at(v float64) float64 {
	if !(v > a.low) {
		return a.from
	}
	if v >= a.high {
		return a.to
	}
	return a.from + (a.to-a.from)*math.Log(v/a.low)/math.Log(a.high/a.low)
}

// maxTicks bounds what is written at an axis. Chosen by us: more would overlap.
const maxTicks = 9

// ticks are the values to be named: of each decade 1, 2 and 5 where there is room, or 1 alone, or one of several.
func (a logAxis) ticks() (out []float64) {
	for _, all := range []bool{true, false} {
		out = out[:0]
		for decade := math.Pow(10, math.Floor(math.Log10(a.low))); decade <= a.high*(1+1e-9) && len(out) < 1000; decade *= 10 {
			for _, s := range steps {
				if v := s * decade; (all || s == 1) && v >= a.low*(1-1e-9) && v <= a.high*(1+1e-9) {
					out = append(out, v)
				}
			}
		}
		if len(out) <= maxTicks {
			return out
		}
	}
	var some []float64
	for i := 0; i < len(out); i += (len(out) + maxTicks - 1) / maxTicks {
		some = append(some, out[i])
	}
	return some
}

// tickMS is a time at an axis.
func tickMS(ms float64) string {
	if ms >= 1000 {
		return fmt.Sprintf("%g s", round(ms/1000))
	}
	return fmt.Sprintf("%g ms", round(ms))
}

// round takes the noise of powers of ten away.
func round(f float64) float64 {
	if math.Abs(f) > 1e9 {
		return f
	}
	return math.Round(f*1e6) / 1e6
}
