package vip

import "time"

// A Gate lets this machine speak for a group only until the deadline, and ends that in the kernel when
// nobody renews it. It is called from the agent's owner goroutine only, and must not call back into the
// Manager. Deadlines are CLOCK_BOOTTIME instants.
type Gate interface {
	// Open lets the group through until deadline. Opening an open gate moves its deadline.
	Open(group string, deadline time.Duration) error
	// Renew moves the deadline of an open gate. An error means that the gate is, or will be, shut.
	Renew(group string, deadline time.Duration) error
	// Shut closes at once. Shutting a shut gate is nothing. After an error the gate may still be open
	// until its deadline, never longer.
	Shut(group string) error
	// Close gives up the gate's own resources. It opens nothing.
	Close() error
}

// GroupSetter is implemented by a Gate that itself maps addresses to groups. SetGroups is called with the
// complete list before New returns and whenever Reconfigure changes it, before any new address is added.
type GroupSetter interface {
	SetGroups(groups []Group) error
}

// AddressGate is no gate beyond the lifetimes of the addresses, which the Manager keeps anyway. With
// Options.Lifetime = Sole they end before the lease does; that costs a ttl of at least MinSoleTTL.
type AddressGate struct{}

// Open does nothing.
func (AddressGate) Open(string, time.Duration) error { return nil }

// Renew does nothing.
func (AddressGate) Renew(string, time.Duration) error { return nil }

// Shut does nothing: the Manager deletes the addresses right after it.
func (AddressGate) Shut(string) error { return nil }

// Close does nothing.
func (AddressGate) Close() error { return nil }
