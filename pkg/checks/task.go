package checks

import (
	"context"
	"log/slog"
	"time"
)

// Chosen by us.
const (
	// minInterval keeps a typing error from turning a check into a load test.
	minInterval = 10 * time.Millisecond
	// jitter spreads the probes of several nodes and checks, as a part of the
	// interval in each direction.
	jitter = 0.1
	// reportEvery bounds how often a new message alone is reported; each report
	// is gossiped to every node.
	reportEvery = time.Second
	// wakeEvery bounds how often an event starts a probe: one change of a link
	// comes as a handful of events.
	wakeEvery = 10 * time.Millisecond
	// watchAgain is the pause before a watch that failed is tried again.
	watchAgain = time.Second
)

// A task is one check under a Runner. Its run goroutine owns what is not marked
// otherwise.
type task struct {
	runner  *Runner
	spec    Spec
	checker Checker
	prober  *prober
	log     *slog.Logger
	life    context.Context // ends with stop
	stop    context.CancelFunc
	wake    chan struct{} // capacity 1: events that come together are one

	verdict  RiseFall
	reported time.Time   // when onChange was called last
	flush    *time.Timer // runs while a new message waits to be reported

	state   State // guarded by runner.mu, written by run only
	started bool  // guarded by runner.mu
}

// run is the check's goroutine.
func (t *task) run() {
	next := time.NewTimer(0)
	defer next.Stop()
	t.flush = time.NewTimer(reportEvery)
	t.flush.Stop()
	defer t.flush.Stop()
	var start time.Time
	for {
		woken := false
		select {
		case <-t.life.Done():
			return
		case <-next.C: // the schedule
		case <-t.wake: // the checker's own watch
			woken = true
			if !t.sleep(time.Until(start.Add(wakeEvery))) {
				return
			}
			select {
			case <-t.wake: // what happened while it slept, the probe that starts now will see
			default:
			}
		case <-t.flush.C: // a message that came too soon after the last
			t.report()
			continue
		}
		start = time.Now()
		f := t.prober.join()
		select {
		case <-t.life.Done():
			return
		case <-f.decided:
		}
		t.runner.opts.OnResult(t.spec.Name, f.result)
		t.observe(start, f.result, woken)
		if !woken { // an event does not shift the schedule
			next.Reset(pause(start, time.Now(), t.spec.Interval, t.runner.opts.Rand()))
		}
	}
}

// pause returns how long to wait at now for the next start, when the last was
// at start: one interval with jitter, and as many more as have been missed.
// A start that is due exactly now is not missed.
func pause(start, now time.Time, interval time.Duration, random float64) time.Duration {
	step := interval + time.Duration(jitter*(2*random-1)*float64(interval))
	spent := now.Sub(start)
	missed := (spent + step - 1) / step // steps that have begun
	return max(missed, 1)*step - spent
}

// observe takes a result in and reports what changed.
func (t *task) observe(start time.Time, res Result, woken bool) {
	before := t.verdict
	// An event shortens the way down only: three events of one cable being
	// plugged in are not three successes in a row.
	if !woken || !res.OK || before.Status == Pending {
		t.verdict = before.Next(res.OK, res.Final)
	}
	message := t.verdict.Explain(res.Message)
	flipped := t.verdict.Status != before.Status

	t.runner.mu.Lock()
	changed := flipped || message != t.state.Message
	t.state.Message = message
	t.state.LastRun = start
	t.state.Took = res.Took
	if flipped {
		t.state.Status = t.verdict.Status
		t.state.Since = time.Now()
		if before.Status != Pending {
			t.state.Flaps++
		}
	}
	t.runner.mu.Unlock()

	switch wait := time.Until(t.reported.Add(reportEvery)); {
	case flipped, changed && wait <= 0:
		t.report()
	case changed:
		t.flush.Reset(wait)
	}
}

// report hands the present state to onChange, unless the check was replaced.
func (t *task) report() {
	t.flush.Stop()
	t.reported = time.Now()
	r := t.runner
	r.mu.Lock()
	if t.life.Err() != nil {
		r.mu.Unlock()
		return
	}
	r.seq++
	t.state.Seq = r.seq
	state := t.state
	r.mu.Unlock()
	r.onChange(state)
}

// watch keeps a Watcher watching.
func (t *task) watch(w Watcher) {
	wake := func() {
		select {
		case t.wake <- struct{}{}:
		default: // a wake-up is waiting already
		}
	}
	for {
		err := w.Watch(t.life, wake)
		if t.life.Err() != nil {
			return
		}
		t.log.Warn("watch ended, trying again", "reason", err)
		if !t.sleep(watchAgain) {
			return
		}
		wake() // what happened meanwhile was not seen
	}
}

// sleep returns false if the task was stopped before d had passed.
func (t *task) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.life.Done():
		return false
	}
}
