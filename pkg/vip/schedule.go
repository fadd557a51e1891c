package vip

import "time"

// Chosen by us.
const (
	// burstGap: Linux ignores a second change of a neighbour entry within a second (locktime in
	// net/core/neighbour.c, 1 s by default), so repeats are a little further apart than that.
	burstGap = 1100 * time.Millisecond
	// burstRounds: at 0, 1.1, 2.2, 3.3 and 4.4 s. A lost frame, a port still in listening state, or a
	// foreign claim inside somebody's locktime are outlived; MetalLB settled on the same five seconds.
	burstRounds = 5
	// refreshGap keeps switches' tables (300 s by default) and neighbours right for ever.
	refreshGap = 60 * time.Second
)

// schedule says when a group announces itself. It is pure: the announcer asks and obeys.
type schedule struct {
	due   time.Duration
	round int           // rounds begun since the burst began
	begun bool          // whether any round ever was
	last  time.Duration // when the latest round began, if one was
}

// start makes a round due at once, and the burst begin anew.
func (s *schedule) start(now time.Duration) {
	s.due, s.round = now, 0
}

// defend is start after a foreign claim: no sooner than burstGap after the latest round, so that a flood of
// claims makes one round each 1.1 s and not a flood of ours.
func (s *schedule) defend(now time.Duration) {
	s.start(now)
	if s.begun {
		s.due = max(now, s.last+burstGap)
	}
}

// begin is called when a due round begins; it sets the next one. Rounds missed during a pause are not
// made up for.
func (s *schedule) begin(now time.Duration) {
	s.last, s.begun = now, true
	s.round++
	if s.round < burstRounds {
		s.due = now + burstGap
	} else {
		s.due = now + refreshGap
	}
}
