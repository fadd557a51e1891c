package vip

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"
)

// Chosen by us.
const (
	// maxAddresses bounds one manager: refreshing this many takes about 0.1 s of every second.
	maxAddresses = 4096
	// maxLeaseLeft refuses a deadline that can only come from another clock (the longest ttl is 30 s).
	maxLeaseLeft = time.Hour
	// maxHandover is the same for drains and steerings, which are asked for with up to an hour, and some seconds on top.
	maxHandover = 2 * time.Hour
)

// Errors that callers act on. They are wrapped with the group, the address and what to do.
var (
	// ErrUnknownGroup: the group is not in the configuration.
	ErrUnknownGroup = errors.New("unknown group")
	// ErrNotOpen: Renew of a group that was shut, was never opened, or whose deadline passed.
	ErrNotOpen = errors.New("group is not open")
	// ErrDeadline: the deadline has passed, is too close to be of use, or cannot be of this clock.
	ErrDeadline = errors.New("deadline out of range")
	// ErrStalled: the machine stalled so often while adding an address, or opening the gate, that it was given up.
	ErrStalled = errors.New("this machine stalled while opening")
	// ErrNoGate: this kernel cannot hold a gate. The text says what is missing and what to do.
	ErrNoGate = errors.New("no gate in this kernel")
	// ErrGateExpired: the kernel had shut the gate before it was renewed. This machine stood still: the lease
	// is to be confirmed before the group is opened again.
	ErrGateExpired = errors.New("the gate had run out before the renewal")
	// ErrGateLost: somebody removed the gate's tables.
	ErrGateLost = errors.New("the gate's tables were removed")
	// ErrGateForeign: another process owns the gate's tables.
	ErrGateForeign = errors.New("the gate's tables belong to another process: is another agent running?")
	// ErrNoInterface: no interface of that name (now).
	ErrNoInterface = errors.New("no such interface")
	// ErrNoCapability: CAP_NET_ADMIN or CAP_NET_RAW is missing.
	ErrNoCapability = errors.New("missing capability")
	// ErrCorruptRecord: addresses.json cannot be read as a record of addresses.
	ErrCorruptRecord = errors.New("corrupt record of addresses")
	// ErrNoAnswer: nobody answered the ARP or ND question in time.
	ErrNoAnswer = errors.New("no answer")
)

// Group is a set of floating addresses that move together, on one interface of this machine.
type Group struct {
	Name      string
	Interface string
	// Addresses are added as /32 and /128 whatever their length: it only names their network.
	Addresses []netip.Prefix
}

// Options configure a Manager. Groups and RunDir are required.
type Options struct {
	Groups []Group
	// RunDir keeps addresses.json, the record of what is ours. It should be a tmpfs.
	RunDir string
	// Now reads the clock that deadlines are in. Nil: CLOCK_BOOTTIME, the only right one outside tests.
	Now func() time.Duration
	// Gate is the layer in front of the address lifetimes. Nil: AddressGate.
	Gate Gate
	// Lifetime says whether a gate stands in front of the address lifetimes. Zero: Backstop.
	Lifetime LifetimeRole
	// Keep names the groups that resume after a restart: New leaves their recorded addresses where
	// they are, and Open or Shut decides about them. Nil: none resumes.
	Keep func(group string) bool
	// Events is called from the manager's goroutines, one call at a time per goroutine but several
	// goroutines; it must not block and must not call back into the Manager. Nil: events are dropped.
	Events func(Event)
	// Logger may be nil.
	Logger *slog.Logger
}

// EventKind says what happened.
type EventKind uint8

// The events. An Event fills the fields named here, Detail always in words for people.
const (
	// AddressLost (Group, Addr, Interface): a held address was taken away by somebody else.
	AddressLost EventKind = iota + 1
	// AddressRestored (Group, Addr, Interface): it is back.
	AddressRestored
	// AddressError (Group, Addr, Interface): it cannot be put back or refreshed; tried again every second.
	AddressError
	// Conflict (Group, Addr, MAC, Interface): another machine claims a held address. At most one a
	// second per address. Nothing is sent: confirm the lease, then call Defend.
	Conflict
	// LinkUp (Interface): the link has come back, or the interface was made anew.
	LinkUp
	// LinkDown (Interface): the interface lost its carrier, was set down or was deleted.
	LinkDown
	// AnnounceError (Group, Interface): a round of announcements could not be sent.
	AnnounceError
	// Lapsed (Group): the deadline passed without Renew or Shut; the addresses were withdrawn.
	Lapsed
	// WatchError: the kernel's change feed broke; it is opened again and everything compared.
	WatchError
	// GateLost: somebody removed or changed the gate's tables. The addresses were deleted; GateRestored follows
	// when they are back behind a new gate.
	GateLost
	// GateRestored: the gate was built again, and the groups whose lease is valid are open.
	GateRestored
)

// String returns the name that logs and history show.
func (k EventKind) String() string {
	switch k {
	case AddressLost:
		return "address-lost"
	case AddressRestored:
		return "address-restored"
	case AddressError:
		return "address-error"
	case Conflict:
		return "conflict"
	case LinkUp:
		return "link-up"
	case LinkDown:
		return "link-down"
	case AnnounceError:
		return "announce-error"
	case Lapsed:
		return "lapsed"
	case WatchError:
		return "watch-error"
	case GateLost:
		return "gate-lost"
	case GateRestored:
		return "gate-restored"
	}
	return fmt.Sprintf("EventKind(%d)", uint8(k))
}

// Event is something the owner of the lease should know. Which fields are set: see EventKind.
type Event struct {
	Kind      EventKind
	Group     string
	Addr      netip.Addr
	MAC       net.HardwareAddr
	Interface string
	Detail    string
}

// Claim is a machine that answers for an address.
type Claim struct {
	Addr netip.Addr
	MAC  net.HardwareAddr
}

// Removed is what Cleanup took away: an address from an interface, or a table of the gate.
type Removed struct {
	Group     string
	Interface string
	Addr      netip.Addr
	Table     string // family and name; then the rest is empty
}

// String is for people, for example "10.0.0.50 from eth0 (group web)".
func (r Removed) String() string {
	if r.Table != "" {
		return "table " + r.Table
	}
	return fmt.Sprintf("%v from %s (group %s)", r.Addr, r.Interface, r.Group)
}

// validateGroups refuses what could not be told apart later: in the record, in a listing, on the wire.
func validateGroups(groups []Group) error {
	var errs []error
	names := make(map[string]bool)
	owner := make(map[netip.Addr]string)
	for _, g := range groups {
		switch {
		case g.Name == "":
			errs = append(errs, errors.New("a group without a name"))
		case names[g.Name]:
			errs = append(errs, fmt.Errorf("group %q appears twice", g.Name))
		}
		names[g.Name] = true
		if g.Interface == "" {
			errs = append(errs, fmt.Errorf("group %q has no interface", g.Name))
		}
		for _, p := range g.Addresses {
			a := p.Addr()
			switch {
			case !p.IsValid() || a.Is4In6() || a.Zone() != "":
				errs = append(errs, fmt.Errorf("group %q: %v is not a plain address with a length", g.Name, p))
			case a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.IsLinkLocalUnicast() && a.Is6():
				errs = append(errs, fmt.Errorf("group %q: %v cannot be a floating address", g.Name, a))
			case owner[a] != "":
				errs = append(errs, fmt.Errorf("%v is in group %q and in group %q", a, owner[a], g.Name))
			default:
				owner[a] = g.Name
			}
		}
	}
	if len(owner) > maxAddresses {
		errs = append(errs, fmt.Errorf("%d addresses, at most %d", len(owner), maxAddresses))
	}
	return errors.Join(errs...)
}

// addrs are the group's addresses without their lengths.
func (g Group) addrs() []netip.Addr {
	out := make([]netip.Addr, len(g.Addresses))
	for i, p := range g.Addresses {
		out[i] = p.Addr()
	}
	return out
}
