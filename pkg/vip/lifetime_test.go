package vip

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestLifetimeSeconds(t *testing.T) {
	ms := time.Millisecond
	for _, tc := range []struct {
		role LifetimeRole
		left time.Duration
		want int // 0: ErrDeadline
	}{
		{Backstop, 0, 0},
		{Backstop, -ms, 0},
		{Backstop, 45 * ms, 2},
		{Backstop, 750 * ms, 2},
		{Backstop, 751 * ms, 3},
		{Backstop, 900 * ms, 3},
		{Backstop, 27 * time.Second, 29},
		{Backstop, 2 * time.Hour, 0},
		{Sole, 900 * ms, 0},
		{Sole, 2299 * ms, 0},
		{Sole, 2300 * ms, 1},
		{Sole, 4500 * ms, 3},
		{Sole, -ms, 0},
		{Sole, 2 * time.Hour, 0},
	} {
		got, err := tc.role.seconds(tc.left)
		if got != tc.want || (tc.want == 0) != errors.Is(err, ErrDeadline) {
			t.Errorf("role %d, %v left: %d, %v; want %d", tc.role, tc.left, got, err, tc.want)
		}
	}
}

// What the package doc promises: with any renewals while the lease is valid, the address outlives the lease; and
// when they stop, it is gone within 3.5 s.
func TestLifetimeCoversTheLease(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ttl := time.Duration(rapid.Int64Range(int64(45*time.Millisecond), int64(27*time.Second)).Draw(t, "ttl"))
		now, deadline := time.Duration(0), time.Duration(0)
		var cover coverage
		refresh := func() {
			valid, err := Backstop.seconds(deadline - now)
			if err != nil {
				t.Fatal(err)
			}
			cover = coverage{at: now, until: now + time.Duration(valid)*lifetimeUnit}
		}
		for i := range 50 {
			left := time.Duration(rapid.Int64Range(1, int64(ttl)).Draw(t, "left"))
			deadline = max(deadline, now+left)
			if i == 0 || cover.due(Backstop, now, deadline) {
				refresh()
			}
			if cover.until-kernelEarly < deadline {
				t.Fatalf("at %v the kernel may drop the address at %v, the lease is valid until %v", now, cover.until-kernelEarly, deadline)
			}
			if gone := cover.until + kernelLate; gone > deadline+3500*time.Millisecond {
				t.Fatalf("a kill at %v leaves the address until %v, the lease is valid until %v", now, gone, deadline)
			}
			now += time.Duration(rapid.Int64Range(0, int64(deadline-now)-1).Draw(t, "pause"))
		}
	})
}

func TestScheduleDefend(t *testing.T) {
	ms := time.Millisecond
	var s schedule
	s.start(0)
	s.defend(0)
	if s.due != 0 {
		t.Errorf("nothing sent yet: due at %v, want 0", s.due)
	}
	s.begin(0)
	s.defend(300 * ms)
	s.defend(500 * ms)
	if s.due != burstGap {
		t.Errorf("claims after a round: due at %v, want %v", s.due, burstGap)
	}
	s.begin(burstGap)
	s.defend(30 * time.Second)
	if s.due != 30*time.Second {
		t.Errorf("a claim long after: due at %v, want at once", s.due)
	}
}

func TestHoldSendLooksAtTheClock(t *testing.T) {
	k := newFake(nil)
	w := newFakeWire(k)
	now := time.Second
	clock := func() time.Duration { return now }
	h := &hold{deadline: 2 * time.Second}
	for _, step := range []struct {
		do   func()
		want dropReason
	}{
		{func() {}, sent},
		{func() { now = 2 * time.Second }, dropDeadline},
		{func() { h.extend(3 * time.Second) }, sent},
		{h.close, dropShut},
	} {
		step.do()
		got, err := h.send(clock, w, []byte{1})
		if got != step.want || err != nil {
			t.Errorf("%v, %v; want %v", got, err, step.want)
		}
	}
	if n := len(k.frames()); n != 2 {
		t.Errorf("%d frames on the wire, want 2", n)
	}
}
