package vip

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Manager keeps the addresses of the open groups on this machine's interfaces, and nothing of the others.
//
// Open, Renew, Shut, Drain, Reconfigure and Close are called from one goroutine, the owner of the leases. Reannounce,
// Defend, Probe, Holding, EndDrain, Steer and Unsteer may come from any. Run works beside them and must be running for renewals
// to reach the kernel.
type Manager struct {
	kernel kernel
	gate   Gate
	role   LifetimeRole
	now    func() time.Duration
	events func(Event)
	log    *slog.Logger
	record *record

	announcer *announcer
	keeper    *keeper
	conflicts *conflicts

	// turn is held while the addresses of a group come or go as a whole, so that the withdrawal after a
	// lapse cannot take away what a new Open has just added. It is taken before every other lock.
	turn sync.Mutex

	// gating is held while a group's gate is opened for a hold that may be ending at this moment, and while it
	// is shut: whatever comes second wins, and that is never the opening. It is taken after turn and a hold's place;
	// within it a hold's mu and the gate's own lock are taken, nothing else.
	gating sync.Mutex

	// mu guards the maps below. It is never held over a system call or a callback.
	mu     sync.Mutex
	groups map[string]Group
	byAddr map[netip.Addr]string // group of each configured address
	held   map[string]*hold
	drains map[string]*drain // groups of another node with connections here; changed with turn held
	heirs  map[string][]heir // nodes that steer to this one
	steers map[string][]hop  // where packets of other nodes' connections go

	gateLost bool // an event has told of it; guarded by turn
}

// New makes a Manager with every group shut. It checks the capabilities (ErrNoCapability) and the interfaces
// (ErrNoInterface, with those that exist), and removes what a predecessor left, except for Options.Keep. A
// record that cannot be read is set aside with a warning: what it named has a lifetime and goes
// by itself, and a service must not stay down for a damaged file. The Manager closes the gate, and New does
// when it fails.
func New(o Options) (_ *Manager, err error) {
	defer func() {
		if err != nil && o.Gate != nil {
			_ = o.Gate.Close(true) // addresses of a predecessor may be there still
		}
	}()
	if err := CheckCapabilities(); err != nil {
		return nil, err
	}
	k, err := newKernel()
	if err != nil {
		return nil, err
	}
	m, err := newManager(o, k)
	if err != nil {
		_ = k.Close()
		return nil, err
	}
	return m, nil
}

func newManager(o Options, k kernel) (*Manager, error) {
	m := &Manager{
		kernel: k, gate: o.Gate, role: o.Lifetime, now: o.Now, events: o.Events, log: o.Logger,
		held: make(map[string]*hold), drains: make(map[string]*drain), steers: make(map[string][]hop), heirs: make(map[string][]heir),
	}
	if m.gate == nil {
		m.gate = AddressGate{}
	}
	if m.now == nil {
		m.now = bootTime
	}
	if m.events == nil {
		m.events = func(Event) {}
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	m.announcer = newAnnouncer(m)
	m.keeper = newKeeper(m)
	m.conflicts = newConflicts(m)

	links, err := m.check(o.Groups)
	if err != nil {
		return nil, err
	}
	m.keeper.first(links, o.Groups)
	if err := m.adopt(o); err != nil {
		return nil, err
	}
	if s, ok := m.gate.(GroupSetter); ok {
		keep := func(group string) bool { return o.Keep != nil && o.Keep(group) }
		if err := s.SetGroups(o.Groups, keep); err != nil {
			return nil, fmt.Errorf("vip: gate: %w", err)
		}
	}
	if g, ok := m.gate.(handoverGate); ok {
		if err := g.SweepHandovers(o.Keep); err != nil {
			return nil, fmt.Errorf("vip: gate: what a predecessor left: %w", err)
		}
	}
	m.setGroups(o.Groups)
	if _, none := m.gate.(AddressGate); none && m.role == Backstop {
		m.log.Warn("no gate: an agent that hangs keeps its addresses up to 3.5 s beyond the lease")
	}
	return m, nil
}

// check refuses groups that are inconsistent or whose interface does not exist. It returns what exists.
func (m *Manager) check(groups []Group) ([]link, error) {
	if err := validateGroups(groups); err != nil {
		return nil, fmt.Errorf("vip: %w", err)
	}
	links, err := m.kernel.Links()
	if err != nil {
		return nil, fmt.Errorf("vip: %w", err)
	}
	for _, g := range groups {
		if !slices.ContainsFunc(links, func(l link) bool { return l.Name == g.Interface }) {
			return nil, fmt.Errorf("vip: group %s: %w: %s; this machine has %s", g.Name, ErrNoInterface, g.Interface, names(links))
		}
	}
	return links, nil
}

func names(links []link) string {
	out := make([]string, len(links))
	for i, l := range links {
		out[i] = l.Name
	}
	return strings.Join(out, ", ")
}

// adopt takes over the run directory: what is to resume stays, the rest goes.
func (m *Manager) adopt(o Options) error {
	if err := os.MkdirAll(o.RunDir, 0o755); err != nil {
		return fmt.Errorf("vip: run directory: %w", err)
	}
	var err error
	m.record, err = loadRecord(o.RunDir)
	if errors.Is(err, ErrCorruptRecord) {
		m.log.Warn("record of addresses set aside", "error", err)
		err = m.record.setAside()
	}
	if err != nil {
		return err
	}
	for _, name := range m.record.groups() {
		known := slices.ContainsFunc(o.Groups, func(g Group) bool { return g.Name == name })
		if known && o.Keep != nil && o.Keep(name) {
			continue
		}
		entries := m.record.of(name)
		if err := resetDrained(m.kernel, entries); err != nil {
			m.log.Warn("connections of a predecessor not reset", "group", name, "error", err)
		}
		removed, err := m.record.sweep(m.kernel, entries)
		for _, r := range removed {
			m.log.Info("address of a predecessor removed", "group", r.Group, "addr", r.Addr, "interface", r.Interface)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// setGroups makes groups the known ones.
func (m *Manager) setGroups(groups []Group) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.groups = make(map[string]Group, len(groups))
	m.byAddr = make(map[netip.Addr]string)
	for _, g := range groups {
		m.groups[g.Name] = g
		for _, a := range g.addrs() {
			m.byAddr[a] = g.Name
		}
	}
}

// holding is the hold of an open group, nil for the others.
func (m *Manager) holding(group string) *hold {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.held[group]
}

// holds are all open groups, by name.
func (m *Manager) holds() []*hold {
	m.mu.Lock()
	out := make([]*hold, 0, len(m.held))
	for _, h := range m.held {
		out = append(out, h)
	}
	m.mu.Unlock()
	slices.SortFunc(out, func(a, b *hold) int { return strings.Compare(a.name, b.name) })
	return out
}

// Holding lists those of each group's addresses that are on its interface at this moment, whoever put them
// there. It asks the kernel once for all of them, and is empty when that fails.
func (m *Manager) Holding(groups ...string) map[string][]netip.Addr {
	have, err := m.kernel.Addresses()
	if err != nil {
		return nil
	}
	there := make(map[placed]bool, len(have))
	for _, p := range have {
		there[p] = true
	}
	index := make(map[string]int) // of interfaces
	out := make(map[string][]netip.Addr)
	for _, name := range groups {
		m.mu.Lock()
		g, known := m.groups[name]
		m.mu.Unlock()
		if !known {
			continue
		}
		at, looked := index[g.Interface]
		if !looked {
			if l, err := m.kernel.Link(g.Interface); err == nil {
				at = l.Index // stays 0, which is no interface's, where there is none
			}
			index[g.Interface] = at
		}
		for _, a := range g.addrs() {
			if there[placed{at, host(a)}] {
				out[name] = append(out[name], a)
			}
		}
	}
	return out
}

// Reannounce sends the group's announcements at once and begins their schedule anew: after links or peers
// came back. It is nothing for a shut group.
func (m *Manager) Reannounce(group string) {
	if h := m.holding(group); h != nil {
		m.announcer.start(h)
	}
}

// Defend answers a foreign claim with our announcements. Call it only after a lease round that was sent after
// the Conflict event has confirmed the lease. A claim that comes within 1.1 s of the last announcement
// is answered by the one that is due then.
func (m *Manager) Defend(group string) {
	if h := m.holding(group); h != nil {
		m.announcer.defend(h)
	}
}

// Gate is the name of the gate in force, for people.
func (m *Manager) Gate() string { return m.gate.String() }

// Stats count since New.
type Stats struct {
	Announced      uint64 // frames that told of an address
	AnnounceFailed uint64 // that the kernel did not take
}

// Stats returns the counters. Any goroutine.
func (m *Manager) Stats() Stats {
	return Stats{Announced: m.announcer.sent.Load(), AnnounceFailed: m.announcer.failed.Load()}
}
