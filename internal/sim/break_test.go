package sim

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// breakages are the mistakes that must be found, each within so many seeds. What
// the swarm of faults finds too rarely has a theme of its own.
var breakages = []struct {
	mistake Breakage
	within  uint64
	theme   []faultKind
}{
	{NoQuarantine, 200, []faultKind{cutOneWay, cutOneWay, isolateHost, resetMachine, resetMachine, restartAgent}},
	{PromisesLost, 200, nil},
	{RecordStale, 300, nil},
	{PersistLate, 300, []faultKind{transferGroup, releaseGroup, cutOneWay}},
	{BootResumes, 300, []faultKind{resetMachine, resetMachine, transferGroup, releaseGroup, cutOneWay, isolateHost}},
	{CountFromReply, 600, []faultKind{slowPackets, slowPackets, isolateHost, isolateHost, cutBothWays, killAgent}},
	{ShutAfterSend, 100, []faultKind{transferGroup, releaseGroup, losePackets}},
	{VisibleQuorum, 50, nil},
	{QuorumTooSmall, 50, nil},
	{NegativeMargin, 200, nil},
	{WildClocks, 200, nil},
	{NoGate, 100, nil},
	{ShutIgnored, 50, nil},
	{NoToken, 300, []faultKind{isolateHost, isolateHost, cutBothWays, pauseAgent, killAgent}},
	{TokenUncounted, 400, []faultKind{isolateHost, isolateHost, killAgent, healNetwork, healNetwork}},
	{ExpiredRenewal, 600, nil},
	{OldGrant, 200, nil},
	{LiveHandout, 50, nil},
	{SeqAndEpoch, 300, []faultKind{transferGroup, releaseGroup, restartAgent, slowPackets, losePackets}},
	{TransferTwice, 300, []faultKind{transferGroup, transferGroup, slowPackets, losePackets, cutOneWay}},
	{TicketTwice, 300, []faultKind{transferGroup, transferGroup, slowPackets, losePackets, cutOneWay}},
	{TwoVotersAtOnce, 400, []faultKind{changeVoters, changeVoters, changeVoters, changeVoters, splitHosts, isolateHost, cutBothWays}},
	{UngatedChange, 600, []faultKind{changeVoters, changeVoters, changeVoters, changeVoters, splitHosts, isolateHost, cutBothWays}},
	{UngatedRemoved, 600, []faultKind{changeVoters, changeVoters, changeVoters, changeVoters, isolateHost, cutBothWays, freezeMachine}},
	{UngatedRestart, 300, []faultKind{changeVoters, changeVoters, changeVoters, changeVoters, isolateHost, cutBothWays, freezeMachine}},
	{ClocksExcused, 100, []faultKind{pauseMachine, suspendMachine}},
}

// TestBreakages shows that the simulator can fail: each mistake must be found
// within the stated number of seeds.
func TestBreakages(t *testing.T) {
	for _, tt := range breakages {
		t.Run(string(tt.mistake), func(t *testing.T) {
			start := time.Now()
			n, found := firstFound(t, tt.mistake, tt.within, tt.theme)
			if found == "" {
				t.Errorf("%d seeds found nothing in %v", tt.within, time.Since(start).Round(time.Millisecond))
				return
			}
			t.Logf("| %s | %d | %d | %v | %s |", tt.mistake, n, tt.within, time.Since(start).Round(time.Millisecond), found)
		})
	}
}

// harmless are mistakes that another layer makes good. Each is found when that
// layer is taken away as well: see the package documentation.
var harmless = []struct {
	mistake Breakage
	theme   []faultKind
}{
	{BootResumesAll, []faultKind{resetMachine, resetMachine, transferGroup, releaseGroup, cutOneWay, isolateHost}},
	{ExpiredAlone, nil},
	{SeqUnchecked, []faultKind{transferGroup, transferGroup, restartAgent, restartAgent, slowPackets, losePackets}},
	{TicketTwiceOnly, []faultKind{transferGroup, transferGroup, slowPackets, losePackets, cutOneWay}},
}

// TestHarmless: what the package documentation says to be harmless is, as far as
// so many seeds can tell.
func TestHarmless(t *testing.T) {
	for _, tt := range harmless {
		t.Run(string(tt.mistake), func(t *testing.T) {
			const seeds = 60
			if n, found := firstFound(t, tt.mistake, seeds, tt.theme); found != "" {
				t.Errorf("seed %d: %s", n, found)
			}
		})
	}
}

// firstFound returns the first seed that finds a mistake, and the group's two
// owners.
func firstFound(t *testing.T, mistake Breakage, within uint64, kinds []faultKind) (uint64, string) {
	for n := uint64(1); n <= within; n++ {
		_, err := Run(n, mistaken(n, mistake, kinds))
		if err == nil {
			continue
		}
		first := strings.SplitN(err.Error(), "\n", 2)[0]
		if !errors.Is(err, ErrViolation) || !strings.Contains(err.Error(), "invariant 1") {
			t.Fatalf("seed %d found something else: %v", n, first)
		}
		_, what, _ := strings.Cut(first, "): ")
		return n, what
	}
	return 0, ""
}

// mistaken draws the world in which a mistake is looked for.
func mistaken(n uint64, mistake Breakage, kinds []faultKind) Options {
	o := Options{Nodes: 3 + 2*int(n%2), Break: mistake}
	if kinds == nil {
		return o
	}
	rng := rand.New(rand.NewPCG(n, 1))
	o.Nodes, o.Voters = 3, 3 // two quorums share one voter: the smallest slip shows
	switch mistake {
	case TwoVotersAtOnce, UngatedChange:
		o.Nodes = 5
	case UngatedRemoved, UngatedRestart:
		o.Nodes, o.Voters = 5, 5 // so that two can be removed
	}
	o.Faults = &Faults{Drop: 0.7, StallMax: 1, Fatal: 0.1}
	o.Faults.follow(theme{kinds: kinds}, rng)
	if mistake == TokenUncounted {
		o.TTL = 150 * time.Millisecond // the token lives for two margins
		o.Faults.Stall, o.Faults.StallMax, o.Faults.Drift, o.Faults.Fatal = 0.2, 0.05, 20_000, 0
	}
	if slices.Contains(kinds, slowPackets) {
		o.Faults.Slow, o.Faults.SlowMax, o.Faults.Dup = 0.3, 3, 0.5
	}
	switch mistake {
	case NoToken: // what is stalled between the clock and the kernel must be the last renewal of a lease that ends
		o.Faults.Stall, o.Faults.StallMax, o.Faults.Fatal = 0.4, 1.5, 0.05
	case CountFromReply:
		o.Faults.Slow, o.Faults.SlowMax, o.Faults.Drop = 0.8, 0.7, 0.1 // replies later than the margin, most of them
	}
	return o
}
