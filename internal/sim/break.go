package sim

import (
	"slices"

	"github.com/hbagent/hbagent/pkg/lease"
)

// Breakage is a mistake that the simulator must be able to find. Each is made
// on the driver's side, or in what a node reads and says: pkg/lease stays as it
// ships.
type Breakage string

// The breakages of the driver: start, effects, kernel.
const (
	None           Breakage = ""
	NoQuarantine   Breakage = "a booted voter grants at once"
	PromisesLost   Breakage = "a restarted voter has forgotten its promises"
	RecordStale    Breakage = "a restart reads an old record"
	PersistLate    Breakage = "the record is written after the messages have left"
	BootResumes    Breakage = "a boot resumes what the disk remembers, which is old"
	BootResumesAll Breakage = "a boot resumes, from a record that is complete"
	CountFromReply Breakage = "validity is counted from the reply"
	ShutAfterSend  Breakage = "the gate shuts after the messages have left"
	VisibleQuorum  Breakage = "quorum of the visible nodes"
	NegativeMargin Breakage = "gates stay open longer than the lease, by a twentieth"
	NoGate         Breakage = "the gate does not shut by itself"
	WildClocks     Breakage = "clocks differ by more than the margin"
	ShutIgnored    Breakage = "the gate ignores being shut"
	NoToken        Breakage = "the token of the gate is left out"
	TokenUncounted Breakage = "the token's life is not taken off the gate's"
	ExpiredAlone   Breakage = "the kernel renews an element that has run out"
	ExpiredRenewal Breakage = "the kernel renews an element that has run out, and the renewal has no token"
	ClocksExcused  Breakage = "clocks that stand are no excuse"
)

// breakConfig changes what the agent starts with.
func (h *host) breakConfig(cfg *lease.Config) {
	same := cfg.Record != nil
	switch h.w.o.Break {
	case NoQuarantine:
		if !same {
			cfg.Record = &lease.Record{Generation: cfg.Generation}
		}
	case PromisesLost:
		if same {
			r := *cfg.Record
			r.Promises = nil
			cfg.Record = &r
		}
	case RecordStale:
		if same && len(h.old) > 0 && h.old[0] != nil {
			cfg.Record = h.old[0]
		}
	case VisibleQuorum:
		cfg.Voters = h.visible()
	}
}

// breakBoot keeps over a boot what must be lost, and reports whether it did.
func (h *host) breakBoot() bool {
	record := h.record
	switch {
	case h.w.o.Break == BootResumesAll:
	case h.w.o.Break == BootResumes && len(h.old) > 0:
		record = h.old[0] // the last writes had not reached the disk
	default:
		return false
	}
	if record == nil {
		return false
	}
	kept := *record
	kept.Quarantine, kept.RenewOnly = 0, 0 // of another clock
	h.record = &kept
	return true
}

// visible is the list of voters of a node that counts whom it sees.
func (h *host) visible() []string {
	return []string{h.name, h.w.names[(h.i+1)%len(h.w.names)]}
}

// breakOrder moves what must come first to the end, and says whether it did:
// such a batch is interrupted, as any is from time to time.
func (h *host) breakOrder(effects []lease.Effect) bool {
	var last func(e lease.Effect) bool
	switch h.w.o.Break {
	case ShutAfterSend:
		last = func(e lease.Effect) bool { _, ok := e.(lease.Shut); return ok }
	case PersistLate:
		last = func(e lease.Effect) bool { _, ok := e.(lease.Persist); return ok }
	default:
		return false
	}
	slices.SortStableFunc(effects, func(a, b lease.Effect) int { return boolInt(last(a)) - boolInt(last(b)) })
	return slices.ContainsFunc(effects, last)
}

func (h *host) breakUntil(until lease.Instant) lease.Instant {
	switch ttl := h.w.o.TTL; h.w.o.Break {
	case CountFromReply:
		return h.clock.local(h.w.now).Add(ttl - ttl/10)
	case NegativeMargin:
		return until.Add(ttl/10 + ttl/20)
	}
	return until
}

// late returns the record that is about to be written too late.
func (h *host) late() *lease.Record {
	if h.w.o.Break != PersistLate || len(h.pending) == 0 {
		return nil
	}
	if p, ok := h.pending[0].(lease.Persist); ok {
		return &p.Record
	}
	return nil
}

// breakDeath cuts a voter that dies off from whom it has just promised a group:
// the next renewal would make its mistake good.
func (h *host) breakDeath() {
	if late := h.late(); late != nil {
		for _, p := range late.Promises {
			if p.Holder != "" {
				h.w.net.cut[h.w.host(p.Holder).i][h.i] = true
			}
		}
	}
}

// breakFatal returns how likely the agent dies in an interruption: more so where
// a mistake has left the one moment at which that matters.
func (h *host) breakFatal() float64 {
	if late := h.late(); late != nil {
		return 0.3
	}
	return h.w.o.Faults.Fatal
}
