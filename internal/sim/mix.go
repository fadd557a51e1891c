package sim

import "math/rand/v2"

// drawFaults chooses a mix. Each run knows a few kinds of faults only: with all
// of them at once, none gets far (Groce et al., "Swarm Testing", ISSTA 2012).
// A third of the runs follow a theme instead.
func drawFaults(rng *rand.Rand) Faults {
	some := func(x float64) float64 {
		if y := rng.Float64() * x; rng.IntN(2) == 0 {
			return y
		}
		return 0
	}
	f := Faults{
		Every: 0.1 + 2*rng.ExpFloat64(), Burst: some(0.8), Drop: some(0.7), Dup: some(0.3), Slow: some(0.4), SlowMax: 0.1 + rng.Float64()*4,
		Stall: some(0.3), StallMax: some(1.5), Fatal: some(0.3), Drift: rng.Int64N(20_000), Wall: []int64{0, 1, 30, 3600}[rng.IntN(4)],
		Unseen: rng.Float64(),
	}
	if rng.IntN(3) == 0 {
		t := themes[rng.IntN(len(themes))]
		f.follow(t, rng)
		return f
	}
	for range 2 + rng.IntN(7) {
		f.Weight[rng.IntN(int(faultKinds))] += 1 + rng.IntN(5)
	}
	// What is broken must get well again, or all worlds end the same way.
	f.Weight[healNetwork] += 1 + (f.Weight[cutOneWay]+f.Weight[cutBothWays]+f.Weight[isolateHost]+f.Weight[splitHosts])*(1+rng.IntN(3))/3
	f.Weight[regainHealth] += 1 + 2*(f.Weight[failHealth]+f.Weight[failEverywhere])
	return f
}

// theme is a handful of faults that are dangerous together, in quick
// succession. Each was written for a mistake that chance alone hardly found.
type theme struct {
	late  bool // packets are slow and repeated, batches stall
	kinds []faultKind
}

var themes = []theme{
	// A voter forgets what it promised, while its holder does not hear.
	{false, []faultKind{cutOneWay, cutOneWay, isolateHost, resetMachine, resetMachine, restartAgent}},
	// A machine that has just booted is handed a group, and restarts.
	{false, []faultKind{cutOneWay, cutOneWay, resetMachine, transferGroup, transferGroup, transferGroup, restartAgent, restartAgent}},
	{false, []faultKind{cutOneWay, isolateHost, revertMemory, restartAgent, restartAgent}},
	// What was said of an earlier lease arrives during a later one.
	{true, []faultKind{releaseGroup, releaseGroup, restartAgent, restartAgent, slowPackets}},
	{true, []faultKind{transferGroup, transferGroup, restartAgent, restartAgent, slowPackets}},
	{true, []faultKind{transferGroup, transferGroup, releaseGroup, failHealth, restartAgent, killAgent, pauseAgent, cutOneWay, slowPackets}},
	// Machines stand still, and the group is handed around meanwhile.
	{false, []faultKind{freezeMachine, freezeMachine, suspendMachine, pauseMachine, moveGroup, transferGroup}},
	{true, []faultKind{pauseMachine, pauseMachine, suspendMachine, transferGroup, restartAgent, slowPackets, cutBothWays}},
	// The voters change while everything else does.
	{false, []faultKind{changeVoters, changeVoters, changeVoters, changeVoters, cutBothWays, isolateHost, restartAgent, transferGroup}},
	{true, []faultKind{changeVoters, changeVoters, changeVoters, resetMachine, moveGroup, cutOneWay, slowPackets, pauseAgent}},
	// Services fail here, there and everywhere.
	{false, []faultKind{failHealth, failHealth, failEverywhere, moveGroup, forceGroup, stopAgent, jumpWall, cutBothWays}},
	{true, []faultKind{transferGroup, pauseAgent, resetMachine, restartAgent, killAgent, pauseAgent, cutOneWay, isolateHost, slowPackets}},
}

func (f *Faults) follow(t theme, rng *rand.Rand) {
	f.Every = 0.2 + rng.Float64()
	if t.late {
		f.Slow, f.SlowMax, f.Dup = 0.2+0.4*rng.Float64(), 1+3*rng.Float64(), 0.5
		f.Stall, f.StallMax = 0.2, 1
	}
	for _, k := range t.kinds {
		f.Weight[k]++
	}
	f.Weight[healNetwork]++
	f.Weight[regainHealth]++
}
