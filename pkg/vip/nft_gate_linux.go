package vip

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Chosen by us.
const (
	// gateTries bounds the repeats of a transaction that a stall overtook, or that found the kernel other than
	// expected.
	gateTries = 3
	// foreignWait is how long the start waits for tables that another process owns: a predecessor that is
	// about to end gives up its lock before its sockets.
	foreignWait  = time.Second
	foreignPause = 20 * time.Millisecond
)

// GateOptions configure an NFTGate.
type GateOptions struct {
	// TTL is the length of a lease. It bounds the tokens (see timing).
	TTL time.Duration
	// NoOwner makes tables without an owner even where the kernel has it, and NoEgress none for netdev: what
	// older kernels do, for tests.
	NoOwner, NoEgress bool
	// Now reads CLOCK_BOOTTIME. Nil: the real one.
	Now func() time.Duration
	// Logger may be nil.
	Logger *slog.Logger
}

// NFTGate is the gate in the kernel: nf_tables rules that drop what speaks for a floating address unless a
// timed element of its group lives. See "The gate in the kernel" in the package documentation. It is
// safe for concurrent use.
type NFTGate struct {
	timing
	now func() time.Duration
	log *slog.Logger

	mu     sync.Mutex
	socket *nftSocket
	table  string
	flags  uint32 // of the tables
	layout layout
	// live are the groups that have elements in the kernel as far as is known, until when.
	live map[string]time.Duration
	// draining are the groups that have draining elements, until when.
	draining map[string]time.Duration
	built    bool
	lost     bool // the tables are not ours any more: see Verify
	token    uint32
	want     snapshot
	// builds counts the times that want changed.
	builds int
	// reader is for Verify, beside everything else: a look at the tables must not make a renewal wait.
	reading sync.Mutex
	reader  *nftSocket
	// stall is called between reading the clock and the transaction that uses it. Tests stop there.
	stall func()
}

// NewGate opens the gate: it finds out what this kernel can do, in scratch tables that are gone when it
// returns. ErrNoGate says what is missing and what to do. Nothing is gated before SetGroups.
func NewGate(o GateOptions) (*NFTGate, error) {
	if err := CheckCapabilities(); err != nil {
		return nil, err
	}
	g := &NFTGate{now: o.Now, log: o.Logger, table: TableName, live: make(map[string]time.Duration),
		draining: make(map[string]time.Duration)}
	if g.now == nil {
		g.now = bootTime
	}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if g.timing, err = timingOf(o.TTL, clockTick()); err != nil {
		return nil, err
	}
	if g.layout.features, err = probeKernel(g.timing, o); err != nil {
		return nil, err
	}
	if g.layout.owner {
		g.flags = tableOwner | tablePersist
	}
	if g.socket, err = newNFTSocket(); err != nil {
		return nil, fmt.Errorf("vip: gate: %w", err)
	}
	if g.reader, err = newNFTSocket(); err != nil {
		_ = g.socket.close()
		return nil, fmt.Errorf("vip: gate: %w", err)
	}
	g.token = uint32(g.now()) // so that a predecessor's are others
	return g, nil
}

// String says which gate this is, for status and logs: "nft", and what the kernel adds to it.
func (g *NFTGate) String() string {
	s := "nft"
	if g.layout.owner {
		s += " owner"
	}
	if g.layout.egress {
		s += " egress"
	}
	return s
}

// Owned tells whether the tables have an owner, this process: the kernel refuses others (EPERM), and spares them when a whole
// ruleset is flushed.
func (g *NFTGate) Owned() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.layout.owner
}

// Open lets the group through until deadline, with a token (see guarded).
func (g *NFTGate) Open(group string, deadline time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	m, known := g.member(group)
	if !known {
		return fmt.Errorf("%w: %s", ErrUnknownGroup, group)
	}
	for range gateTries {
		_, renew := g.live[group]
		err := g.guarded(guardedBatch{
			fill: func(b *batch) { g.speak(b, m, renew, deadline) },
			done: func() { renew, g.live[group] = true, deadline },
			undo: []string{group},
		})
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EEXIST) && !renew: // somebody opened it before us: move its deadline
			g.live[group] = deadline
		case errors.Is(err, unix.ENOENT) && renew: // it ran out; opening is for that
			delete(g.live, group)
		default:
			return g.explain(err)
		}
	}
	return fmt.Errorf("%w: opening %s", ErrStalled, group)
}

// speak adds the messages that make the group live until deadline.
func (g *NFTGate) speak(b *batch, m member, renew bool, deadline time.Duration) {
	var flags uint16
	if !renew {
		flags = unix.NLM_F_EXCL
	}
	for _, f := range g.layout.families() {
		elements := g.elements(m, f)
		if len(elements) == 0 {
			continue
		}
		if renew {
			b.delElements(f, m.liveSet(), elements)
		}
		for i := range elements {
			elements[i].until = deadline
			elements[i].comment = m.group.Name
		}
		b.addElements(f, m.liveSet(), flags, elements)
	}
}

func (g *NFTGate) elements(m member, f family) []nftElement {
	var out []nftElement
	for _, key := range m.liveKeys(f) {
		out = append(out, nftElement{key: key})
	}
	return out
}

// Shut makes the group silent at once. One transaction, whether it is live or not: adding what is there is
// nothing, and then it is there to be deleted.
func (g *NFTGate) Shut(group string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	m, known := g.member(group)
	if !known || g.lost {
		return nil // nothing in the kernel is about it
	}
	b := &batch{table: g.table}
	g.silence(b, m)
	if len(b.starts) == 0 {
		return nil
	}
	err := g.socket.commit(b)
	if errors.Is(err, unix.ENOENT) {
		g.lost, err = true, nil // the tables are gone; the addresses go next, and Verify tells
	}
	if err != nil {
		return g.explain(err)
	}
	delete(g.live, group)
	return nil
}

func (g *NFTGate) silence(b *batch, m member) {
	for _, f := range g.layout.families() {
		if elements := g.elements(m, f); len(elements) > 0 {
			b.addElements(f, m.liveSet(), 0, elements)
			b.delElements(f, m.liveSet(), elements)
		}
	}
}

// Carries tells whether the group is live or draining, as far as is known.
func (g *NFTGate) Carries(group string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	return !g.lost && (now < g.live[group] || now < g.draining[group])
}

// Close removes the tables, unless they are to be kept or a group is live: then they stay for whoever resumes it,
// and end it by themselves otherwise.
func (g *NFTGate) Close(keep bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var errs []error
	now := g.now()
	alive := func(until time.Duration) bool { return now < until }
	busy := keep || slices.ContainsFunc(slices.Collect(maps.Values(g.live)), alive) ||
		slices.ContainsFunc(slices.Collect(maps.Values(g.draining)), alive)
	if g.built && !busy {
		if err := removeTables(g.socket, g.table); err != nil {
			errs = append(errs, fmt.Errorf("vip: gate: %w", err))
		}
	}
	g.lost = true
	g.reading.Lock()
	defer g.reading.Unlock()
	return errors.Join(append(errs, g.socket.close(), g.reader.close())...)
}

func (g *NFTGate) member(group string) (member, bool) {
	i, known := g.layout.index[group]
	if !known {
		return member{}, false
	}
	return g.layout.members[i], true
}

// explain names what callers act on.
func (g *NFTGate) explain(err error) error {
	switch r := new(refusal); {
	case g.lost, errors.Is(err, ErrGateLost):
		return ErrGateLost
	case errors.Is(err, ErrDeadline) && errors.As(err, &r):
		return r.first // it was not the kernel that refused
	case errors.Is(err, unix.ENOENT): // a set or a chain of ours is missing
		g.lost = true
		return fmt.Errorf("%w: %w", ErrGateLost, err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w (are the tables another agent's?)", err)
	}
	return err
}

func interfaceExists(name string) bool {
	_, err := net.InterfaceByName(name)
	return err == nil
}
