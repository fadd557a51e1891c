package bench

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// ErrNoSamples is returned for the statistics of nothing.
var ErrNoSamples = errors.New("no samples")

// minP95 is the least number of samples of which a 95th percentile says more than the maximum does. Chosen by us.
const minP95 = 20

// A Summary is what the report tells of samples, in their unit.
type Summary struct {
	N                int
	Min, Median, Max float64
	P95              float64 // nearest rank; 0 where HasP95 is false
	HasP95           bool    // there were 20 samples or more
}

// Summarize returns minimum, median (of an even number: the mean of the two in the middle) and maximum. No samples, and
// one that is no finite number, are errors.
func Summarize(samples []float64) (Summary, error) {
	if len(samples) == 0 {
		return Summary{}, ErrNoSamples
	}
	for i, f := range samples {
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return Summary{}, fmt.Errorf("sample %d of %d is %v", i+1, len(samples), f)
		}
	}
	s := slices.Sorted(slices.Values(samples))
	n := len(s)
	sum := Summary{N: n, Min: s[0], Median: s[n/2], Max: s[n-1]}
	if n%2 == 0 {
		sum.Median = s[n/2-1]/2 + s[n/2]/2 // halves first: the sum of two large ones may not be finite
	}
	if n >= minP95 {
		sum.P95, sum.HasP95 = s[(n*95+99)/100-1], true
	}
	return sum, nil
}

// each picks one number of every sample.
func each(samples []Sample, pick func(Sample) float64) []float64 {
	out := make([]float64, 0, len(samples))
	for _, s := range samples {
		out = append(out, pick(s))
	}
	return out
}

func outage(s Sample) float64 { return s.Outage }
func two(s Sample) float64    { return s.Two }
func none(s Sample) float64   { return s.None }

// moved are the samples to be summed up: a planned move that moved nothing had no outage, and is no fast one (see stayed).
func (r Result) moved() []Sample {
	if r.Scenario != Switchover {
		return r.Samples
	}
	return slices.DeleteFunc(slices.Clone(r.Samples), func(s Sample) bool { return s.Moves == 0 })
}

// unwanted is how many moves of these nobody asked for.
func unwanted(samples []Sample) (n int) {
	for _, s := range samples {
		n += s.Unwanted
	}
	return n
}
