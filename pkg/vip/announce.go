package vip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/ethernet"
)

// Chosen by us.
const (
	// maxNeighbours is how many neighbours are told by unicast, gateways first.
	maxNeighbours = 256
	// maxUnicast bounds the unicast frames of one round: 2048 of them take some 10 ms of a processor and
	// 1.4 Mbit. A group of 1,000 addresses so tells its gateway and one neighbour, the broadcast the rest.
	maxUnicast = 2048
	// knownFor is how long a list of neighbours serves: hundreds of groups that are opened together need one.
	knownFor = 200 * time.Millisecond
)

// announcer is the task that tells the segment where the addresses of the open groups are.
type announcer struct {
	m    *Manager
	wake chan struct{} // one slot

	mu   sync.Mutex
	jobs map[*hold]*schedule

	wires map[string]*sender // by interface; owned by the task

	sent, failed atomic.Uint64 // frames
}

// sender is a packet socket and the interface it is bound to.
type sender struct {
	wire
	link       link
	neighbours []net.HardwareAddr
	listed     time.Duration // when they were; 0: never
}

func newAnnouncer(m *Manager) *announcer {
	return &announcer{
		m: m, wake: make(chan struct{}, 1),
		jobs: make(map[*hold]*schedule), wires: make(map[string]*sender),
	}
}

// start announces h at once and begins the schedule anew. A hold that closes meanwhile is not announced: see
// hold.send.
func (a *announcer) start(h *hold) {
	a.mu.Lock()
	s := a.jobs[h]
	if s == nil {
		s = new(schedule)
		a.jobs[h] = s
	}
	s.start(a.m.now())
	a.mu.Unlock()
	a.signal()
}

// defend is start, but no sooner than 1.1 s after the latest round.
func (a *announcer) defend(h *hold) {
	a.mu.Lock()
	if s := a.jobs[h]; s != nil {
		s.defend(a.m.now())
	}
	a.mu.Unlock()
	a.signal()
}

// stop ends the schedule of h.
func (a *announcer) stop(h *hold) {
	a.mu.Lock()
	delete(a.jobs, h)
	a.mu.Unlock()
}

func (a *announcer) signal() {
	select {
	case a.wake <- struct{}{}:
	default: // full: the task will look at every schedule anyway
	}
}

// run is the task.
func (a *announcer) run(ctx context.Context) {
	defer func() {
		for _, w := range a.wires {
			_ = w.Close()
		}
		clear(a.wires)
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.wake: // a schedule began
		case <-timer.C: // a round is due
		}
		for {
			h, wait := a.next(a.m.now())
			if h == nil {
				timer.Reset(wait)
				break
			}
			r := a.round(h)
			a.sent.Add(uint64(r.count[sent]))
			a.failed.Add(uint64(r.count[dropSend]))
			if r.err != nil {
				iface, _ := h.where()
				a.m.events(Event{Kind: AnnounceError, Group: h.name, Interface: iface, Detail: r.err.Error()})
			}
			a.m.log.Debug("announced", "group", h.name, "sent", r.count[sent], "reason", r.dropped())
			if ctx.Err() != nil {
				return
			}
		}
	}
}

// next begins the round of the hold that has been due longest, or says how long nothing is due.
func (a *announcer) next(now time.Duration) (*hold, time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var first *hold
	due := now + refreshGap
	for h, s := range a.jobs {
		if h.isClosed() { // started by the keeper while Shut was under way
			delete(a.jobs, h)
		} else if s.due < due {
			first, due = h, s.due
		}
	}
	if first == nil || due > now {
		return nil, due - now
	}
	a.jobs[first].begin(now)
	return first, 0
}

// tally is what became of the frames of one round.
type tally struct {
	count map[dropReason]int
	err   error // of the first frame or look-up that failed
}

func (t *tally) add(r dropReason, err error) {
	t.count[r]++
	if t.err == nil {
		t.err = err
	}
}

// dropped names why frames were not sent.
func (t *tally) dropped() string {
	out := ""
	for r := dropShut; r <= dropNoLink; r++ {
		if n := t.count[r]; n > 0 {
			out += fmt.Sprintf("%v (%d) ", r, n)
		}
	}
	return out
}

// round announces every address of h: first all of them to everybody, then by unicast to the gateway and the
// neighbours, some of whom ignore broadcasts, or sit behind a switch that filters them.
func (a *announcer) round(h *hold) tally {
	t := tally{count: make(map[dropReason]int)}
	iface, addrs := h.where()
	w, reason, err := a.sender(iface)
	if reason != sent {
		t.add(reason, err)
		return t
	}
	router := slices.ContainsFunc(addrs, netip.Addr.Is6) && a.m.kernel.Forwarding(iface)
	v4, v6 := split(addrs)
	if !a.tell(h, w, v4, nil, router, &t) {
		return t
	}
	if !h.settled { // before anybody hears of them; IPv4 does not wait for that
		a.m.settle(w.link.Index, v6)
		h.settled = true
	}
	if !a.tell(h, w, v6, nil, router, &t) {
		return t
	}
	limit := min(maxNeighbours, max(1, maxUnicast/max(1, len(addrs))))
	neighbours, err := a.neighbours(w)
	if err != nil {
		t.add(dropSend, fmt.Errorf("neighbours of %s: %w", iface, err))
		return t
	}
	for _, n := range neighbours[:min(limit, len(neighbours))] {
		if !a.tell(h, w, addrs, n, router, &t) {
			return t
		}
	}
	return t
}

// neighbours are those of an interface, gateways first.
func (a *announcer) neighbours(w *sender) ([]net.HardwareAddr, error) {
	if now := a.m.now(); w.listed == 0 || now-w.listed >= knownFor {
		list, err := a.m.kernel.Neighbours(w.link.Index, maxNeighbours)
		if err != nil {
			return nil, err
		}
		w.neighbours, w.listed = list, now
	}
	return w.neighbours, nil
}

// tell sends the announcements of addrs to one neighbour, or with dst nil to everybody. It is false once the
// hold is over or the link down: nothing more is to be sent.
func (a *announcer) tell(h *hold, w *sender, addrs []netip.Addr, dst net.HardwareAddr, router bool, t *tally) bool {
	for _, addr := range addrs {
		frames, err := announcement(addr, w.link.MAC, dst, router)
		if err != nil {
			t.add(dropSend, err)
			continue
		}
		for _, f := range frames {
			reason, err := h.send(a.m.now, w, f)
			t.add(reason, err)
			switch reason {
			case dropShut, dropDeadline, dropLinkDown:
				return false
			}
		}
	}
	return true
}

// announcement are the frames that announce one address to dst, nil for everybody. Neighbours get the reply
// only: they have us in their table, and it is the form that every stack accepts by unicast.
func announcement(a netip.Addr, own, dst net.HardwareAddr, router bool) ([][]byte, error) {
	if a.Is6() {
		if dst == nil {
			dst = allNodesMAC
		}
		na, err := advertisement(a, own, dst, router)
		return [][]byte{na}, err
	}
	if dst != nil {
		reply, err := garpReply(a, own, dst)
		return [][]byte{reply}, err
	}
	request, err := garpRequest(a, own, ethernet.Broadcast)
	if err != nil {
		return nil, err
	}
	reply, err := garpReply(a, own, ethernet.Broadcast)
	return [][]byte{request, reply}, err
}

// sender is the socket for an interface: the open one, if the interface is still the same.
func (a *announcer) sender(iface string) (*sender, dropReason, error) {
	l, err := a.m.kernel.Link(iface)
	switch {
	case errors.Is(err, ErrNoInterface):
		return nil, dropNoLink, nil // the keeper reports links, and starts anew when it is back
	case err != nil:
		return nil, dropNoLink, err
	case !l.Up:
		return nil, dropLinkDown, nil
	case !l.ethernet():
		return nil, dropNoMAC, nil
	}
	old := a.wires[iface]
	if old != nil && old.link.Index == l.Index {
		old.link = l // the hardware address may have changed
		return old, sent, nil
	}
	if old != nil {
		_ = old.Close() // bound to an interface that is gone
		delete(a.wires, iface)
	}
	w, err := a.m.kernel.Dial(l)
	if err != nil {
		return nil, dropSend, err
	}
	s := &sender{wire: w, link: l}
	a.wires[iface] = s
	return s, sent, nil
}
