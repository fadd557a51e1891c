package agent

import (
	"fmt"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/metrics"
)

// standstill notices that this process or machine stood still, or that somebody
// set its clock: any sign that time may have passed which the lease did not
// count. It belongs to the loop. Three clocks are held against each other and
// against the timer:
//
//   - the timer fires late: the process was stopped, or starved;
//   - CLOCK_BOOTTIME gains on CLOCK_MONOTONIC: the machine slept;
//   - the wall clock moves against CLOCK_BOOTTIME: a virtual machine was paused
//     or restored from a snapshot and then told the time, or a person set it.
//     These cannot be told apart, so the worst is assumed.
//
// What no clock shows (a virtual machine paused from outside whose time is
// never corrected) the next round shows: a majority refuses it.
type standstill struct {
	boot, mono, wall func() time.Duration
	limit            time.Duration // shorter ones are ordinary scheduling

	due       time.Duration // CLOCK_BOOTTIME at which the timer was to fire, 0 when unset
	suspended time.Duration // CLOCK_BOOTTIME minus CLOCK_MONOTONIC
	// The wall clock minus CLOCK_BOOTTIME lay between these two: the clocks
	// cannot be read at one instant.
	wallMin, wallMax time.Duration
}

// A pause is what look found.
type pause struct {
	late   time.Duration // how long the process, or the machine, stood still; 0: it did not
	asleep bool          // the machine slept for part of it
	set    time.Duration // how far the wall clock was moved; 0: it was not
}

// reverted reports whether this machine's memory may be older than what it has
// promised.
func (p pause) reverted() bool { return p.asleep || p.set != 0 }

func (p pause) none() bool { return p.late == 0 && p.set == 0 }

// start takes the clocks as they are now for right.
func (s *standstill) start() {
	s.suspended = s.boot() - s.mono()
	s.wallMin, s.wallMax = s.offset()
}

// offset returns between which two values the wall clock's distance from
// CLOCK_BOOTTIME lies.
func (s *standstill) offset() (least, most time.Duration) {
	before := s.boot()
	wall := s.wall()
	return wall - s.boot(), wall - before
}

// look is called whenever the loop wakes up.
func (s *standstill) look() (p pause) {
	now := s.boot()
	var late time.Duration
	if s.due != 0 {
		late = now - s.due
	}
	// A stall between the two readings makes this too small, never too large, and
	// the next reading would seem to have grown.
	suspended := max(now-s.mono(), s.suspended)
	asleep := suspended - s.suspended
	s.suspended = suspended
	if pause := max(late, asleep); pause >= s.limit {
		s.due = 0
		p.late, p.asleep = pause, asleep >= s.limit
	}
	least, most := s.offset()
	switch {
	case least-s.wallMax >= s.limit:
		p.set = least - s.wallMax
	case s.wallMin-most >= s.limit:
		p.set = most - s.wallMin
	}
	s.wallMin, s.wallMax = least, most
	return p
}

// wallTime is the time of day, which somebody may set. Round(0) takes the
// monotonic reading off, which would make every difference blind to that.
func wallTime() time.Duration { return time.Duration(time.Now().Round(0).UnixNano()) }

// lookAtClock begins a turn of the loop.
func (l *loop) lookAtClock() {
	l.turn = l.boot()
	l.lookForPause()
}

// lookForPause reacts to a standstill before anything else is done: gates are
// shut first, and the voters asked second.
func (l *loop) lookForPause() {
	p := l.clock.look()
	if p.none() {
		return
	}
	if p.late != 0 {
		kind := metrics.PauseStall
		if p.asleep {
			kind = metrics.PauseSuspend
		}
		l.metrics.Paused(kind, p.late)
		l.log.Warn("this machine or process stood still", "for", p.late, "suspended", p.asleep)
		l.history.add(control.Event{Kind: kindAgent, Reason: "stood still", Detail: p.late.Round(time.Millisecond).String()})
	}
	if p.set != 0 {
		l.metrics.Paused(metrics.PauseClock, 0)
		l.log.Warn("the time of day jumped: this machine was paused, or its clock was set", "by", p.set)
		l.history.add(control.Event{Kind: kindAgent, Reason: "the time of day jumped",
			Detail: fmt.Sprintf("by %v; leases are confirmed, and this node's vote waits for one ttl", p.set.Round(time.Millisecond))})
	}
	l.machine.Paused(l.now(), p.reverted())
	l.carryOut()
}
