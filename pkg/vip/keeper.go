package vip

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Chosen by us.
const (
	// retryEvery is how long after a failure the keeper looks again, and how often at most the same
	// trouble with the same address becomes an event.
	retryEvery = time.Second
	// resubscribeAfter is the pause before a broken change feed is opened again, lest a storm of changes
	// that breaks it each time takes the whole processor.
	resubscribeAfter = 100 * time.Millisecond
	// lookAfter an opening everything is looked at: the openings of hundreds of groups are worth a few looks, not one each.
	lookAfter = 50 * time.Millisecond
	// verifyEvery is how often the gate is looked at when nobody has reported anything; verifyOwned, where the kernel lets nobody
	// else change it. A look lists every table and chain.
	verifyEvery = time.Second
	verifyOwned = 10 * time.Second
	// maxChanging is for how long a gate may change while it is looked at, each time, before that is trouble.
	maxChanging = time.Second
)

// keeper is the task that holds the kernel to what was agreed: it puts back what others take away, refreshes
// lifetimes, notices links, and withdraws groups whose deadline passed. Changes reported by the kernel
// are hints only: the keeper lists and compares, so a lost report (ENOBUFS) and a new one are the same case.
type keeper struct {
	m    *Manager
	wake chan struct{} // one slot: what is to do stands in the fields below, several pokes are one

	mu      sync.Mutex
	compare bool            // list and compare everything
	lookAt  time.Duration   // when that is due, because of an opening; 0: at no time
	verify  bool            // see whether the gate stands
	down    map[string]bool // configured interfaces that were seen down since the last look
	refresh map[*hold]bool  // lifetimes to renew

	// Owned by the task.
	links    map[string]link
	limiter  limiter
	changing time.Duration // since when looks at the gate say nothing because it changes meanwhile; 0: the last one said something
	retryAt  time.Duration // 0: nothing failed
	verifyAt time.Duration // when the gate is looked at again, whatever was reported
}

func newKeeper(m *Manager) *keeper {
	return &keeper{
		m: m, wake: make(chan struct{}, 1),
		down: make(map[string]bool), refresh: make(map[*hold]bool),
		links: make(map[string]link), limiter: newLimiter(retryEvery),
	}
}

// first tells how the links are before run begins, so that the first look already is a comparison.
func (k *keeper) first(links []link, groups []Group) {
	for _, l := range links {
		if slices.ContainsFunc(groups, func(g Group) bool { return g.Interface == l.Name }) {
			k.links[l.Name] = l
		}
	}
}

// poke makes the task list and compare. Any goroutine.
func (k *keeper) poke() {
	k.mu.Lock()
	k.compare = true
	k.mu.Unlock()
	k.signal()
}

// pokeSoon makes the task list and compare lookAfter now. Any goroutine.
func (k *keeper) pokeSoon(now time.Duration) {
	k.mu.Lock()
	first := k.lookAt == 0
	if first {
		k.lookAt = now + lookAfter
	}
	k.mu.Unlock()
	if first {
		k.signal() // it sleeps until something else
	}
}

// pokeGate makes the task look at the gate. Any goroutine.
func (k *keeper) pokeGate() {
	k.mu.Lock()
	k.verify = true
	k.mu.Unlock()
	k.signal()
}

func (k *keeper) signal() {
	select {
	case k.wake <- struct{}{}:
	default: // full: the task will find this too
	}
}

// renewed makes the task refresh the lifetimes of h if that is due. It is called for every renewal, and
// waits for no system call.
func (k *keeper) renewed(h *hold, now time.Duration) {
	if !h.refreshDue(k.m.role, now) {
		return
	}
	k.mu.Lock()
	k.refresh[h] = true
	k.mu.Unlock()
	k.signal()
}

// forget drops what is still to be done for a hold that is over.
func (k *keeper) forget(h *hold) {
	k.mu.Lock()
	delete(k.refresh, h)
	k.mu.Unlock()
}

// hint takes in a report of the kernel, and wakes the task if it concerns us.
func (k *keeper) hint(changes []change) {
	matters := false
	for _, c := range changes {
		switch {
		case c.link != "":
			if k.m.usesInterface(c.link) {
				matters = true
				k.mu.Lock()
				k.down[c.link] = k.down[c.link] || c.down // bounded by the configured interfaces
				k.mu.Unlock()
			}
		case c.gone.IsSingleIP() && k.m.holder(c.gone.Addr()) != nil:
			matters = true
		}
	}
	if matters {
		k.poke()
	}
}

// run is the task.
func (k *keeper) run(ctx context.Context) {
	k.poke() // what happened before is not reported
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.wake: // something changed, or a renewal is to be told to the kernel
		case <-timer.C: // a deadline passed, or a failure is to be tried again
		}
		now := k.m.now()
		if k.retryAt != 0 && now >= k.retryAt {
			k.retryAt = 0
			k.poke()
		}
		k.step()
		timer.Reset(k.idle())
	}
}

// step does whatever is to be done now.
func (k *keeper) step() {
	now := k.m.now()
	k.mu.Lock()
	compare, verify, down, refresh := k.compare, k.verify, k.down, k.refresh
	k.compare, k.verify, k.down, k.refresh = false, false, make(map[string]bool), make(map[*hold]bool)
	if k.lookAt != 0 && now >= k.lookAt {
		compare = true
	}
	if compare {
		k.lookAt = 0
	}
	k.mu.Unlock()

	if verify || compare || now >= k.verifyAt {
		k.verifyAt = now + k.m.verifyPause()
		k.look(now)
	}
	for _, h := range k.m.holds() {
		if _, alive := h.until(k.m.now()); alive {
			continue
		}
		if err := k.m.lapse(h); err != nil {
			k.trouble(h.name, "", netip.Addr{}, fmt.Errorf("withdrawing after the deadline: %w", err))
		}
	}
	if err := k.m.refreshDrains(); err != nil {
		k.trouble("", loopback, netip.Addr{}, err)
	}
	if compare {
		k.observe(down)
		if err := k.reconcile(); err != nil {
			k.trouble("", "", netip.Addr{}, err)
		}
	}
	for h := range refresh {
		iface, _ := h.where()
		// A hold that ended meanwhile, an interface that is away (the link's return brings the addresses
		// back) and a lease too short for another whole second are no trouble.
		a, err := k.m.fill(h)
		if err != nil && !errors.Is(err, ErrNotOpen) && !errors.Is(err, ErrNoInterface) && !errors.Is(err, ErrDeadline) {
			k.trouble(h.name, iface, a, err)
		}
	}
}

// look sees whether the gate stands.
func (k *keeper) look(now time.Duration) {
	err := k.m.mend()
	if errors.Is(err, errChanging) {
		if k.changing == 0 {
			k.changing = now
		}
		if now-k.changing < maxChanging {
			k.verifyAt = now + lookAfter
			return
		}
	}
	k.changing = 0
	if err != nil {
		k.trouble("", "", netip.Addr{}, err)
	}
}

// idle is the time until a deadline passes or something is to be tried again.
func (k *keeper) idle() time.Duration {
	now := k.m.now()
	next := now + time.Hour
	if k.m.verifier() != nil {
		next = max(k.verifyAt, now)
	}
	if k.retryAt != 0 {
		next = min(next, k.retryAt)
	}
	k.mu.Lock()
	if k.lookAt != 0 {
		next = min(next, k.lookAt)
	}
	k.mu.Unlock()
	if len(k.m.draining()) > 0 {
		next = min(next, now+refreshEvery)
	}
	for _, h := range k.m.holds() {
		until, _ := h.until(now)
		next = min(next, until) // in the past for one that lapsed since step looked
	}
	return max(next-now, time.Millisecond)
}

// observe compares the interfaces with what they were: link events, and announcements after a return.
func (k *keeper) observe(down map[string]bool) {
	for _, name := range k.m.interfaces() {
		was, known := k.links[name]
		is, err := k.m.kernel.Link(name)
		if err != nil && !errors.Is(err, ErrNoInterface) {
			k.trouble("", name, netip.Addr{}, err)
			continue
		}
		k.links[name] = is // zero, and so not up, where there is none
		if !known && is.Up {
			continue
		}
		// Between two looks it may have been away altogether.
		away := down[name] || was.Index != is.Index
		if was.Up && (!is.Up || away) {
			k.m.events(Event{Kind: LinkDown, Interface: name, Detail: downDetail(is)})
		}
		if is.Up && (!was.Up || away) {
			k.m.events(Event{Kind: LinkUp, Interface: name, Detail: "carrier is back"})
			for _, h := range k.m.holds() {
				if iface, _ := h.where(); iface == name {
					k.m.announcer.start(h)
				}
			}
		}
	}
	k.m.conflicts.learnOwn()
}

func downDetail(l link) string {
	switch {
	case l.Index == 0:
		return "the interface was deleted"
	case !l.AdminUp:
		return "the interface was set down"
	}
	return "no carrier"
}

// reconcile puts back every held address that a listing does not show.
func (k *keeper) reconcile() error {
	// The holds first, the listing second: what is held was added before, so the listing has it.
	holds := k.m.holds()
	have, err := k.m.kernel.Addresses()
	if err != nil {
		return err
	}
	present := make(map[placed]bool, len(have))
	for _, p := range have {
		present[p] = true
	}
	for _, h := range holds {
		iface, addrs := h.where()
		l := k.links[iface]
		if !l.AdminUp {
			continue // an IPv6 address would be gone again; all come back with the link
		}
		h.moveTo(l.Index)
		for _, a := range addrs {
			if !present[placed{l.Index, host(a)}] {
				k.putBack(h, iface, a)
			}
		}
	}
	return nil
}

func (k *keeper) putBack(h *hold, iface string, a netip.Addr) {
	h.place.Lock()
	err := h.put(k.m.kernel, k.m.role, k.m.now, a)
	h.place.Unlock()
	if errors.Is(err, ErrNotOpen) || errors.Is(err, ErrDeadline) {
		return // shut, lapsed or reconfigured meanwhile: it is not lost, it is gone. A renewal puts it back
	}
	if err != nil {
		k.trouble(h.name, iface, a, err)
		return
	}
	e := Event{Kind: AddressLost, Group: h.name, Addr: a, Interface: iface, Detail: "somebody else deleted it"}
	k.m.events(e)
	e.Kind, e.Detail = AddressRestored, "put back"
	k.m.events(e)
}

// trouble reports a failure, at most once a second for one address, and has everything looked at again.
func (k *keeper) trouble(group, iface string, a netip.Addr, err error) {
	now := k.m.now()
	k.retryAt = now + retryEvery
	if k.limiter.allow(now, a) {
		k.m.events(Event{Kind: AddressError, Group: group, Addr: a, Interface: iface, Detail: err.Error()})
	}
}

// interfaces are the names in the configuration, each once.
func (m *Manager) interfaces() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, g := range m.groups {
		if !slices.Contains(out, g.Interface) {
			out = append(out, g.Interface)
		}
	}
	slices.Sort(out)
	return out
}

func (m *Manager) usesInterface(name string) bool {
	return slices.Contains(m.interfaces(), name)
}

// holder is the hold that an address belongs to, nil if its group is not open.
func (m *Manager) holder(a netip.Addr) *hold {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.held[m.byAddr[a]]
}
