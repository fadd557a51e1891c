package setup

import (
	"fmt"
	"time"

	"github.com/hbagent/hbagent/internal/detect"
)

// calmTTL is what a quiet machine on a quiet wire gets, though it would bear less: the default of the config.
const calmTTL = time.Second

// ProposeTTL chooses the lease time for a machine that stood still for stall at the longest, and whose peers answer
// within trip (0: nobody was asked, or answered), by the rule that `hbagent doctor` has. why says it for the file.
func ProposeTTL(stall, trip time.Duration) (ttl time.Duration, why string) {
	why = "a dead owner costs about this much"
	switch ttl = detect.ProposeTTL(trip, stall); {
	case ttl <= calmTTL:
		return calmTTL, why
	case detect.ProposeTTL(0, stall) == ttl:
		return ttl, fmt.Sprintf("%s; this machine stood still for %s", why, short(stall))
	}
	return ttl, fmt.Sprintf("%s; a round trip took %s", why, short(trip))
}

func short(d time.Duration) string {
	if d >= time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Millisecond).String()
}
