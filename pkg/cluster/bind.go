package cluster

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
)

// udpReceiveBuffer is asked of the kernel, bytes. Holds some thousand lease
// datagrams while the process is stalled; the kernel caps it at net.core.rmem_max.
const udpReceiveBuffer = 1 << 20

// listen binds UDP and TCP on exactly self, and explains what stands in the way.
func listen(self netip.AddrPort) (*net.UDPConn, *net.TCPListener, error) {
	local, err := localAddresses()
	if err != nil {
		return nil, nil, fmt.Errorf("list this machine's addresses: %w", err)
	}
	// Asked before binding, because with net.ipv4.ip_nonlocal_bind, which many set
	// for floating addresses, the kernel binds any address.
	if !isLocal(self.Addr(), local) {
		return nil, nil, notLocalError(self.Addr(), local)
	}
	tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(self))
	if err != nil {
		return nil, nil, bindError("TCP", self, local, err)
	}
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(self))
	if err != nil {
		_ = tcp.Close()
		return nil, nil, bindError("UDP", self, local, err)
	}
	// Less is only less room during a stall.
	_ = udp.SetReadBuffer(udpReceiveBuffer)
	return udp, tcp, nil
}

func bindError(proto string, self netip.AddrPort, local []netip.Prefix, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		list := map[string]string{"TCP": "ss -lntp", "UDP": "ss -lnup"}[proto]
		return fmt.Errorf("another agent or program has %s %s: `%s 'sport = :%d'` names it: %w",
			proto, self, list, self.Port(), err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w: %w", notLocalError(self.Addr(), local), err)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return fmt.Errorf("may not bind %s %s: ports below 1024 need CAP_NET_BIND_SERVICE: %w", proto, self, err)
	}
	return fmt.Errorf("bind %s %s: %w", proto, self, err)
}

func notLocalError(addr netip.Addr, local []netip.Prefix) error {
	var have []string
	for _, p := range local {
		if a := p.Addr(); !a.IsLoopback() && !a.IsLinkLocalUnicast() {
			have = append(have, a.String())
		}
	}
	if len(have) == 0 {
		have = append(have, "none but loopback")
	}
	return fmt.Errorf("address %s is not on this machine: is the [[node]] address right, and the interface up? this machine has %s",
		addr, strings.Join(have, ", "))
}

// isLocal tells whether the kernel takes packets for addr: any of 127.0.0.0/8
// where the loopback interface has it (ip(7)), otherwise the exact address.
func isLocal(addr netip.Addr, local []netip.Prefix) bool {
	for _, p := range local {
		if p.Addr() == addr || (addr.Is4() && addr.IsLoopback() && p.Contains(addr)) {
			return true
		}
	}
	return false
}

func localAddresses() ([]netip.Prefix, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var local []netip.Prefix
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				ones, _ := n.Mask.Size()
				local = append(local, netip.PrefixFrom(ip.Unmap(), ones))
			}
		}
	}
	return local, nil
}
