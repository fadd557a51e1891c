package vip

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Given by specifications.
const (
	probeCount = 3 // PROBE_NUM, RFC 5227 section 1.1
)

// Chosen by us.
const (
	// probeGap between the questions. RFC 5227 waits 1 to 2 s (PROBE_MIN, PROBE_MAX) because a whole building
	// may switch on at once; here a lease waits, and a neighbour on the segment answers in a millisecond.
	probeGap = 100 * time.Millisecond
	// probeWait after the last question.
	probeWait = 200 * time.Millisecond
	// askGap is how often ProbeHost repeats its question.
	askGap = 200 * time.Millisecond
)

// Probe asks the segment whether anybody uses an address of the group: ARP probes (RFC 5227 section 2.1.1) and
// solicitations in the form of duplicate address detection (RFC 4862 section 5.4.2), which change no
// neighbour's table. It returns who answered, once each, after half a second, or earlier when every address
// was answered for or ctx ends; that is no error, unless there was no time to ask. Our own interfaces are not counted. A router with proxy
// ARP answers for everything: an answer is a reason to wait and to tell, not a proof. Any goroutine.
func (m *Manager) Probe(ctx context.Context, group string) ([]Claim, error) {
	m.mu.Lock()
	g, known := m.groups[group]
	m.mu.Unlock()
	if !known {
		return nil, fmt.Errorf("vip: %w: %s", ErrUnknownGroup, group)
	}
	l, err := m.kernel.Link(g.Interface)
	if err != nil {
		return nil, fmt.Errorf("vip: probing group %s: %s: %w", group, g.Interface, err)
	}
	ctx, cancel := context.WithTimeout(ctx, (probeCount-1)*probeGap+probeWait)
	defer cancel()
	claims, _, err := probe(ctx, m.kernel, l, g.addrs(), nil)
	if err != nil {
		return claims, fmt.Errorf("vip: probing group %s: %w", group, err)
	}
	return claims, nil
}

// ProbeAll is Probe for many groups at once, with one socket for each interface and family instead of one for each
// group. claimed is called for each answer when it comes, from several goroutines; nil is allowed. It returns the groups for
// which all was asked and nobody answered. One that is unknown, or of which a question could not be sent, is not among them.
func (m *Manager) ProbeAll(ctx context.Context, groups []string, claimed func(group string, c Claim)) (silent []string) {
	of := make(map[netip.Addr]string)
	on := make(map[string][]string) // groups by interface
	addrs := make(map[string][]netip.Addr)
	m.mu.Lock()
	for _, name := range groups {
		g, known := m.groups[name]
		if !known {
			continue
		}
		on[g.Interface] = append(on[g.Interface], name)
		addrs[g.Interface] = append(addrs[g.Interface], g.addrs()...)
		for _, a := range g.addrs() {
			of[a] = name
		}
	}
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, (probeCount-1)*probeGap+probeWait)
	defer cancel()
	var mu sync.Mutex
	answered := make(map[string]bool)
	var wg sync.WaitGroup
	for iface, names := range on {
		wg.Go(func() {
			missed := addrs[iface]
			l, err := m.kernel.Link(iface)
			if err == nil {
				_, missed, err = probe(ctx, m.kernel, l, addrs[iface], func(c Claim) {
					mu.Lock()
					answered[of[c.Addr]] = true
					mu.Unlock()
					if claimed != nil {
						claimed(of[c.Addr], c)
					}
				})
			}
			if err != nil {
				m.log.Debug("cannot ask who has the addresses", "interface", iface, "missed", len(missed), "error", err)
			}
			unasked := make(map[string]bool)
			for _, a := range missed {
				unasked[of[a]] = true
			}
			mu.Lock()
			defer mu.Unlock()
			for _, name := range names {
				if !answered[name] && !unasked[name] {
					silent = append(silent, name)
				}
			}
		})
	}
	wg.Wait()
	return silent
}

// probe asks for addrs of both families at once. heard, if not nil, is called for each answer when it comes. With an error, the
// silence of those that were missed says nothing.
func probe(ctx context.Context, k kernel, l link, addrs []netip.Addr, heard func(Claim)) (claims []Claim, missed []netip.Addr, err error) {
	v4, v6 := split(addrs)
	var questions4, questions6 [][]byte
	for _, a := range v4 {
		f, err := arpProbe(a, l.MAC, netip.Addr{})
		if err != nil {
			return nil, addrs, err
		}
		questions4 = append(questions4, f)
	}
	for _, a := range v6 {
		f, err := solicitation(a, l.MAC, netip.Addr{})
		if err != nil {
			return nil, addrs, err
		}
		questions6 = append(questions6, f)
	}
	var wg sync.WaitGroup
	var answers4, answers6 []answer
	var missed4, missed6 []netip.Addr
	var err4, err6 error
	wg.Go(func() { answers4, missed4, err4 = ask(ctx, k, l, v4, questions4, probeCount, probeGap, heard) })
	wg.Go(func() { answers6, missed6, err6 = ask(ctx, k, l, v6, questions6, probeCount, probeGap, heard) })
	wg.Wait()
	for _, a := range slices.Concat(answers4, answers6) {
		claims = append(claims, a.Claim)
	}
	return claims, slices.Concat(missed4, missed6), errors.Join(err4, err6)
}

// answer is a claim that answers a question, and how long after it.
type answer struct {
	Claim
	took time.Duration
}

// ask sends the questions about addrs (one family) times times, gap apart, and collects the first answer for each
// until all are there or ctx ends. missed are those for which a question could not be sent, or nobody listened; err is why. A
// question that the kernel refuses, as it does when a queue is full, keeps no other from being asked; when it refuses all, that is the end.
func ask(ctx context.Context, k kernel, l link, addrs []netip.Addr, questions [][]byte, times int, gap time.Duration, heard func(Claim)) (answers []answer, missed []netip.Addr, err error) {
	if len(addrs) == 0 {
		return nil, nil, nil
	}
	if !l.ethernet() {
		return nil, addrs, fmt.Errorf("%s has no Ethernet address, so nobody can be asked there", l.Name)
	}
	own, err := ownMACs(k)
	if err != nil {
		return nil, addrs, err
	}
	w, err := listenClaims(k, l, addrs, addrs[0].Is6())
	if err != nil {
		return nil, addrs, err
	}
	defer w.Close()

	open := make(map[netip.Addr]bool, len(addrs))
	for _, a := range addrs {
		open[a] = true
	}
	refused := make(map[netip.Addr]bool)
	buf := make([]byte, frameMax)
	asked := time.Now()
	sent := false
	for round := 0; len(open) > 0 && ctx.Err() == nil; round++ {
		sent = true
		if round < times {
			asked = time.Now()
			left := 0
			for i, q := range questions {
				if !open[addrs[i]] {
					continue
				}
				why := w.Send(q)
				if why == nil {
					left++
					continue
				}
				if err == nil {
					err = fmt.Errorf("asking for %v on %s: %w", addrs[i], l.Name, why)
				}
				if !refused[addrs[i]] {
					refused[addrs[i]] = true
					missed = append(missed, addrs[i])
				}
			}
			if left == 0 {
				return answers, addrs, err
			}
		}
		until := time.Now().Add(gap)
		if end, bounded := ctx.Deadline(); bounded && (end.Before(until) || round >= times-1) {
			until = end
		}
		got, deaf := collect(ctx, w, asked, until, buf, open, own, heard)
		answers = append(answers, got...)
		if deaf != nil {
			return answers, addrs, fmt.Errorf("listening on %s: %w", l.Name, deaf)
		}
	}
	if !sent { // silence proves nothing to who has not asked
		return nil, addrs, fmt.Errorf("asking on %s: no time left to: %w", l.Name, context.Cause(ctx))
	}
	return answers, missed, err
}

// collect takes answers until the instant, the end of ctx, or until nothing is open any more.
func collect(ctx context.Context, w wire, asked, until time.Time, buf []byte, open map[netip.Addr]bool, own map[string]bool, heard func(Claim)) ([]answer, error) {
	if err := w.SetReadDeadline(until); err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = w.SetReadDeadline(time.Unix(1, 0)) })()
	var answers []answer
	for len(open) > 0 {
		n, err := w.Receive(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return answers, nil
		}
		if err != nil {
			return answers, err
		}
		claim, ok := parseClaim(buf[:n])
		if ok && open[claim.Addr] && !own[string(claim.MAC)] {
			delete(open, claim.Addr)
			answers = append(answers, answer{claim, time.Since(asked)})
			if heard != nil {
				heard(claim)
			}
		}
	}
	return answers, nil
}

// ProbeHost asks whether target answers ARP or neighbour discovery on the interface, and how fast. The question
// is repeated every 200 ms until ctx ends, which makes it ErrNoAnswer; a ctx without a deadline waits
// for ever. The sender is an address of the interface in target's network, never a floating one (those have no
// network), or none: then it is a probe as in Manager.Probe. Our own addresses do not answer. It needs
// CAP_NET_RAW, and may be called from any goroutine.
func ProbeHost(ctx context.Context, iface string, target netip.Addr) (time.Duration, error) {
	k, err := newKernel()
	if err != nil {
		return 0, err
	}
	defer k.Close()
	rtt, err := probeHost(ctx, k, iface, target.Unmap().WithZone(""))
	if err != nil {
		return 0, fmt.Errorf("vip: %v on %s: %w", target, iface, err)
	}
	return rtt, nil
}

func probeHost(ctx context.Context, k kernel, iface string, target netip.Addr) (time.Duration, error) {
	if !target.IsValid() {
		return 0, errors.New("no address")
	}
	l, err := k.Link(iface)
	if errors.Is(err, ErrNoInterface) {
		links, _ := k.Links() // only for the message
		return 0, fmt.Errorf("%w; this machine has %s", err, names(links))
	}
	if err != nil {
		return 0, err
	}
	if !l.ethernet() {
		return 0, fmt.Errorf("%s has no Ethernet address", iface)
	}
	have, err := k.Addresses()
	if err != nil {
		return 0, err
	}
	question := arpProbe
	if target.Is6() {
		question = solicitation
	}
	frame, err := question(target, l.MAC, senderFor(have, l.Index, target))
	if err != nil {
		return 0, err
	}
	const forever = 1 << 30
	began := time.Now()
	answers, _, err := ask(ctx, k, l, []netip.Addr{target}, [][]byte{frame}, forever, askGap, nil)
	switch {
	case err != nil:
		return 0, err
	case len(answers) == 0:
		return 0, fmt.Errorf("%w within %v", ErrNoAnswer, time.Since(began).Round(time.Millisecond))
	}
	return answers[0].took, nil
}

// senderFor is an address of the interface in whose network target is: the one with the longest prefix, and of
// those the smallest, so that it is always the same one. For IPv6 a link-local address will do. Invalid:
// there is none.
func senderFor(have []placed, index int, target netip.Addr) netip.Addr {
	var fit []netip.Prefix
	for _, p := range have {
		local := p.Addr.Addr().Is6() && p.Addr.Addr().IsLinkLocalUnicast() && target.Is6()
		if p.Index == index && !p.Addr.IsSingleIP() && p.Addr.Addr() != target && (local || p.Addr.Contains(target)) {
			fit = append(fit, p.Addr)
		}
	}
	if len(fit) == 0 {
		return netip.Addr{}
	}
	slices.SortFunc(fit, func(a, b netip.Prefix) int {
		if a.Bits() != b.Bits() {
			return b.Bits() - a.Bits()
		}
		return strings.Compare(a.Addr().String(), b.Addr().String())
	})
	return fit[0].Addr()
}
