package doctor

import (
	"fmt"
	"strings"
	"time"

	"github.com/hbagent/hbagent/internal/detect"
)

// Chosen by us.
const (
	// An agent that is late by ttl/4 shuts its gates (internal/agent, pauseDivisor).
	stallShare = 4
	// Below so many round trips it is a warning, and below so few leases lapse (design: "below three measured round trips").
	leastRTT   = 10
	neverRTT   = 3
	jumpWarn   = 100 * time.Millisecond // of the time of day, while this command looked
	historyFor = 24 * time.Hour
	reportsFor = 90 * time.Second // the agent repeats what goes on once a minute
)

// judgeTime: this machine's scheduling and clocks.
func judgeTime(s *sheet, f *Facts) {
	ttl := f.Config.Lease.TTL
	limit := ttl / stallShare
	past, worst := events(f, "stood still")
	now := f.Sample.WorstStall
	do := fmt.Sprintf("give the machine CPU (steal time, memory, backups), or raise ttl: %v bears it", detect.ProposeTTL(f.worstRTT(), max(now, worst)))
	switch {
	case now >= limit:
		s.warn("stalls", "", do, "this machine stood still for %v while it was watched for %v; with a ttl of %v the agent lets go after %v",
			round(now), round(f.Sample.For), ttl, limit)
	case past > 0:
		s.warn("stalls", "", do, "the agent stood still %d times in the last 24 hours, %v at the longest; with a ttl of %v it lets go after %v",
			past, round(worst), ttl, limit)
	default:
		s.ok("stalls", "", "the longest stall in %v was %v; a ttl of %v bears %v", round(f.Sample.For), round(now), ttl, limit)
	}
	jumps, _ := events(f, "the time of day jumped")
	const keep = "let chrony or systemd-timesyncd slew the clock rather than step it, and do not pause or snapshot the machine while it owns an address"
	switch {
	case f.Sample.Asleep >= jumpWarn:
		s.warn("clock-jumps", "", keep, "this machine slept for %v while it was watched", round(f.Sample.Asleep))
	case f.Sample.WallJump >= jumpWarn:
		s.warn("clock-jumps", "", keep, "the time of day jumped by %v while it was watched: each time, leases are confirmed anew", round(f.Sample.WallJump))
	case jumps > 0:
		s.warn("clock-jumps", "", keep, "the time of day jumped %d times in the last 24 hours: each time, leases are confirmed anew", jumps)
	default:
		s.ok("clock-jumps", "", "the clocks run together")
	}
}

// events counts what the agent has recorded in the last 24 hours, and the longest duration it told.
func events(f *Facts, reason string) (n int, longest time.Duration) {
	for _, e := range f.Agent.Events {
		if e.Kind != "agent" || e.Reason != reason || f.At.Sub(e.At) > historyFor {
			continue
		}
		n++
		if d, err := time.ParseDuration(strings.TrimSpace(e.Detail)); err == nil {
			longest = max(longest, d)
		}
	}
	return n, longest
}

// worstRTT is the longest of the peers' typical round trips.
func (f *Facts) worstRTT() time.Duration {
	var worst float64
	for _, p := range f.Peers {
		worst = max(worst, p.RTT.MedianMs)
	}
	return time.Duration(worst * float64(time.Millisecond))
}

// judgeTiming: round trips against ttl.
func judgeTiming(s *sheet, f *Facts) {
	if f.PeersWhy != "" {
		s.skip("peer-latency", "", f.PeersWhy)
		return
	}
	for _, p := range f.Peers {
		if p.Answered == 0 {
			continue
		}
		ttl := f.Config.Lease.TTL
		rtt := time.Duration(p.RTT.MedianMs * float64(time.Millisecond))
		better := detect.ProposeTTL(f.worstRTT(), f.Sample.WorstStall)
		do := fmt.Sprintf("ttl = %q on every node, then restart each", better)
		text := fmt.Sprintf("a round trip to %s takes %s (at most %s), and ttl is %v", p.Node, ms(p.RTT.MedianMs), ms(p.RTT.MaxMs), ttl)
		switch {
		case ttl < neverRTT*rtt:
			s.problem("peer-latency", p.Node, do, "%s: no lease can be renewed in time", text)
		case ttl < leastRTT*rtt:
			s.warn("peer-latency", p.Node, do, "%s: one lost datagram costs a lease", text)
		default:
			s.ok("peer-latency", p.Node, "%s; %v would do", text, better)
		}
	}
}

func ms(x float64) string {
	if x < 10 {
		return fmt.Sprintf("%.1f ms", x)
	}
	return fmt.Sprintf("%.0f ms", x)
}

// round gives a duration the digits that a person reads.
func round(d time.Duration) time.Duration {
	if d < 10*time.Millisecond {
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(time.Millisecond)
}
