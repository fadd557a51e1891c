package labtest

import (
	"context"
	"testing"
	"time"
)

// pollPause lies between two looks at something that sends no event. Chosen by us.
const pollPause = 20 * time.Millisecond

// Must ends the test if err is not nil.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Eventually looks again and again until try returns nil, for d at most; ctx ends then. what says what is waited for.
func Eventually(t testing.TB, d time.Duration, what string, try func(ctx context.Context) error) {
	t.Helper()
	ctx := Within(t, d)
	for {
		err := try(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %v: %v", what, d, err)
		case <-time.After(pollPause):
		}
	}
}

// Pass lets time pass in which something must not happen.
func Pass(t testing.TB, d time.Duration) {
	t.Helper()
	select {
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	case <-time.After(d):
	}
}
