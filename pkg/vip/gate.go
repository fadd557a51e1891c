package vip

import (
	"context"
	"errors"
	"time"
)

// A Gate lets this machine speak for a group only until the deadline, and ends that in the kernel when
// nobody renews it. Its methods must not call back into the Manager, which calls them from the agent's owner
// goroutine and, to repair a Verifier, from Run's. Deadlines are CLOCK_BOOTTIME instants.
type Gate interface {
	// Open lets the group through until deadline. Opening an open gate moves its deadline.
	Open(group string, deadline time.Duration) error
	// Renew moves the deadlines of open groups, and returns an error for each group whose deadline was
	// not moved; nil: all were. Such a group is, or will be, shut.
	Renew(deadlines map[string]time.Duration) map[string]error
	// Shut closes at once. Shutting a shut gate is nothing. After an error the gate may still be open
	// until its deadline, never longer.
	Shut(group string) error
	// Close gives up the gate's own resources. It opens nothing, and leaves groups that are open to
	// their deadline: a successor may resume them. With keep, what stops the others stays in the kernel too: there
	// are, or may be, floating addresses on this machine.
	Close(keep bool) error
	// String is its name for people, as in `gate = "nft"`.
	String() string
}

// GroupSetter is implemented by a Gate that itself maps addresses to groups. SetGroups is called with the
// complete list before New returns and whenever Reconfigure changes it, before any new address is added and
// after old ones are deleted. Groups that are open stay so where keep says it (nil: all), others are shut.
type GroupSetter interface {
	SetGroups(groups []Group, keep func(group string) bool) error
}

// Verifier is implemented by a Gate that others can take away.
type Verifier interface {
	// Watch calls changed whenever the gate may have been touched by somebody else, until ctx ends or the
	// watching breaks. changed does not wait.
	Watch(ctx context.Context, changed func()) error
	// Verify tells whether the gate stands. False: it does not stop anything reliably, the addresses have
	// to go, and Restore makes it anew. An error says nothing about it; errChanging asks for another look.
	Verify() (stands bool, err error)
	// Restore builds the gate again, with every group shut.
	Restore() error
}

// errChanging: something changed while it was looked at, so that nothing is known.
var errChanging = errors.New("it changed while it was looked at")

// owned is implemented by a gate that the kernel may keep others from changing.
type owned interface {
	// Owned tells that it does. What goes with an interface goes all the same.
	Owned() bool
}

// carrier is implemented by a gate that may have taken over groups from a predecessor, live without a hold here.
type carrier interface {
	// Carries tells whether something of the group passes the gate at this moment.
	Carries(group string) bool
}

// AddressGate is no gate beyond the lifetimes of the addresses, which the Manager keeps anyway. With
// Options.Lifetime = Sole they end before the lease does; that costs a ttl of at least MinSoleTTL.
type AddressGate struct{}

// Open does nothing.
func (AddressGate) Open(string, time.Duration) error { return nil }

// Renew does nothing.
func (AddressGate) Renew(map[string]time.Duration) map[string]error { return nil }

// Shut does nothing: the Manager deletes the addresses right after it.
func (AddressGate) Shut(string) error { return nil }

// Close does nothing.
func (AddressGate) Close(bool) error { return nil }

func (AddressGate) String() string { return "address" }
