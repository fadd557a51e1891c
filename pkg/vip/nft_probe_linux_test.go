package vip

import (
	"errors"
	"slices"
	"testing"
	"time"
)

// A machine that stalls is given more time at each try; another error is final at once.
func TestInsist(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range []struct {
		name     string
		stalls   int // tries that stall; -1: all
		err      error
		takes    time.Duration // a try
		want     []time.Duration
		is, isNo error
	}{
		{name: "well", want: []time.Duration{30 * time.Millisecond}},
		{name: "three stalls", stalls: 3, want: []time.Duration{30 * time.Millisecond, 60 * time.Millisecond, 120 * time.Millisecond, 240 * time.Millisecond}},
		{name: "no gate", err: broken, want: []time.Duration{30 * time.Millisecond}, is: ErrNoGate},
		{name: "a stall, and no gate", stalls: 1, err: broken, want: []time.Duration{30 * time.Millisecond, 60 * time.Millisecond}, is: broken},
		{name: "stalls, until the time is over", stalls: -1, takes: selfTestStalls / 6, is: ErrDeadline, isNo: ErrNoGate, want: []time.Duration{
			30 * time.Millisecond, 60 * time.Millisecond, 120 * time.Millisecond, 240 * time.Millisecond, 480 * time.Millisecond, 480 * time.Millisecond, 480 * time.Millisecond,
		}},
	} {
		var now time.Duration
		var got []time.Duration
		err := insist(func(last time.Duration) error {
			now += tt.takes
			got = append(got, last)
			if tt.stalls < 0 || len(got) <= tt.stalls {
				return []error{ErrDeadline, ErrStalled, ErrGateExpired}[(len(got)-1)%3]
			}
			return tt.err
		}, func() time.Duration { return now })
		if !slices.Equal(got, tt.want) || !errors.Is(err, tt.is) || tt.is == nil && err != nil || tt.isNo != nil && errors.Is(err, tt.isNo) {
			t.Errorf("%s: tries %v, error %v; want %v, %v", tt.name, got, err, tt.want, tt.is)
		}
	}
}
