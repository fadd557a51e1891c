package sim

import (
	"slices"

	"github.com/hbagent/hbagent/pkg/lease"
)

// The mistakes of Breakage, each at the place where an agent could make it.

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

// visible is the list of voters of a node that counts whom it sees.
func (h *host) visible() []string {
	return []string{h.name, h.w.names[(h.i+1)%len(h.w.names)]}
}

// breakMessage makes a list of voters pass that is not the sender's: the lease
// refuses such messages, so this breakage must break that, too.
func (h *host) breakMessage(m *lease.Message) {
	if h.w.o.Break == VisibleQuorum {
		m.Voters = lease.ListHash(h.visible())
	}
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
		return until.Add(ttl / 5)
	}
	return until
}

// breakFatal returns how likely the agent dies in an interruption: more so where
// a mistake has left the one moment at which that matters.
func (h *host) breakFatal() float64 {
	if _, late := h.pending[0].(lease.Persist); late && h.w.o.Break == PersistLate {
		return 0.3
	}
	return h.w.o.Faults.Fatal
}
