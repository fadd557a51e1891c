package setup

import (
	"fmt"
	"time"
)

// Chosen by us, from what a lease survives (pkg/lease): the margin for late wake-ups is ttl/10, and a question
// without an answer is asked again every ttl/20.
const (
	calmTTL  = time.Second
	roughTTL = 3 * time.Second
	maxTTL   = 30 * time.Second
	// standing still for longer than this eats the margin of calmTTL.
	maxStall = calmTTL / 10
	// doctor complains below three round trips; a resend should not come before the answer.
	tripsInTTL = 20
)

// ProposeTTL chooses the lease time for a machine that stood still for stall at the longest, and whose peers answer
// within trip (0: nobody was asked, or answered). why says it for the file.
func ProposeTTL(stall, trip time.Duration) (ttl time.Duration, why string) {
	switch {
	case trip*tripsInTTL > roughTTL:
		ttl = min(max((trip*tripsInTTL).Round(time.Second), roughTTL), maxTTL)
		return ttl, fmt.Sprintf("a dead owner costs about this much; long, since a round trip took %s", short(trip))
	case stall > maxStall:
		return roughTTL, fmt.Sprintf("a dead owner costs about this much; this machine stood still for %s", short(stall))
	case trip*tripsInTTL > calmTTL:
		return roughTTL, fmt.Sprintf("a dead owner costs about this much; a round trip took %s", short(trip))
	}
	return calmTTL, "a dead owner costs about this much"
}

func short(d time.Duration) string {
	if d >= time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Millisecond).String()
}
