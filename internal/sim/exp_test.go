package sim

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func TestExp(t *testing.T) {
	if os.Getenv("EXP") == "" {
		t.Skip()
	}
	n := number(t, "EXP", 0)
	mk := func(every float64, fs ...faultKind) Faults {
		f := Faults{Every: every, Drift: 1000, Wall: 10}
		f.Weight[healNetwork] = 1
		f.Weight[regainHealth] = 1
		for _, k := range fs {
			f.Weight[k]++
		}
		return f
	}
	slow := func(f Faults) Faults {
		f.Slow, f.SlowMax, f.Dup, f.Stall, f.StallMax, f.Unseen = 0.5, 4, 0.5, 0.2, 1, 0.5
		f.Weight[slowPackets]++
		return f
	}
	burst := func(f Faults) Faults { f.Burst = 0.8; return f }
	mixes := map[string]Faults{
		"boot+restart":     mk(0.3, cutOneWay, cutOneWay, isolateHost, resetMachine, resetMachine, restartAgent, restartAgent, restartAgent),
		"revert+restart":   mk(0.3, cutOneWay, isolateHost, revertMemory, restartAgent, restartAgent),
		"late releases":    slow(mk(0.3, releaseGroup, releaseGroup, restartAgent, restartAgent, restartAgent)),
		"late transfers":   slow(mk(0.3, transferGroup, transferGroup, restartAgent, restartAgent, restartAgent)),
		"late transfers 2": slow(mk(0.2, transferGroup, transferGroup, releaseGroup, failHealth, restartAgent, killAgent, pauseAgent, cutOneWay)),
		"boot+ticket":      burst(mk(1, cutOneWay, cutOneWay, resetMachine, transferGroup, transferGroup, transferGroup, restartAgent, restartAgent)),
		"late all":         slow(mk(0.2, transferGroup, pauseAgent, resetMachine, restartAgent, killAgent, pauseAgent, cutOneWay, isolateHost)),
	}
	for name, f := range mixes {
		c := 0
		for s := uint64(1); s < n; s++ {
			_, err := Run(s, Options{Nodes: 3 + int(s%3), Groups: 3, Faults: &f, TTL: time.Second, Chaos: 100 * time.Second})
			if err != nil {
				c++
				if c < 4 {
					fmt.Println(name, strings.SplitN(err.Error(), "\n", 2)[0])
				}
			}
		}
		fmt.Println(name, c, "of", n)
	}
}
