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
// Open, Renew, Shut, Reconfigure and Close are called from one goroutine, the owner of the leases. Reannounce,
// Defend, Probe and Holding may come from any. Run works beside them and must be running for renewals
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

	// mu guards the maps below. It is never held over a system call or a callback.
	mu     sync.Mutex
	groups map[string]Group
	byAddr map[netip.Addr]string // group of each configured address
	held   map[string]*hold
}

// New makes a Manager with every group shut. It checks the capabilities (ErrNoCapability) and the interfaces
// (ErrNoInterface, with those that exist), and removes what a predecessor left, except for Options.Keep. A
// record that cannot be read is set aside with a warning: what it named has a lifetime and goes
// by itself, and a service must not stay down for a damaged file.
func New(o Options) (*Manager, error) {
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
		held: make(map[string]*hold),
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

	if err := m.check(o.Groups); err != nil {
		return nil, err
	}
	if err := m.adopt(o); err != nil {
		return nil, err
	}
	if s, ok := m.gate.(GroupSetter); ok {
		if err := s.SetGroups(o.Groups); err != nil {
			return nil, fmt.Errorf("vip: gate: %w", err)
		}
	}
	m.setGroups(o.Groups)
	return m, nil
}

// check refuses groups that are inconsistent or whose interface does not exist.
func (m *Manager) check(groups []Group) error {
	if err := validateGroups(groups); err != nil {
		return fmt.Errorf("vip: %w", err)
	}
	links, err := m.kernel.Links()
	if err != nil {
		return fmt.Errorf("vip: %w", err)
	}
	for _, g := range groups {
		if !slices.ContainsFunc(links, func(l link) bool { return l.Name == g.Interface }) {
			return fmt.Errorf("vip: group %s: %w: %s; this machine has %s", g.Name, ErrNoInterface, g.Interface, names(links))
		}
	}
	return nil
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
		if o.Keep != nil && o.Keep(name) {
			continue
		}
		removed, err := m.record.sweep(m.kernel, m.record.of(name))
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

// Open lets this machine speak for the group until deadline: record, gate, addresses, announcement, in this
// order. Opening an open group renews it and puts back what is missing. After an error the group is
// shut, all of it: no service is better than half of one that nobody notices.
func (m *Manager) Open(group string, deadline time.Duration) error {
	m.mu.Lock()
	g, known := m.groups[group]
	old := m.held[group]
	m.mu.Unlock()
	if !known {
		return fmt.Errorf("vip: %w: %s", ErrUnknownGroup, group)
	}
	var err error = ErrNotOpen
	if old != nil {
		if err = m.Renew(group, deadline); err == nil {
			_, err = m.fill(old)
		}
	}
	if errors.Is(err, ErrNotOpen) { // never opened, or just lapsed
		err = m.open(g, deadline)
	}
	if err != nil {
		err = fmt.Errorf("vip: opening group %s: %w", group, err)
		return errors.Join(err, m.Shut(group, "opening failed"))
	}
	return nil
}

func (m *Manager) open(g Group, deadline time.Duration) error {
	m.turn.Lock()
	defer m.turn.Unlock()
	if old := m.release(g.Name); old != nil { // past its deadline: its addresses are taken over
		old.close()
		m.announcer.stop(old)
	}
	began := m.now()
	if _, err := m.role.seconds(deadline - began); err != nil {
		return err
	}
	l, err := m.kernel.Link(g.Interface)
	if err != nil {
		return fmt.Errorf("%s: %w", g.Interface, err)
	}
	if err := m.record.add(g.entries()); err != nil {
		return err
	}
	if err := m.gate.Open(g.Name, deadline); err != nil {
		return fmt.Errorf("gate: %w", err)
	}
	h := &hold{name: g.Name, deadline: deadline, iface: g.Interface, index: l.Index, addrs: g.addrs()}
	if a, err := m.fill(h); err != nil {
		return fmt.Errorf("adding %v to %s: %w", a, g.Interface, err)
	}
	m.mu.Lock()
	m.held[g.Name] = h
	m.mu.Unlock()
	m.announcer.start(h)
	// What happened to an address between its addition and this line nobody has seen: look once.
	m.keeper.poke()
	m.log.Debug("group opened", "group", g.Name, "addresses", len(h.addrs), "took", m.now()-began)
	return nil
}

// fill puts every address of h into the kernel, or gives them new lifetimes. It stops at the first error, and
// says at which address.
func (m *Manager) fill(h *hold) (netip.Addr, error) {
	iface, addrs := h.where()
	h.beginRefresh(m.now())
	for _, a := range addrs {
		h.place.Lock() // one at a time: Shut waits for one request at most
		err := h.put(m.kernel, m.role, m.now, a)
		h.place.Unlock()
		if err != nil {
			m.log.Debug("address not set", "group", h.name, "addr", a, "interface", iface, "error", err)
			return a, err
		}
	}
	return netip.Addr{}, nil
}

// Renew moves the deadline of an open group. The gate is renewed here and now; the lifetimes of the addresses
// are refreshed by Run, at most once a second, because a request to the kernel can wait for its network
// lock longer than a lease may. Renew therefore makes no such request. An error means that the group is
// not, or not long, open: shut it. Trouble with addresses is an AddressError event instead.
func (m *Manager) Renew(group string, deadline time.Duration) error {
	h := m.holding(group)
	if h == nil {
		return fmt.Errorf("vip: %w: %s", ErrNotOpen, group)
	}
	now := m.now()
	if left := deadline - now; left <= 0 || left > maxLeaseLeft {
		return fmt.Errorf("vip: renewing group %s: %w: %v left", group, ErrDeadline, left)
	}
	if _, alive := h.until(now); !alive {
		return fmt.Errorf("vip: %w: %s", ErrNotOpen, group)
	}
	if err := m.gate.Renew(group, deadline); err != nil {
		return fmt.Errorf("vip: renewing group %s: gate: %w", group, err)
	}
	if !h.extend(deadline) {
		return fmt.Errorf("vip: %w: %s", ErrNotOpen, group)
	}
	m.keeper.renewed(h, now)
	return nil
}

// Shut ends the group on this machine: when it returns, the gate is shut, no announcement is under way, and
// the addresses are deleted. Shutting a shut group is nothing, except that addresses kept for resuming
// (Options.Keep) go too. With an error, what could not be deleted has a lifetime of its own and stays in
// the record; Shut may be called again.
func (m *Manager) Shut(group, reason string) error {
	began := m.now()
	h := m.release(group)
	if h != nil {
		h.close()
		m.announcer.stop(h)
		m.keeper.forget(h)
	}
	var errs []error
	if err := m.gate.Shut(group); err != nil {
		errs = append(errs, fmt.Errorf("vip: shutting group %s: gate: %w", group, err))
	}
	if err := m.clear(group, h); err != nil {
		errs = append(errs, fmt.Errorf("vip: shutting group %s: %w", group, err))
	}
	if h != nil {
		m.log.Debug("group shut", "group", group, "reason", reason, "took", m.now()-began)
	}
	return errors.Join(errs...)
}

// clear deletes the addresses of a group whose hold is closed, or that has none, and forgets them.
func (m *Manager) clear(group string, h *hold) error {
	m.turn.Lock()
	defer m.turn.Unlock()
	if h == nil {
		_, err := m.record.sweep(m.kernel, m.record.of(group))
		return err
	}
	h.place.Lock()
	defer h.place.Unlock()
	if err := h.withdraw(m.kernel, h.addrs); err != nil {
		return err
	}
	return m.record.drop(entriesOf(h.name, h.iface, h.addrs))
}

// release takes the hold of a group out of the list, so that nobody finds it any more; nil if there is none.
func (m *Manager) release(group string) *hold {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.held[group]
	delete(m.held, group)
	return h
}

// lapse withdraws a hold whose deadline passed without Renew or Shut. The gate has ended by itself; it is
// called by the owner only. Run calls this.
func (m *Manager) lapse(h *hold) error {
	m.turn.Lock()
	defer m.turn.Unlock()
	if m.holding(h.name) != h || !h.closeIfOver(m.now()) {
		return nil
	}
	m.release(h.name)
	m.announcer.stop(h)
	m.events(Event{Kind: Lapsed, Group: h.name, Detail: "the deadline passed without a renewal; addresses withdrawn"})
	h.place.Lock()
	defer h.place.Unlock()
	if err := h.withdraw(m.kernel, h.addrs); err != nil {
		return err
	}
	return m.record.drop(entriesOf(h.name, h.iface, h.addrs))
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

// Holding lists those of the group's addresses that are on its interface at this moment, whoever put them
// there. It asks the kernel, and is empty when that fails.
func (m *Manager) Holding(group string) []netip.Addr {
	m.mu.Lock()
	g, known := m.groups[group]
	m.mu.Unlock()
	if !known {
		return nil
	}
	l, err := m.kernel.Link(g.Interface)
	if err != nil {
		return nil
	}
	have, err := m.kernel.Addresses()
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, a := range g.addrs() {
		if slices.Contains(have, placed{l.Index, host(a)}) {
			out = append(out, a)
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

// Close gives up the gate's and the manager's own resources. It changes no address: Shut does, or the
// lifetimes. Call it after Run has returned.
func (m *Manager) Close() error {
	return errors.Join(m.gate.Close(), m.kernel.Close())
}
