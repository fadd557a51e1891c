package vip

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/mdlayher/arp"
)

// SelfTest finds out whether this kernel can hold a gate for a ttl, as NewGate does: by doing it, in scratch tables that
// are gone when it returns. It needs CAP_NET_ADMIN, harms no agent that runs, and takes about 0.1 s. Name is the
// gate's as in NFTGate.String; errors wrap ErrNoGate and say what to do.
func SelfTest(o GateOptions) (name string, err error) {
	if err := CheckCapabilities(); err != nil {
		return "", err
	}
	t, err := timingOf(o.TTL, clockTick())
	if err != nil {
		return "", err
	}
	g := &NFTGate{}
	if g.layout.features, err = probeKernel(t, o); err != nil {
		return "", err
	}
	return g.String(), nil
}

// Heard is a machine that says that it has an address.
type Heard struct {
	Claim
	// Answered is false for who has only announced it, to everybody, while we listened. IPv6 does not tell the two apart.
	Answered bool
}

// WhoHas asks the segment of an interface who has the addresses, three times in half a second as Manager.Probe does,
// and returns every machine that says that it has one, once each: two machines may have the same. Our own interfaces do
// not count. It listens until ctx ends, or half a second. The questions change no neighbour's table. It needs
// CAP_NET_RAW; any goroutine.
func WhoHas(ctx context.Context, iface string, addrs []netip.Addr) ([]Heard, error) {
	k, err := newKernel()
	if err != nil {
		return nil, err
	}
	defer k.Close()
	claims, err := whoHas(ctx, k, iface, addrs)
	if err != nil {
		return claims, fmt.Errorf("vip: asking on %s: %w", iface, err)
	}
	return claims, nil
}

func whoHas(ctx context.Context, k kernel, iface string, addrs []netip.Addr) ([]Heard, error) {
	l, err := k.Link(iface)
	if err != nil {
		return nil, err
	}
	if !l.ethernet() {
		return nil, fmt.Errorf("%s has no Ethernet address, so nobody can be asked there", l.Name)
	}
	own, err := ownMACs(k)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, (probeCount-1)*probeGap+probeWait)
	defer cancel()
	v4, v6 := split(addrs)
	var claims4, claims6 []Heard
	var err4, err6 error
	var wg sync.WaitGroup
	wg.Go(func() {
		claims4, err4 = askAll(ctx, k, l, v4, own, func(a netip.Addr) ([]byte, error) { return arpProbe(a, l.MAC, netip.Addr{}) })
	})
	wg.Go(func() {
		claims6, err6 = askAll(ctx, k, l, v6, own, func(a netip.Addr) ([]byte, error) { return solicitation(a, l.MAC, netip.Addr{}) })
	})
	wg.Wait()
	return slices.Concat(claims4, claims6), errors.Join(err4, err6)
}

// answersARP tells an answer from an announcement, which has the sender's address as the target's, too, and may
// come by unicast (RFC 5227 section 2.3). The frame is a claim by ARP.
func answersARP(frame []byte) bool {
	const op, sender, target = etherHeader + 6, etherHeader + 14, etherHeader + 24 // RFC 826
	return binary.BigEndian.Uint16(frame[op:]) == uint16(arp.OperationReply) && !bytes.Equal(frame[sender:sender+4], frame[target:target+4])
}

// askAll asks for addrs of one family until ctx ends, and returns everybody who answers.
func askAll(ctx context.Context, k kernel, l link, addrs []netip.Addr, own map[string]bool, question func(netip.Addr) ([]byte, error)) ([]Heard, error) {
	if len(addrs) == 0 {
		return nil, nil
	}
	w, err := listenClaims(k, l, addrs, addrs[0].Is6())
	if err != nil {
		return nil, err
	}
	defer w.Close()
	seen := make(map[string]int) // place in claims
	wanted := make(map[netip.Addr]bool, len(addrs))
	for _, a := range addrs {
		wanted[a] = true
	}
	var claims []Heard
	buf := make([]byte, frameMax)
	for round := 0; ctx.Err() == nil; round++ {
		until, _ := ctx.Deadline()
		if round < probeCount {
			for _, a := range addrs {
				q, err := question(a)
				if err != nil {
					return claims, err
				}
				if err := w.Send(q); err != nil {
					return claims, fmt.Errorf("asking for %v: %w", a, err)
				}
			}
			if round < probeCount-1 {
				until = time.Now().Add(probeGap)
			}
		}
		if err := w.SetReadDeadline(until); err != nil {
			return claims, err
		}
		stop := context.AfterFunc(ctx, func() { _ = w.SetReadDeadline(time.Unix(1, 0)) })
		for {
			n, err := w.Receive(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				stop()
				return claims, fmt.Errorf("listening: %w", err)
			}
			c, ok := parseClaim(buf[:n])
			if !ok || !wanted[c.Addr] || own[string(c.MAC)] {
				continue
			}
			key := c.Addr.String() + string(c.MAC)
			if _, again := seen[key]; !again {
				seen[key] = len(claims)
				claims = append(claims, Heard{Claim: c})
			}
			h := &claims[seen[key]]
			h.Answered = h.Answered || c.Addr.Is6() || answersARP(buf[:n])
		}
		stop()
	}
	return claims, nil
}
