package agent

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/hbagent/hbagent/pkg/vip"
)

// What fakeAddresses knows of a draining handover.
type fakeDrain struct {
	connections int   // open ones
	cannotReset bool  // as where the drain is gone from the kernel
	drainErr    error // of Drain
	steerErr    error
	hopErr      error
	spoofing    bool // what this node forwards is dropped on the way
}

func (f *fakeAddresses) NextHop(string) (vip.NextHop, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return vip.NextHop{IPv4: netip.MustParseAddr("10.0.0.11"), MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}, f.hopErr
}

// SendForwardProbe reaches whoever waits for the cookie, unless it is dropped.
func (f *fakeAddresses) SendForwardProbe(ctx context.Context, _ string, _ vip.NextHop, cookie uint64) error {
	f.mu.Lock()
	dropped := f.spoofing
	f.mu.Unlock()
	if !dropped {
		f.n.w.probes <- cookie
	}
	<-ctx.Done()
	return nil
}

func (f *fakeAddresses) AwaitForwardProbe(ctx context.Context, _ string, cookie uint64) error {
	for {
		select {
		case <-ctx.Done():
			return vip.ErrNoAnswer
		case c := <-f.n.w.probes:
			if c == cookie {
				return nil
			}
		}
	}
}

func (f *fakeAddresses) Steer(group string, _ vip.NextHop, _ time.Duration) error {
	f.note("steer %s", group)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.steerErr
}

func (f *fakeAddresses) Unsteer(group string) error {
	f.note("unsteer %s", group)
	return nil
}

func (f *fakeAddresses) Drain(group string, _ vip.NextHop, _ time.Duration) error {
	f.note("drain %s", group)
	f.n.w.mu.Lock()
	delete(f.n.w.open[group], f.n.node)
	f.n.w.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.drainErr
}

func (f *fakeAddresses) Connections(string) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.connections, nil
}

func (f *fakeAddresses) EndDrain(group string) (reset int, err error) {
	f.note("end drain %s", group)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cannotReset {
		return 0, nil
	}
	return f.connections, nil
}

// connect sets how many connections are open on a node.
func (f *fakeAddresses) connect(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.connections = n
}
