package sim

import (
	"fmt"
	"time"

	"github.com/hbagent/hbagent/pkg/lease"
)

// network carries datagrams between the hosts. Cuts have a direction.
type network struct {
	w       *world
	cut     [][]bool // [from][to]: the agents' datagrams
	wire    [][]bool // [from][to]: everything, ARP too; two machines only
	witness []bool   // per host: its way to the witness is cut
	drop    float64
	dup     float64
	slow    float64
	slowMax time.Duration
	quick   time.Duration // mean of the usual delay
	last    instant       // latest arrival of anything on its way
}

func newNetwork(w *world) *network {
	n := &network{w: w, witness: make([]bool, w.o.Nodes), quick: 50*time.Microsecond + time.Duration(w.rng.Int64N(int64(w.o.TTL/50)))}
	for range w.o.Nodes {
		n.cut = append(n.cut, make([]bool, w.o.Nodes))
		n.wire = append(n.wire, make([]bool, w.o.Nodes))
	}
	return n
}

// send encodes a message and lets its datagrams go.
func (n *network) send(from *host, to int, m *lease.Message) {
	for _, b := range lease.Encode(*m) {
		n.w.report.Datagrams++
		n.w.hash.bytes(b)
		if n.cut[from.i][to] || n.wire[from.i][to] || n.w.chance(n.drop) {
			n.w.note(from.i, "loses", m, to)
			continue
		}
		n.w.note(from.i, "sends", m, to)
		n.carry(b, to)
		if n.w.chance(n.dup) {
			n.carry(b, to)
		}
	}
}

func (n *network) carry(b []byte, to int) {
	delay := n.w.exp(n.quick)
	if n.w.chance(n.slow) {
		delay += n.w.below(n.slowMax)
	}
	at := n.w.now + delay
	n.last = max(n.last, at)
	h := n.w.hosts[to]
	n.w.queue.add(at, func() {
		if h.frozen && h.deaf {
			return
		}
		h.offer(input{what: "gets", do: func(m *lease.Machine, now lease.Time) any {
			msg, err := lease.Decode(b)
			if err != nil {
				n.w.fail(fmt.Errorf("a message of a peer was not understood: %w", err))
				return nil
			}
			for _, msg := range h.mishear(msg) {
				m.Step(now, msg)
			}
			return &msg
		}})
	})
}

// path reports whether gossip gets from one host to another, directly or by way
// of a third.
func (n *network) path(from, to int) bool {
	open := func(i, j int) bool { return !n.cut[i][j] && !n.wire[i][j] }
	if open(from, to) {
		return true
	}
	for k, h := range n.w.hosts {
		if h.m != nil && !h.paused && !h.frozen && open(from, k) && open(k, to) {
			return true
		}
	}
	return false
}

// heal ends every cut and every kind of loss.
func (n *network) heal() {
	for i := range n.cut {
		clear(n.cut[i])
		clear(n.wire[i])
	}
	clear(n.witness)
	n.drop, n.dup, n.slow = 0, 0, 0
}

// isolate cuts a host off, from the witness too.
func (n *network) isolate(i int) {
	n.witness[i] = true
	for j := range n.cut {
		n.cut[i][j], n.cut[j][i] = true, true
		if n.w.witnessed() {
			n.wire[i][j], n.wire[j][i] = true, true
		}
	}
}

// split puts every host on one of two sides.
func (n *network) split() {
	if n.w.witnessed() {
		n.isolate(n.w.rng.IntN(2)) // never a cut wire with the witness on both sides of it
		return
	}
	side := n.w.rng.Uint64()
	for i := range n.cut {
		for j := range n.cut {
			n.cut[i][j] = (side>>i)&1 != (side>>j)&1
		}
	}
}
