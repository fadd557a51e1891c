package lab

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// pollPause lies between two looks at something that sends no event. Chosen by us: short beside a ttl.
const pollPause = 20 * time.Millisecond

// fatal marks an error that waiting cannot mend.
type fatal struct{ error }

func (f fatal) Unwrap() error { return f.error }

// Pause lets time pass in which something must not happen, or nothing has to. It ends early with ctx, and returns its error.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// Poll is [PollEvery] some milliseconds.
func Poll(ctx context.Context, try func() error) error { return PollEvery(ctx, pollPause, try) }

// PollEvery calls try, with a pause between two calls, until it returns nil or an error that waiting cannot mend, or until
// ctx ends; then it returns the last error of try together with that of ctx. It is for what sends no event.
func PollEvery(ctx context.Context, pause time.Duration, try func() error) error {
	var last error
	for {
		err := try()
		var f fatal
		switch {
		case err == nil:
			return nil
		case errors.As(err, &f):
			return err
		case ctx.Err() == nil || last == nil:
			last = err // later errors may only say that ctx has ended
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", last, ctx.Err())
		case <-time.After(pause):
		}
	}
}
