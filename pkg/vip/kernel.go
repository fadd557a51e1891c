package vip

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/bpf"
)

// link is one interface as it is now.
type link struct {
	Name    string
	Index   int
	MAC     net.HardwareAddr // empty where there is none (tun, loopback: zeroes)
	AdminUp bool             // IFF_UP: IPv6 addresses cannot live on it otherwise
	Up      bool             // IFF_UP and carrier
}

// ethernet tells whether frames with a 6-byte sender address can be sent.
func (l link) ethernet() bool {
	return len(l.MAC) == 6 && string(l.MAC) != "\x00\x00\x00\x00\x00\x00"
}

// placed is one address on one interface, exact to its length.
type placed struct {
	Index int
	Addr  netip.Prefix
}

// host is a as the /32 or /128 that we add and delete.
func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// change is a hint from the kernel that something is different. Hints are not believed, only followed by
// a look: a lost one costs time, never truth.
type change struct {
	gone netip.Prefix // an address was deleted
	link string       // a link changed, this is its name
	down bool         // and it was not up at that moment
}

// kernel is everything this package asks of Linux. The real one is in kernel_linux.go, the fake for unit
// tests in fake_test.go. Methods may be called from several goroutines.
type kernel interface {
	// Link finds an interface by name; ErrNoInterface when there is none.
	Link(name string) (link, error)
	Links() ([]link, error)
	// Addresses lists every address of every interface.
	Addresses() ([]placed, error)
	// Put adds the address or replaces its lifetime (whole seconds); ErrNoInterface when index is gone.
	Put(index int, a netip.Addr, valid int) error
	// Remove deletes exactly this /32 or /128. It is nil when there is no such address or interface.
	Remove(index int, a netip.Addr) error
	// Neighbours are the hardware addresses in the neighbour table of the interface, gateways first,
	// at most limit.
	Neighbours(index, limit int) ([]net.HardwareAddr, error)
	// Forwarding tells whether the interface routes IPv6 (then we advertise as a router, RFC 4861 7.2.6).
	Forwarding(name string) bool
	// Settled tells whether the kernel takes packets for these IPv6 addresses of the interface: it begins to
	// some time after it has added one.
	Settled(index int, addrs []netip.Addr) (bool, error)
	// Connections calls each for the TCP sockets in one of the states that have one of addrs as their own.
	Connections(addrs []netip.Addr, states uint32, each func(flow)) error
	// Destroy ends sockets, telling the other end.
	Destroy(flows []flow) error
	// Subscribe opens the feed of changes.
	Subscribe() (subscription, error)
	// Dial opens a packet socket that only sends.
	Dial(l link) (wire, error)
	// Listen opens a packet socket that receives protocol frames that pass the filter, and sends.
	Listen(l link, protocol int, filter []bpf.RawInstruction) (wire, error)
	Close() error
}

// subscription is a feed of changes.
type subscription interface {
	// Next waits for changes. After an error (overrun too) the subscription is to be closed, a new one
	// opened, and everything looked at.
	Next() ([]change, error)
	// Close ends a waiting Next.
	Close()
}

// errWireDown: the interface was set down, or deleted, since the wire was opened.
var errWireDown = errors.New("interface is down")

// wire is a packet socket on one interface.
type wire interface {
	// Send puts a whole Ethernet frame on the wire. It never waits: a full queue is an error, and so is
	// errWireDown.
	Send(frame []byte) error
	// Receive waits for a frame, at most until the read deadline.
	Receive(buf []byte) (int, error)
	SetReadDeadline(t time.Time) error
	Close() error
}
