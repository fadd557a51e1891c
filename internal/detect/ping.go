package detect

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Chosen by us.
const (
	pings    = 5
	pingWait = 500 * time.Millisecond // for each answer: a ttl that such a wire needs is beyond what is sensible
	pingGap  = 20 * time.Millisecond
)

// Given by IANA: the protocol numbers that icmp.ParseMessage wants.
const (
	protocolICMP   = 1
	protocolICMPv6 = 58
)

// A Trip is what became of the questions to one node.
type Trip struct {
	Addr    netip.Addr
	Answers int
	Longest time.Duration // of the answers; the first is not counted if there are others, since it pays for ARP
	Err     error         // why nothing could be asked; no answer is not an error
}

// RoundTrips asks each address a few times by ICMP echo, all of them at once, and takes at most some three seconds. It
// needs CAP_NET_RAW, or a group in net.ipv4.ping_group_range.
func RoundTrips(ctx context.Context, addrs []netip.Addr) []Trip {
	trips := make([]Trip, len(addrs))
	var all sync.WaitGroup
	for i, addr := range addrs {
		all.Go(func() { trips[i] = roundTrip(ctx, addr) })
	}
	all.Wait()
	return trips
}

func roundTrip(ctx context.Context, addr netip.Addr) Trip {
	t := Trip{Addr: addr}
	conn, dst, err := openICMP(addr)
	if err != nil {
		t.Err = err
		return t
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	for seq := range pings {
		took, err := pingOnce(conn, dst, addr, seq)
		switch {
		case ctx.Err() != nil:
			return t
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue
		case err != nil:
			t.Err = fmt.Errorf("ask %s: %w", addr, err)
			return t
		}
		if t.Answers++; t.Answers <= 2 {
			t.Longest = took
		}
		t.Longest = max(t.Longest, took)
		select {
		case <-ctx.Done():
			return t
		case <-time.After(pingGap): // apart, so that one moment of noise is not all of them
		}
	}
	return t
}

// openICMP takes a raw socket where it may, else the kernel's own echo socket.
func openICMP(addr netip.Addr) (*icmp.PacketConn, net.Addr, error) {
	raw, echo, any := "ip4:icmp", "udp4", "0.0.0.0"
	if addr.Is6() {
		raw, echo, any = "ip6:ipv6-icmp", "udp6", "::"
	}
	conn, err := icmp.ListenPacket(raw, any)
	if err == nil {
		return conn, &net.IPAddr{IP: addr.AsSlice()}, nil
	}
	conn, err2 := icmp.ListenPacket(echo, any)
	if err2 == nil {
		return conn, &net.UDPAddr{IP: addr.AsSlice()}, nil
	}
	return nil, nil, fmt.Errorf("open an ICMP socket: %w", errors.Join(err, err2))
}

// pingOnce returns os.ErrDeadlineExceeded if there is no answer.
func pingOnce(conn *icmp.PacketConn, dst net.Addr, addr netip.Addr, seq int) (time.Duration, error) {
	var question, answer icmp.Type = ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply
	protocol := protocolICMP
	if addr.Is6() {
		question, answer, protocol = ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply, protocolICMPv6
	}
	msg := icmp.Message{Type: question, Body: &icmp.Echo{ID: os.Getpid() & 0xffff, Seq: seq, Data: []byte("hbagent")}}
	b, err := msg.Marshal(nil)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := conn.SetDeadline(start.Add(pingWait)); err != nil {
		return 0, err
	}
	if _, err := conn.WriteTo(b, dst); err != nil {
		return 0, err
	}
	buf := make([]byte, 1500)
	for { // a raw socket hears the answers to others, too
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return 0, err
		}
		got, err := icmp.ParseMessage(protocol, buf[:n])
		if err != nil || got.Type != answer || !sameHost(from, addr) {
			continue
		}
		// The kernel's own echo socket writes its own ID, and gives each its own answers.
		if e, ok := got.Body.(*icmp.Echo); ok && e.Seq == seq {
			return time.Since(start), nil
		}
	}
}

func sameHost(from net.Addr, addr netip.Addr) bool {
	var ip net.IP
	switch a := from.(type) {
	case *net.IPAddr:
		ip = a.IP
	case *net.UDPAddr:
		ip = a.IP
	}
	got, ok := netip.AddrFromSlice(ip)
	return ok && got.Unmap() == addr
}
