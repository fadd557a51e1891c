package bench

import (
	"math"
	"slices"
	"testing"
)

func TestLogAxis(t *testing.T) {
	for _, tt := range []struct {
		values    []float64
		low, high float64
		ticks     []float64
	}{
		{[]float64{47, 930}, 20, 1000, []float64{20, 50, 100, 200, 500, 1000}},
		{[]float64{3, 4040}, 2, 5000, []float64{10, 100, 1000}},
		{[]float64{0, .2, 30}, 1, 50, []float64{1, 2, 5, 10, 20, 50}},
		{[]float64{1000}, 1000, 10000, []float64{1000, 2000, 5000, 10000}},
		{nil, 1, 10, []float64{1, 2, 5, 10}},
	} {
		a := newLogAxis(1, tt.values, 0, 100)
		var ticks []float64
		for _, v := range a.ticks() {
			ticks = append(ticks, round(v))
		}
		if round(a.low) != tt.low || round(a.high) != tt.high || !slices.Equal(ticks, tt.ticks) {
			t.Errorf("%v: %v to %v, ticks %v; want %+v", tt.values, a.low, a.high, ticks, tt)
		}
		if a.at(a.low) != 0 || a.at(0) != 0 || a.at(a.high*2) != 100 || a.at(math.NaN()) != 0 {
			t.Errorf("%v: its ends are at %v and %v", tt.values, a.at(a.low), a.at(a.high))
		}
		if mid := a.at(math.Sqrt(a.low * a.high)); math.Abs(mid-50) > 1e-6 {
			t.Errorf("%v: its middle is at %v", tt.values, mid)
		}
	}
}
