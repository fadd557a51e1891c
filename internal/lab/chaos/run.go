package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
)

// A Run makes faults in a site for a while.
type Run struct {
	Site  *Site
	Plan  *Plan
	Judge *Judge

	For    time.Duration // new faults begin for so long
	Faults int           // and so many at most; 0 for no limit
	Every  int           // faults between two recoveries
	AtOnce int           // faults under way at most
	Bound  time.Duration // of a recovery
	Log    io.Writer     // a line for each recovery

	began      time.Time
	made       int
	recoveries []time.Duration
	alone      map[string][]time.Duration // where one fault is made at a time: the longest gap of each
}

// Do makes the faults. It returns early when ctx ends, with what was seen so far, or when the lab fails. Promises
// that were broken are with the Judge.
func (r *Run) Do(ctx context.Context) error {
	r.began, r.alone = time.Now(), make(map[string][]time.Duration)
	done := make(chan struct{})
	var judging sync.WaitGroup
	judging.Go(func() { r.Judge.Follow(done) })
	defer judging.Wait()
	defer close(done)
	for ctx.Err() == nil && time.Since(r.began) < r.For && (r.Faults == 0 || r.made < r.Faults) {
		last, err := r.batch(ctx)
		if err == nil {
			err = r.recover(ctx)
		}
		if ctx.Err() != nil {
			return nil // somebody has had enough
		}
		if err != nil {
			return err
		}
		if r.Every == 1 {
			key := fmt.Sprintf("%s of %s", last.Kind, last.At)
			r.alone[key] = append(r.alone[key], r.Judge.TakeLongest())
		}
	}
	return nil
}

// batch makes the faults between two recoveries, and waits until they are over. It returns the last of them.
func (r *Run) batch(ctx context.Context) (last Fault, err error) {
	striking, mu := sync.WaitGroup{}, sync.Mutex{}
	batch, end := context.WithCancel(ctx)
	defer end()
	room := make(chan struct{}, r.AtOnce)
	for made := 0; made < r.Every && ctx.Err() == nil; {
		step := r.Plan.Next()
		if lab.Pause(ctx, step.Pause) != nil {
			break
		}
		for _, f := range step.Faults {
			select {
			case room <- struct{}{}:
			case <-ctx.Done():
				continue
			}
			made, last = made+1, f
			striking.Go(func() {
				defer func() { <-room }()
				e := r.Site.Strike(batch, f)
				r.Judge.Fault(f.Kind, errors.Is(e, ErrNobodyFree))
				if e != nil && !errors.Is(e, ErrNobodyFree) && ctx.Err() == nil {
					mu.Lock()
					defer mu.Unlock()
					err = errors.Join(err, e)
				}
			})
			if made == r.Every {
				break
			}
		}
	}
	if after, together := r.Plan.Ending(); together && r.Every > 1 {
		time.AfterFunc(after, end)
	}
	striking.Wait()
	r.made = r.Judge.Made()
	return last, err
}

// recover holds the site against the promise of progress.
func (r *Run) recover(ctx context.Context) error {
	rec, err := r.Site.Recover(ctx)
	if ctx.Err() != nil {
		return nil
	}
	r.Judge.Advance(time.Now().Add(-JudgeLag))
	switch {
	case err != nil:
		r.Judge.Blame(time.Now(), err.Error())
	case rec.Took > r.Bound:
		r.Judge.Blame(rec.Healed.Add(rec.Took), fmt.Sprintf("%s was back %v after the last fault was over, and the bound is %v; until then: %s",
			rec.Owner, rec.Took.Round(time.Millisecond), r.Bound, rec.Missed))
	}
	r.recoveries = append(r.recoveries, rec.Took)
	_, broken := r.Judge.Violations()
	fmt.Fprintf(r.Log, "%8s  %5d faults  back at %s in %4d ms  %d violations\n", time.Since(r.began).Round(time.Second),
		r.made, rec.Owner, rec.Took.Milliseconds(), broken)
	if rec.Owner == "" {
		return fmt.Errorf("the site does not recover: %w", err)
	}
	return nil
}
