package vip

import (
	"fmt"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Chosen by us: room for some 2,000 changes. Our own refreshes are none of them: see dropType. The kernel caps it at
// net.core.rmem_max.
const feedBuffer = 1 << 20

// feed is one rtnetlink socket for links and addresses of both families, so that their order is kept.
type feed struct{ s *nl.NetlinkSocket }

func (k *linux) Subscribe() (subscription, error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
	if err != nil {
		return nil, fmt.Errorf("netlink subscription: %w", err)
	}
	if err := s.SetReceiveBufferSize(feedBuffer, false); err != nil {
		s.Close()
		return nil, fmt.Errorf("netlink subscription: %w", err)
	}
	if err := dropType(s, unix.RTM_NEWADDR); err != nil {
		s.Close()
		return nil, fmt.Errorf("netlink subscription: %w", err)
	}
	return feed{s}, nil
}

func (f feed) Close() { f.s.Close() }

// Next fails with ENOBUFS when the kernel had to drop changes.
func (f feed) Next() ([]change, error) {
	for {
		msgs, from, err := f.s.Receive()
		if err != nil {
			return nil, fmt.Errorf("netlink subscription: %w", err)
		}
		if from.Pid != nl.PidKernel {
			continue // anybody may write to our port; only the kernel is believed
		}
		var out []change
		for _, m := range msgs {
			if c, ok := changeOf(m); ok {
				out = append(out, c)
			}
		}
		if len(out) > 0 {
			return out, nil
		}
	}
}

// changeOf reads the two kinds of message that matter. RTM_NEWADDR does not: our own refreshes make
// hundreds of them a second, which the socket's filter keeps away.
func changeOf(m syscall.NetlinkMessage) (change, bool) {
	switch m.Header.Type {
	case unix.RTM_DELADDR:
		if len(m.Data) < unix.SizeofIfAddrmsg {
			return change{}, false
		}
		msg := nl.DeserializeIfAddrmsg(m.Data)
		// IFA_LOCAL is the address where there is one (IPv4); IPv6 has IFA_ADDRESS only.
		raw := attribute(m.Data[unix.SizeofIfAddrmsg:], unix.IFA_LOCAL)
		if raw == nil {
			raw = attribute(m.Data[unix.SizeofIfAddrmsg:], unix.IFA_ADDRESS)
		}
		a, ok := netip.AddrFromSlice(raw)
		return change{gone: netip.PrefixFrom(a, int(msg.Prefixlen))}, ok
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if len(m.Data) < unix.SizeofIfInfomsg {
			return change{}, false
		}
		const up = unix.IFF_UP | unix.IFF_LOWER_UP
		msg := nl.DeserializeIfInfomsg(m.Data)
		name := unix.ByteSliceToString(attribute(m.Data[unix.SizeofIfInfomsg:], unix.IFLA_IFNAME))
		down := m.Header.Type == unix.RTM_DELLINK || msg.Flags&up != up
		return change{link: name, down: down}, name != ""
	}
	return change{}, false
}

// attribute is the value of the first attribute of that type, nil where there is none.
func attribute(data []byte, typ uint16) []byte {
	attrs, err := nl.ParseRouteAttr(data)
	if err != nil {
		return nil
	}
	for _, a := range attrs {
		if a.Attr.Type == typ {
			return a.Value
		}
	}
	return nil
}
