package chaos

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// A Step of a plan: faults that begin together, and the time that passes before.
type Step struct {
	Pause  time.Duration
	Faults []Fault
}

// PlanOptions describe what [NewPlan] draws from.
type PlanOptions struct {
	Seed   uint64
	Kinds  []Kind        // default: all
	Pace   time.Duration // between two beginnings, on average
	Short  time.Duration // the shortest fault
	Long   time.Duration // the longest fault; short ones are as frequent as long ones
	Single bool          // never two in one step
	At     Role          // whom all of them meet; default: mostly the owner
}

// A Plan is an endless list of steps. The same options give the same list.
type Plan struct {
	o    PlanOptions
	rand *rand.Rand
}

// NewPlan begins a list.
func NewPlan(o PlanOptions) *Plan {
	if len(o.Kinds) == 0 {
		o.Kinds = Kinds
	}
	return &Plan{o: o, rand: rand.New(rand.NewPCG(o.Seed, 0))}
}

// Next returns the next step.
func (p *Plan) Next() Step {
	s := Step{Pause: p.pause()}
	n := 1
	if !p.o.Single && p.rand.IntN(5) == 0 { // two at once
		n = 2
	}
	for range n {
		s.Faults = append(s.Faults, p.fault())
	}
	return s
}

// Ending is how the faults of a batch end: half of the time all at one moment, this long after the last of them has
// begun (a site heals from the worst at once), and otherwise each when it is over.
func (p *Plan) Ending() (after time.Duration, together bool) {
	return time.Duration(p.rand.Int64N(int64(3*p.o.Pace) + 1)), p.rand.IntN(2) == 0
}

// pause is now and then nothing: a fault in the middle of what another one has set in motion.
func (p *Plan) pause() time.Duration {
	if p.rand.IntN(6) == 0 {
		return time.Duration(p.rand.Int64N(int64(100 * time.Millisecond)))
	}
	return p.o.Pace/2 + time.Duration(p.rand.Int64N(int64(p.o.Pace)+1))
}

func (p *Plan) fault() Fault {
	f := Fault{Kind: p.o.Kinds[p.rand.IntN(len(p.o.Kinds))], At: Owner, Pick: p.rand.IntN(1 << 16), For: p.length()}
	switch p.rand.IntN(10) {
	case 0, 1, 2:
		f.At = Standby
	case 3:
		f.At = Anybody
	}
	f.At = cmp.Or(p.o.At, f.At)
	switch f.Kind {
	case KillRestart, FlushRules, LoseAddresses, Switchover:
		f.For = 0
	case RestartStorm:
		f.For, f.Times = 0, 2+p.rand.IntN(4)
	case Stutter, Flap: // as long as others in total
		f.Times = 2 + p.rand.IntN(5)
		f.For /= time.Duration(2 * f.Times)
	}
	return f
}

// length is drawn so that every octave between Short and Long is as likely.
func (p *Plan) length() time.Duration {
	span := math.Log(float64(p.o.Long) / float64(p.o.Short))
	return time.Duration(float64(p.o.Short) * math.Exp(span*p.rand.Float64())).Round(time.Millisecond)
}

// ParseKinds reads a list of kinds with commas between; empty for all.
func ParseKinds(list string) ([]Kind, error) {
	if list == "" {
		return nil, nil
	}
	var kinds []Kind
	for _, name := range strings.Split(list, ",") {
		if !slices.Contains(Kinds, Kind(name)) {
			return nil, fmt.Errorf("no fault %q; there are %v", name, Kinds)
		}
		kinds = append(kinds, Kind(name))
	}
	return kinds, nil
}
