package checks

import (
	"context"
	"fmt"
)

// tcpCheck passes when a connection can be made. Note what that proves: the
// kernel completes handshakes for a hung server too, until its queue is full.
type tcpCheck struct{ address string }

func newTCP(s Spec) (Checker, error) {
	if n, err := network(s.Address); err != nil {
		return nil, err
	} else if n != "tcp" {
		return nil, fmt.Errorf("address %q, want host:port", s.Address)
	}
	return &tcpCheck{s.Address}, nil
}

func (c *tcpCheck) Check(ctx context.Context) Result {
	conn, err := dial(ctx, "tcp", c.address, 0)
	if err != nil {
		return netFailure(ctx, c.address, err)
	}
	conn.Close()
	return pass("connected to %s", c.address)
}
