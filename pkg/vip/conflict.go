package vip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/ethernet"
)

// Chosen by us.
const (
	// conflictEvery: one event for an address in this time; a fight makes hundreds of frames a second.
	conflictEvery = time.Second
	// listenRetry is the pause before a listener whose interface is away, down or changed tries again.
	listenRetry = 250 * time.Millisecond
	// listenLook is how often a listener that hears nothing looks whether its interface is still the same. An interface that goes
	// ends the listener by itself (ENETDOWN), so that this finds nothing that is known.
	listenLook = 15 * time.Second
)

// errHearing: an open listener broke, which happens when its interface is set down (ENETDOWN) or deleted.
var errHearing = errors.New("listener ended")

// conflicts hears whether other machines claim held addresses: one listener for each interface and family in
// the configuration. It only tells; it sends nothing.
type conflicts struct {
	m   *Manager
	own atomic.Pointer[map[string]bool] // hardware addresses of our own interfaces

	changed chan struct{} // one slot: Reconfigure happened

	mu      sync.Mutex
	limiter limiter
}

func newConflicts(m *Manager) *conflicts {
	c := &conflicts{m: m, changed: make(chan struct{}, 1), limiter: newLimiter(conflictEvery)}
	c.own.Store(&map[string]bool{})
	return c
}

// reconfigured makes the task look at the configuration again.
func (c *conflicts) reconfigured() {
	c.mu.Lock()
	clear(c.limiter.last) // bounded by the addresses of the configuration
	c.mu.Unlock()
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// learnOwn reads the hardware addresses of this machine. Any goroutine.
func (c *conflicts) learnOwn() {
	own, err := ownMACs(c.m.kernel)
	if err != nil {
		return // the old ones stay; the next look is at most one link change away
	}
	c.own.Store(&own)
}

func ownMACs(k kernel) (map[string]bool, error) {
	links, err := k.Links()
	if err != nil {
		return nil, err
	}
	own := make(map[string]bool, len(links))
	for _, l := range links {
		own[string(l.MAC)] = true
	}
	return own, nil
}

// run is the task: it keeps the listeners of the present configuration, and ends when all of them have.
func (c *conflicts) run(ctx context.Context) {
	c.learnOwn()
	for ctx.Err() == nil {
		var wg sync.WaitGroup
		generation, stop := context.WithCancel(ctx)
		for iface, addrs := range c.m.configured() {
			v4, v6 := split(addrs)
			if len(v4) > 0 {
				wg.Go(func() { c.listen(generation, iface, v4, false) })
			}
			if len(v6) > 0 {
				wg.Go(func() { c.listen(generation, iface, v6, true) })
			}
		}
		select {
		case <-ctx.Done():
		case <-c.changed: // other addresses, other filters
		}
		stop()
		wg.Wait()
	}
}

// configured are the addresses of the configuration by interface.
func (m *Manager) configured() map[string][]netip.Addr {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make(map[string][]netip.Addr)
	for _, g := range m.groups {
		out[g.Interface] = append(out[g.Interface], g.addrs()...)
	}
	return out
}

func split(addrs []netip.Addr) (v4, v6 []netip.Addr) {
	for _, a := range addrs {
		if a.Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	return v4, v6
}

// listen hears one interface until ctx ends, on a new socket whenever the interface is another one.
func (c *conflicts) listen(ctx context.Context, iface string, addrs []netip.Addr, v6 bool) {
	told := false
	for ctx.Err() == nil {
		err := c.hear(ctx, iface, addrs, v6)
		// An interface that is away or down is the keeper's to report; anything else is said once.
		if err != nil && !errors.Is(err, ErrNoInterface) && !errors.Is(err, errHearing) && !told {
			told = true
			c.m.log.Warn("conflict watch interrupted", "interface", iface, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(listenRetry):
		}
	}
}

// hear reads claims from one socket until it or the interface it is bound to is no good any more.
func (c *conflicts) hear(ctx context.Context, iface string, addrs []netip.Addr, v6 bool) error {
	l, err := c.m.kernel.Link(iface)
	if err != nil {
		return err
	}
	w, err := listenClaims(c.m.kernel, l, addrs, v6)
	if err != nil {
		return err
	}
	defer w.Close()
	// Close would not do: the deadline wakes a reader without taking its socket away.
	defer context.AfterFunc(ctx, func() { _ = w.SetReadDeadline(time.Unix(1, 0)) })()
	buf := make([]byte, frameMax)
	for {
		if err := w.SetReadDeadline(time.Now().Add(listenLook)); err != nil {
			return err
		}
		if ctx.Err() != nil { // the line above may have overwritten the wake-up
			return nil
		}
		n, err := w.Receive(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if now, err := c.m.kernel.Link(iface); err != nil || now.Index != l.Index {
				return err
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errHearing, err)
		}
		if claim, ok := parseClaim(buf[:n]); ok {
			c.claimed(iface, claim)
		}
	}
}

// listenClaims opens a socket that hears claims on addrs, all of one family.
func listenClaims(k kernel, l link, addrs []netip.Addr, v6 bool) (wire, error) {
	filter, err := claimFilter(addrs, v6)
	if err != nil {
		return nil, err
	}
	protocol := ethernet.EtherTypeARP
	if v6 {
		protocol = ethernet.EtherTypeIPv6
	}
	return k.Listen(l, int(protocol), filter)
}

// claimed makes an event of a claim if it is foreign and on an address that is held at this moment.
func (c *conflicts) claimed(iface string, claim Claim) {
	h := c.m.holder(claim.Addr)
	if h == nil || (*c.own.Load())[string(claim.MAC)] {
		return
	}
	now := c.m.now()
	if _, alive := h.until(now); !alive {
		return
	}
	if where, addrs := h.where(); where != iface || !slices.Contains(addrs, claim.Addr) {
		return
	}
	c.mu.Lock()
	tell := c.limiter.allow(now, claim.Addr)
	c.mu.Unlock()
	if tell {
		c.m.events(Event{
			Kind: Conflict, Group: h.name, Addr: claim.Addr, MAC: claim.MAC, Interface: iface,
			Detail: "another machine claims this address: " + describe(claim.MAC),
		})
	}
}

// describe adds what the first bytes of a hardware address tell by themselves.
func describe(mac net.HardwareAddr) string {
	s := mac.String()
	for prefix, what := range map[string]string{
		"00:00:5e:00:01": "VRRP for IPv4, RFC 9568: keepalived or a router",
		"00:00:5e:00:02": "VRRP for IPv6, RFC 9568: keepalived or a router",
	} {
		if strings.HasPrefix(s, prefix) {
			return s + " (" + what + ")"
		}
	}
	return s
}
