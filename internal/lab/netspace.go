package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// A netspace is a named network namespace (/run/netns/NAME) with a netlink handle into it.
// Safe for concurrent use, except close.
type netspace struct {
	name string
	ns   netns.NsHandle
	nl   *netlink.Handle
	id   string // of the namespace, as in /proc/PID/ns/net: finds the processes inside
}

func newNetspace(name string) (*netspace, error) {
	s := &netspace{name: name, ns: netns.None()}
	err := onLockedThread(func() (err error) {
		s.ns, err = netns.NewNamed(name) // moves this thread too
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("network namespace %s: %w", name, err)
	}
	err = s.do(func() (err error) {
		s.id, err = os.Readlink("/proc/thread-self/ns/net")
		return err
	})
	if err == nil {
		s.nl, err = netlink.NewHandleAt(s.ns)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("network namespace %s: %w", name, err), s.close())
	}
	return s, nil
}

// do runs fn on a thread inside the namespace and returns its error. Sockets and processes that fn makes
// belong to the namespace and may be used from anywhere afterwards. fn must return: no
// runtime.Goexit, and so no t.Fatal.
func (s *netspace) do(fn func() error) error {
	return onLockedThread(func() error {
		if err := netns.Set(s.ns); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", s.name, err)
		}
		return fn()
	})
}

// onLockedThread runs fn on a thread of its own that fn may move to another network namespace. It is moved
// back; should that fail, the thread is thrown away (its goroutine ends locked).
func onLockedThread(fn func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			runtime.UnlockOSThread()
			result <- err
			return
		}
		defer home.Close()
		err = fn()
		if back := netns.Set(home); back != nil {
			result <- errors.Join(err, fmt.Errorf("leave the network namespace: %w", back))
			return
		}
		runtime.UnlockOSThread()
		result <- err
	}()
	return <-result
}

// close gives the namespace up. It lives on while processes or sockets are inside.
func (s *netspace) close() error {
	if s.nl != nil {
		s.nl.Close()
	}
	return errors.Join(s.ns.Close(), netns.DeleteNamed(s.name))
}

// link finds an interface inside.
func (s *netspace) link(name string) (netlink.Link, error) {
	l, err := s.nl.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("interface %s in %s: %w", name, s.name, err)
	}
	return l, nil
}

// up sets an interface inside up.
func (s *netspace) up(name string) error {
	l, err := s.link(name)
	if err != nil {
		return err
	}
	if err := s.nl.LinkSetUp(l); err != nil {
		return fmt.Errorf("set %s in %s up: %w", name, s.name, err)
	}
	return nil
}

// waitCarrier waits until an interface can send. The kernel notices a carrier a little later than the other
// end is set up (net/core/link_watch.c), and drops until then.
func (s *netspace) waitCarrier(ctx context.Context, name string) error {
	return Poll(ctx, func() error {
		l, err := s.link(name)
		if err == nil && l.Attrs().OperState != netlink.OperUp {
			err = fmt.Errorf("%s in %s has no carrier", name, s.name)
		}
		return err
	})
}

// sysctl sets /proc/sys/net/KEY inside.
func (s *netspace) sysctl(key, value string) error {
	return s.do(func() error {
		// /proc/sys/net follows the thread that opens it.
		return os.WriteFile("/proc/sys/net/"+key, []byte(value), 0)
	})
}
