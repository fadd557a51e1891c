package bench

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestSummarize(t *testing.T) {
	var twenty []float64
	for i := range 20 {
		twenty = append(twenty, float64(20-i))
	}
	for _, tt := range []struct {
		samples []float64
		want    Summary
	}{
		{[]float64{3}, Summary{N: 1, Min: 3, Median: 3, Max: 3}},
		{[]float64{4, 1}, Summary{N: 2, Min: 1, Median: 2.5, Max: 4}},
		{[]float64{9, 1, 5}, Summary{N: 3, Min: 1, Median: 5, Max: 9}},
		{[]float64{9, 1, 5, 6}, Summary{N: 4, Min: 1, Median: 5.5, Max: 9}},
		{twenty, Summary{N: 20, Min: 1, Median: 10.5, Max: 20, P95: 19, HasP95: true}},
		{append(slices.Clone(twenty), 100), Summary{N: 21, Min: 1, Median: 11, Max: 100, P95: 20, HasP95: true}},
		{[]float64{math.MaxFloat64, math.MaxFloat64}, Summary{N: 2, Min: math.MaxFloat64, Median: math.MaxFloat64, Max: math.MaxFloat64}},
	} {
		before := slices.Clone(tt.samples)
		got, err := Summarize(tt.samples)
		if err != nil || got != tt.want {
			t.Errorf("%v: %+v, %v, want %+v", tt.samples, got, err, tt.want)
		}
		if !slices.Equal(before, tt.samples) {
			t.Errorf("%v: the samples were changed", before)
		}
	}
	if _, err := Summarize(nil); !errors.Is(err, ErrNoSamples) {
		t.Errorf("no samples: %v", err)
	}
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if _, err := Summarize([]float64{1, bad}); err == nil || errors.Is(err, ErrNoSamples) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// Whatever the samples: half of them are on either side of the median, and 95 of 100 not above the 95th percentile.
func TestSummarizeAnything(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 0))
		samples := make([]float64, 1+r.IntN(60))
		for i := range samples {
			samples[i] = math.Round(r.ExpFloat64() * 20)
		}
		s, err := Summarize(samples)
		if err != nil {
			t.Fatal(err)
		}
		count := func(is func(float64) bool) (n int) {
			for _, f := range samples {
				if is(f) {
					n++
				}
			}
			return n
		}
		n := len(samples)
		if count(func(f float64) bool { return f <= s.Median })*2 < n || count(func(f float64) bool { return f >= s.Median })*2 < n ||
			count(func(f float64) bool { return f < s.Min || f > s.Max }) > 0 || s.HasP95 != (n >= 20) ||
			s.HasP95 && (count(func(f float64) bool { return f <= s.P95 })*100 < 95*n || count(func(f float64) bool { return f < s.P95 })*100 >= 95*n) {
			t.Errorf("seed %d: %v: %+v", seed, samples, s)
		}
	}
}
