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

// poll calls try until it returns nil or a fatal error, or until ctx ends; then it returns the last error of try
// together with that of ctx.
func poll(ctx context.Context, try func() error) error {
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
		case <-time.After(pollPause):
		}
	}
}
