package lab

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/nftables"
)

// Given by pkg/vip (nft_layout_linux.go): a gate is open while its group's set has a live element.
const (
	gateTable = "hbagent"
	gateLive  = "live-" // the group's name follows
)

// A GateWatch is a [Watching] of who has an open gate for a group. Reading the sets of all machines takes a
// moment; two gates are believed to be open at once when the first is still open after the second was read.
type GateWatch struct{ *Watching }

// WatchGate starts reading whose gate for a group is open. A machine without rules has no open gate, whatever it may
// then send: that is for the watches of the wire. It ends with ctx. interval 0 means 5 ms.
func (w *World) WatchGate(ctx context.Context, group string, interval time.Duration) *GateWatch {
	r := &gateReader{set: gateLive + group, conns: make(map[*Node]gateConn)}
	g := &GateWatch{w.watch(ctx, "gate of "+group, r.open, interval)}
	go func() {
		<-g.Done()
		r.close()
	}()
	return g
}

// A gateReader reads the sets of live groups straight from the machines' kernels.
type gateReader struct {
	set string

	mu    sync.Mutex
	conns map[*Node]gateConn
}

// A gateConn is a socket into one boot of a machine.
type gateConn struct {
	space *netspace
	nft   *nftables.Conn
}

var gateFamilies = []nftables.TableFamily{nftables.TableFamilyINet, nftables.TableFamilyARP, nftables.TableFamilyNetdev}

// open reports whether the machine's kernel has a live element for the group, in any of the tables.
func (r *gateReader) open(n *Node) (bool, error) {
	n.mu.RLock()
	defer n.mu.RUnlock() // held over the read, as in Addresses
	r.mu.Lock()
	defer r.mu.Unlock()
	nft, err := r.conn(n)
	if nft == nil || err != nil {
		return false, err
	}
	for _, family := range gateFamilies {
		elements, err := nft.GetSetElements(&nftables.Set{Table: &nftables.Table{Name: gateTable, Family: family}, Name: r.set})
		switch {
		case says(err, syscall.ENOENT): // no rules there, or no agent yet
		case says(err, syscall.EINTR): // the set changed while it was read: the next look tells
		case err != nil:
			return false, fmt.Errorf("gate of %s: %w", n.Name, err)
		case len(elements) > 0:
			return true, nil
		}
	}
	return false, nil
}

// says reports whether the kernel answered with this error: google/nftables passes on its text only.
func says(err error, want syscall.Errno) bool {
	return err != nil && strings.HasSuffix(err.Error(), want.Error())
}

// conn returns a socket into the machine as it is booted now; nil where it has no power. n.mu and r.mu are held.
func (r *gateReader) conn(n *Node) (*nftables.Conn, error) {
	c := r.conns[n]
	if c.space == n.space {
		return c.nft, nil
	}
	if c.nft != nil {
		_ = c.nft.CloseLasting() // it led into a machine that is no more
	}
	delete(r.conns, n)
	if n.space == nil {
		return nil, nil
	}
	nft, err := nftables.New(nftables.WithNetNSFd(int(n.space.ns)), nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("gate of %s: %w", n.Name, err)
	}
	r.conns[n] = gateConn{n.space, nft}
	return nft, nil
}

func (r *gateReader) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		_ = c.nft.CloseLasting() // the end is near
	}
	clear(r.conns)
}
