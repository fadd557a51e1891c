package sim

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/hbagent/hbagent/pkg/lease"
)

// note is one line of the trace. It is put into words only when somebody reads
// it: a run has a hundred thousand of them.
type note struct {
	at   instant
	host int // -1: the world
	what string
	arg  any
	to   int // another host, or -1
}

// trace keeps the last notes in a ring, and shows all of them if asked.
type trace struct {
	world *world
	keep  int
	ring  []note
	next  int
	out   io.Writer
}

// note writes down what happened, and mixes it into the hash of the run.
func (w *world) note(host int, what string, arg any, to int) {
	w.hash.number(uint64(w.now))
	w.hash.number(uint64(host+1)<<32 | uint64(to+1))
	w.hash.text(what)
	switch e := arg.(type) {
	case lease.Open:
		w.hash.number(uint64(e.Until))
	case lease.Renew:
		w.hash.number(uint64(e.Until))
	}
	n := note{w.now, host, what, arg, to}
	if w.trace.out != nil {
		fmt.Fprintln(w.trace.out, n.text(w))
	}
	if len(w.trace.ring) < w.trace.keep {
		w.trace.ring = append(w.trace.ring, n)
		return
	}
	w.trace.ring[w.trace.next] = n
	w.trace.next = (w.trace.next + 1) % w.trace.keep
}

func (t *trace) text() string {
	var b strings.Builder
	for i := range t.ring {
		b.WriteString(t.ring[(t.next+i)%len(t.ring)].text(t.world))
		b.WriteByte('\n')
	}
	return b.String()
}

func (n note) text(w *world) string {
	who, text := "world", n.what
	var h *host
	if n.host >= 0 {
		h = w.hosts[n.host]
		who = h.name
	}
	switch a := n.arg.(type) {
	case nil:
	case *lease.Message:
		if n.what == "gets" {
			text += " from " + a.From
		} else {
			text += " to " + w.names[n.to]
		}
		text += fmt.Sprintf(" #%d.%d", a.Seq.Incarnation, a.Seq.Counter)
		for _, e := range a.Entries {
			text += "  [" + entryText(w, e) + "]"
		}
	case lease.Open:
		text += fmt.Sprintf(" %s epoch %s for %v: %v", a.Group, epochText(w, a.Epoch), a.Until.Sub(h.clock.local(n.at)), a.Cause)
	case lease.Renew:
		text += fmt.Sprintf(" %s epoch %s for %v", a.Group, epochText(w, a.Epoch), a.Until.Sub(h.clock.local(n.at)))
	case lease.Shut:
		text += fmt.Sprintf(" %s epoch %s: %v", a.Group, epochText(w, a.Epoch), a.Reason)
	case lease.Record:
		for _, p := range a.Promises {
			text += fmt.Sprintf("  [%s: %s %s highest %s]", p.Group, p.Holder, epochText(w, p.Epoch), epochText(w, p.Highest))
		}
		for _, p := range a.Holds {
			text += fmt.Sprintf("  [holds %s %s]", p.Group, epochText(w, p.Epoch))
		}
	case *host:
		text += " " + a.name
	case clock:
		text += fmt.Sprintf(" record=%v, generation %d, clock %+d ppm, wall %+d s", n.to == 1, h.list().generation, a.ppm, a.wall-w.unix)
	default:
		text += fmt.Sprint(" ", a)
	}
	return fmt.Sprintf("%12.3f ms  %-5s %s", float64(n.at)/float64(time.Millisecond), who, text)
}

// epochText shows an epoch as its distance from the wall clock's beginning.
func epochText(w *world, e lease.Epoch) string {
	if e == 0 {
		return "-"
	}
	return fmt.Sprintf("%+d", int64(e)-w.unix)
}

func entryText(w *world, e lease.Entry) string {
	text := fmt.Sprintf("%v %s %s", e.Kind, e.Group, epochText(w, e.Epoch))
	switch {
	case e.Kind == lease.KindGrant:
		text += fmt.Sprintf(" of #%d.%d", e.Ref.Incarnation, e.Ref.Counter)
	case e.Kind == lease.KindRefuse:
		text += fmt.Sprintf(" of #%d.%d: %v, %s %v, highest %s", e.Ref.Incarnation, e.Ref.Counter, e.Reason, e.Holder, e.Left, epochText(w, e.Highest))
	case e.Kind == lease.KindTransfer || e.Kind == lease.KindTicket:
		text += fmt.Sprintf(" to %s %s", e.To, epochText(w, e.ToEpoch))
	case e.Valid:
		text += " valid"
	}
	if e.Kind == lease.KindRequest && e.Ticket != (lease.Ticket{}) {
		text += " ticket of " + e.Ticket.From
	}
	return text
}

// hash is FNV-1a over everything that happened: equal runs, equal sums.
type hash struct{ sum uint64 }

const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

func newHash() hash { return hash{fnvOffset} }

// number takes eight bytes in one step, which is quicker than FNV's eight and
// good enough to tell runs apart.
func (h *hash) number(x uint64) { h.sum = (h.sum ^ x) * fnvPrime; h.sum ^= h.sum >> 32 }

func (h *hash) text(s string) {
	for i := range len(s) {
		h.sum = (h.sum ^ uint64(s[i])) * fnvPrime
	}
}

func (h *hash) bytes(b []byte) {
	for _, c := range b {
		h.sum = (h.sum ^ uint64(c)) * fnvPrime
	}
}
