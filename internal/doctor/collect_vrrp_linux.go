package doctor

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Given by RFC 9568, sections 5.1.1.2, 5.1.2.2 and 5.2.
const (
	vrrpProtocol = "112"
	vrrpHeader   = 8
	vrrpAdvert   = 1
)

var (
	vrrpGroup4 = net.IPv4(224, 0, 0, 18)
	vrrpGroup6 = net.ParseIP("ff02::12")
)

// maxAdverts bounds what is remembered. Chosen by us.
const maxAdverts = 256

// listenVRRP joins the groups of VRRP on every interface and listens for d. Advertisements of this machine (own) count:
// its keepalived is one of those that may be in the way.
func listenVRRP(ctx context.Context, d time.Duration) VRRP {
	out := VRRP{For: d}
	deadline := time.Now().Add(d)
	if end, ok := ctx.Deadline(); ok && end.Before(deadline) {
		deadline = end
	}
	ifaces, err := net.Interfaces()
	if err != nil {
		out.Why = err.Error()
		return out
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	hear := func(conn net.PacketConn, join func(*net.Interface) error) {
		joined := 0
		for _, i := range ifaces {
			if i.Flags&net.FlagMulticast != 0 && i.Flags&net.FlagUp != 0 && join(&i) == nil {
				joined++
			}
		}
		if joined == 0 {
			_ = conn.Close()
			return
		}
		wg.Go(func() {
			defer conn.Close()
			_ = conn.SetReadDeadline(deadline)
			buf := make([]byte, 1500)
			for {
				n, from, err := conn.ReadFrom(buf)
				if err != nil {
					return
				}
				mu.Lock()
				if ad, ok := parseVRRP(buf[:n], addrOf(from)); ok && len(out.Adverts) < maxAdverts {
					out.Adverts = append(out.Adverts, ad)
				}
				mu.Unlock()
			}
		})
	}
	c4, err := net.ListenPacket("ip4:"+vrrpProtocol, "0.0.0.0")
	if err != nil {
		out.Why = fmt.Sprintf("it needs CAP_NET_RAW: %v", err)
		return out
	}
	p4 := ipv4.NewPacketConn(c4)
	hear(c4, func(i *net.Interface) error { return p4.JoinGroup(i, &net.IPAddr{IP: vrrpGroup4}) })
	if c6, err := net.ListenPacket("ip6:"+vrrpProtocol, "::"); err == nil {
		p6 := ipv6.NewPacketConn(c6)
		hear(c6, func(i *net.Interface) error { return p6.JoinGroup(i, &net.IPAddr{IP: vrrpGroup6}) })
	}
	wg.Wait()
	return out
}

func addrOf(a net.Addr) netip.Addr {
	if ip, ok := a.(*net.IPAddr); ok {
		if addr, ok := netip.AddrFromSlice(ip.IP); ok {
			return addr.Unmap()
		}
	}
	return netip.Addr{}
}

// parseVRRP reads an advertisement of version 2 (RFC 3768) or 3 (RFC 9568). The sums are not checked: it is for people.
func parseVRRP(b []byte, from netip.Addr) (Advert, bool) {
	if len(b) < vrrpHeader || b[0]&0xf != vrrpAdvert {
		return Advert{}, false
	}
	version := b[0] >> 4
	size := 4
	if from.Is6() {
		size = 16
	}
	n := int(b[3])
	if version != 2 && version != 3 || len(b) < vrrpHeader+n*size {
		return Advert{}, false // CARP uses the same protocol number, and tells no address
	}
	ad := Advert{From: from, VRID: int(b[1])}
	for i := range n {
		if a, ok := netip.AddrFromSlice(slices.Clone(b[vrrpHeader+i*size : vrrpHeader+(i+1)*size])); ok {
			ad.Addresses = append(ad.Addresses, a)
		}
	}
	return ad, true
}
