package main

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// module is what the names of packages begin with.
const module = "github.com/hbagent/hbagent/"

// atMost is how many failures are put down to noise, of a whole run of scripts/test.sh. More of them are no noise.
const atMost = 3

// noisy are the packages whose tests wait for real machines, programs and clocks, where a busy neighbour can make a
// test fail that is right. All others compute: what fails there once is wrong. pkg/lease, internal/agent, the simulator
// and the chaos tests are left out on purpose: who may own an address is decided there.
var noisy = []string{
	"pkg/vip", "pkg/checks", "pkg/cluster",
	"internal/cli", "internal/control", "internal/detect", "internal/doctor", "internal/lab", "internal/metrics",
	"internal/role/mysql", "internal/setup", "internal/template/apply", "internal/web",
	"internal/e2e", "internal/e2e/database", "internal/e2e/doctor", "internal/e2e/stage3",
}

// watching are the tests, in packages of noisy, whose subject is that an address ends with its lease.
var watching = regexp.MustCompile(`^Test(Gate|Lapse|Lifetime|SoleLifetime|NothingComesBack|HoldSend|Stall|Conflict|OpenAndShutAreExact|` +
	`AddressesVanish|MissingNeighbour|Overheard|DefendOnly|Cleanup|Close|EndDrainKeeps|FlushWhileDraining)`)

// neverNoise is what a test says, or an agent in what a failed test shows of it, when something was seen that must never
// happen on a busy machine either: two owners, two writers, a lost commit, a race, a crash.
var neverNoise = regexp.MustCompile(`DATA RACE|race detected|panic: |fatal error: |invariant|does not come to rest|` +
	`at once, from|two owners|two machines answered|two servers were|answered by \[\S+ [^\]]+\]|claims this address|` +
	`acknowledged|writable|speaks for|solicits from|sent on what it overheard`)

// failure is a test function that failed.
type failure struct {
	Package string
	Test    string
	// Unsafe is the first line that forbids a second chance; empty: there is none.
	Unsafe string
}

func (f failure) String() string { return strings.TrimPrefix(f.Package, module) + " " + f.Test }

// refused says why a failure gets no second chance; empty: it gets one.
func (f failure) refused() string {
	switch name := strings.TrimPrefix(f.Package, module); {
	case name == "internal/e2e/doctor" && strings.Contains(f.Unsafe, "claims this address"):
		// Planted there: doctor is to find a machine that answers for the address.
	case f.Unsafe != "":
		return "it said: " + f.Unsafe
	case !slices.Contains(noisy, name):
		return "nothing in " + name + " depends on how busy the machine is, or it watches over safety"
	case watching.MatchString(f.Test):
		return "it watches over safety"
	}
	return ""
}

// verdict divides failures into those that get a second chance and reasons that forbid it, for any of which the whole
// run has failed.
func verdict(failures []failure) (again []failure, final []string) {
	for _, f := range failures {
		if why := f.refused(); why != "" {
			final = append(final, fmt.Sprintf("%v: no second chance: %s", f, why))
		} else {
			again = append(again, f)
		}
	}
	slices.SortFunc(again, func(a, b failure) int { return cmp.Compare(a.String(), b.String()) })
	if len(again) > atMost {
		final = append(final, fmt.Sprintf("%d tests failed: that is no noise, no second chance", len(again)))
	}
	return again, final
}
