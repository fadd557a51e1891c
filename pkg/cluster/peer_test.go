package cluster

import (
	"context"
	"testing"
	"time"
)

// A peer that is heard is joined within the spread, and however often it is heard, the time that was drawn stays.
func TestHeardJoin(t *testing.T) {
	t.Parallel()
	const spread = 2 * time.Second
	now := time.Unix(1700000000, 0)
	for _, tc := range []struct {
		name          string
		planned, last time.Time
		from          time.Time // within spread of that; zero: planned stays
	}{
		{"not planned", time.Time{}, time.Time{}, now},
		{"planned in five seconds", now.Add(5 * time.Second), now.Add(-time.Minute), now},
		{"soon enough", now.Add(spread), now.Add(-time.Minute), time.Time{}},
		{"overdue", now.Add(-time.Second), now.Add(-time.Minute), time.Time{}},
		{"tried just now", now.Add(5 * time.Second), now, now.Add(minJoinDelay)},
		{"tried just now, and next in its turn", now.Add(minJoinDelay + spread), now, time.Time{}},
	} {
		at := heardJoin(tc.planned, now, tc.last, spread)
		switch {
		case tc.from.IsZero() && !at.Equal(tc.planned):
			t.Errorf("%s: moved by %v", tc.name, at.Sub(tc.planned))
		case !tc.from.IsZero() && (at.Before(tc.from) || !at.Before(tc.from.Add(spread))):
			t.Errorf("%s: %v from now, want between %v and %v", tc.name, at.Sub(now), tc.from.Sub(now), tc.from.Sub(now)+spread)
		}
		for i := range 100 { // packets
			if again := heardJoin(at, now.Add(time.Duration(i)*time.Millisecond), tc.last, spread); !again.Equal(at) {
				t.Fatalf("%s: packet %d moves the join by %v", tc.name, i, again.Sub(at))
			}
		}
	}
}

// All places for joins are taken, by dials that nobody answers, say: states go out all the same.
func TestQueueOfJoinsKeepsNoStateBack(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2")
	a, b := nw.startOnly("web1"), nw.startOnly("web2") // web2 joins nobody
	for range joinsAtOnce {
		a.joining <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	for i := uint64(1); i <= 10; i++ { // one every pushGap, so that the join is due after a few
		mustPublish(t, a, NodeState{Generation: i})
		poll(t, "the state arrives", func() bool {
			states := b.States()
			return len(states) == 1 && states[0].Generation == i
		})
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
