package checks

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Chosen by us.
const (
	// linkQueue holds the kernel's messages while one is looked at.
	linkQueue = 16
)

// linkCheck passes while an interface has carrier and is operational. Its
// failures are Final: a card without a cable does not have doubts. As a Watcher
// it hears of a change from the kernel, in well under a millisecond.
//
// Source: Documentation/networking/operstates.rst.
type linkCheck struct{ name string }

func newLink(s Spec) (Checker, error) {
	if s.Interface == "" {
		return nil, errors.New("interface is missing")
	}
	// 15 bytes: IFNAMSIZ less the final zero.
	if len(s.Interface) >= unix.IFNAMSIZ {
		return nil, fmt.Errorf("interface %q is longer than %d bytes", s.Interface, unix.IFNAMSIZ-1)
	}
	return &linkCheck{s.Interface}, nil
}

func (c *linkCheck) Check(context.Context) Result {
	link, err := netlink.LinkByName(c.name)
	var missing netlink.LinkNotFoundError
	switch {
	case errors.As(err, &missing):
		return final(fail("no interface %s", c.name))
	case err != nil:
		return fail("%s: %v", c.name, err)
	}
	return c.judge(link.Attrs())
}

func (c *linkCheck) judge(a *netlink.LinkAttrs) Result {
	switch {
	case a.RawFlags&unix.IFF_UP == 0:
		return final(fail("%s is switched off: ip link set %s up", c.name, c.name))
	case a.RawFlags&unix.IFF_LOWER_UP == 0:
		return final(fail("%s has no carrier", c.name))
	}
	switch a.OperState {
	case netlink.OperUp, netlink.OperUnknown: // unknown: drivers without operstate, lo
		return pass("%s is up", c.name)
	}
	return final(fail("%s has carrier, but is %v", c.name, a.OperState))
}

func final(r Result) Result {
	r.Final = true
	return r
}

// Watch wakes on every message of the kernel about the interface. It works in
// the network namespace of the calling thread.
func (c *linkCheck) Watch(ctx context.Context, wake func()) error {
	updates := make(chan netlink.LinkUpdate, linkQueue)
	done := make(chan struct{})
	var reason atomic.Value
	err := netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{
		ErrorCallback: func(err error) { reason.Store(fmt.Errorf("link messages: %w", err)) },
	})
	if err != nil {
		return fmt.Errorf("subscribe to link messages: %w", err)
	}
	defer func() {
		close(done)
		for range updates { // closed by the library once its socket is
		}
	}()
	wake() // for what happened before
	for {
		select {
		case <-ctx.Done():
			return nil
		case u, ok := <-updates:
			if !ok {
				err, _ := reason.Load().(error)
				return errors.Join(errors.New("link messages ended"), err)
			}
			if u.Attrs().Name == c.name {
				wake()
			}
		}
	}
}
