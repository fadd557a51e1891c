package lab

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// An Ownership is which machines had something (an address on their card, an open gate) from At on.
type Ownership struct {
	At    time.Time
	Nodes []string // in the order of the world; empty: nobody
}

func (o Ownership) when() time.Time { return o.At }

// A Watching reads something of every machine's kernel, every few milliseconds, and records the changes of which
// machines have it.
type Watching struct {
	w    *World
	what string
	has  func(*Node) (bool, error)
	seen history[Ownership]
	done chan struct{}

	mu  sync.Mutex
	err error // the first failure to read
}

// An AddressWatch is a [Watching] of who has an address on its card. It sees an owner that keeps silent (its
// gate is shut), which [ARPWatch] rightly does not.
type AddressWatch struct{ *Watching }

// WatchAddress starts reading which machines have target. It ends with ctx. interval 0 means 5 ms.
func (w *World) WatchAddress(ctx context.Context, target netip.Addr, interval time.Duration) *AddressWatch {
	return &AddressWatch{w.watch(ctx, target.String(), func(n *Node) (bool, error) { return n.has(target) }, interval)}
}

// watch starts reading which machines have something. It ends with ctx. interval 0 means 5 ms.
func (w *World) watch(ctx context.Context, what string, has func(*Node) (bool, error), interval time.Duration) *Watching {
	a := &Watching{w: w, what: what, has: has, done: make(chan struct{})}
	go a.run(ctx, cmp.Or(interval, 5*time.Millisecond))
	return a
}

func (a *Watching) run(ctx context.Context, interval time.Duration) {
	defer close(a.done)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var last []string
	for first := true; ; first = false {
		at := time.Now()
		now, err := a.w.having(a.has)
		if err != nil {
			a.fail(err)
		} else if first || !slices.Equal(now, last) {
			a.seen.add(Ownership{At: at, Nodes: now})
			last = now
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (a *Watching) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = cmp.Or(a.err, err)
}

// owners reads which machines have the address.
func (w *World) owners(addr netip.Addr) ([]string, error) {
	return w.having(func(n *Node) (bool, error) { return n.has(addr) })
}

// having reads which machines have something. Machines are read one after another, so what moves during
// the reading can show up twice; several are therefore only believed of those that still have it when all
// of them were read: then they had it at one moment.
func (w *World) having(has func(*Node) (bool, error)) ([]string, error) {
	var owners []string
	for _, n := range w.nodes {
		has, err := has(n)
		if err != nil {
			return nil, err
		}
		if has {
			owners = append(owners, n.Name)
		}
	}
	if len(owners) < 2 {
		return owners, nil
	}
	var still []string
	for _, name := range owners {
		has, err := has(w.Node(name))
		if err != nil {
			return nil, err
		}
		if has {
			still = append(still, name)
		}
	}
	return still, nil
}

func (n *Node) has(addr netip.Addr) (bool, error) {
	addrs, err := n.Addresses()
	return slices.Contains(addrs, addr), err
}

// Done is closed when the watch has ended and its history is complete.
func (a *Watching) Done() <-chan struct{} { return a.done }

// Between returns the changes within [from, to].
func (a *Watching) Between(from, to time.Time) []Ownership { return a.seen.between(from, to) }

// Changes returns what the kernels had since the watch began, one entry for each change.
func (a *Watching) Changes() []Ownership { return a.seen.all() }

// WaitOwners waits until the latest reading is exactly these machines, in the order of the world.
func (a *Watching) WaitOwners(ctx context.Context, nodes ...string) error {
	return Poll(ctx, func() error {
		var last []string
		changes := a.Changes()
		if len(changes) > 0 {
			last = changes[len(changes)-1].Nodes
			if slices.Equal(last, nodes) {
				return nil
			}
		}
		return fmt.Errorf("%s by the kernels: want it at %v, last read at %v", a.what, nodes, last)
	})
}

// OwnersOverlap returns the changes within [from, to] after which two or more machines had it.
func (a *Watching) OwnersOverlap(from, to time.Time) []Ownership {
	return slices.DeleteFunc(a.seen.between(from, to), func(o Ownership) bool { return len(o.Nodes) < 2 })
}

// Err is the first failure to read a machine's kernel; what was recorded is then incomplete.
func (a *Watching) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// WaitOnlyAt waits until exactly this machine has addr on its card ("" for none).
func (w *World) WaitOnlyAt(ctx context.Context, addr netip.Addr, node string) error {
	return Poll(ctx, func() error { return w.CheckOnlyAt(addr, node) })
}

// CheckOnlyAt returns an error that says who has addr, unless it is exactly this machine ("" for none).
func (w *World) CheckOnlyAt(addr netip.Addr, node string) error {
	owners, err := w.owners(addr)
	if err != nil {
		return err
	}
	var want []string
	if node != "" {
		want = []string{node}
	}
	if !slices.Equal(owners, want) {
		return fmt.Errorf("%s is at %v, want it at %v", addr, owners, want)
	}
	return nil
}
