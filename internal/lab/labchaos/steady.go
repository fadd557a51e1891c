package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hbagent/hbagent/internal/lab/chaos"
)

// steady makes one fault that should move nothing, for long, several times, and counts the moves. At most one of
// the runs may have moved the address, and that once.
func steady(ctx context.Context, s *chaos.Site, j *chaos.Judge, f chaos.Fault, runs int) error {
	done := make(chan struct{})
	defer close(done)
	go j.Follow(done)
	moved := 0
	for i := range runs {
		before, began := j.Moves(), time.Now()
		j.TakeLongest()
		if err := s.Strike(ctx, f); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil // somebody has had enough
		}
		rec, err := s.Recover(ctx)
		if err != nil {
			j.Blame(time.Now(), err.Error())
		}
		j.Catch(ctx)
		moves := j.Moves() - before
		moved += min(moves, 1)
		fmt.Printf("%v, run %d of %d: %d moves in %v, longest time without an answer %v; back at %s in %v\n", f.Kind, i+1, runs, moves,
			time.Since(began).Round(time.Second), j.TakeLongest().Round(time.Millisecond), rec.Owner, rec.Took.Round(time.Millisecond))
		if moves > 1 {
			return fmt.Errorf("%d moves in one run: at most one may be", moves)
		}
	}
	if moved > max(1, runs/4) {
		return fmt.Errorf("the address moved in %d of %d runs", moved, runs)
	}
	return nil
}

// report prints what steady has found.
func report(j *chaos.Judge) error {
	found, all := j.Violations()
	for _, v := range found {
		fmt.Printf("\nVIOLATION at %v", v)
	}
	if all > 0 {
		return fmt.Errorf("%w: %d times", errBroken, all)
	}
	return nil
}

// steadyFault reads the name of a fault for steady.
func steadyFault(name string, d time.Duration) (chaos.Fault, error) {
	switch k := chaos.Kind(name); k {
	case chaos.LossAll:
		return chaos.Fault{Kind: k, At: chaos.Anybody, For: d}, nil
	case chaos.Busy, chaos.Loss:
		return chaos.Fault{Kind: k, At: chaos.Owner, For: d}, nil
	}
	return chaos.Fault{}, errors.New("steady takes loss-everywhere, loss or load")
}
