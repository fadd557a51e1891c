package checks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// errAnswerTooLong ends the conversation with a service that talks without end.
var errAnswerTooLong = errors.New("the answer is longer than any that makes sense")

// A probeConn is a connection for one probe: it ends with the probe's context,
// whatever deadlines a client library sets on it, and yields at most a fixed
// number of bytes, however much such a library would like to read.
type probeConn struct {
	net.Conn
	left   int // bytes that may still be read
	detach func() bool
}

// dial connects within ctx. The connection is closed when ctx ends.
func dial(ctx context.Context, network, address string, maxRead int) (net.Conn, error) {
	d := net.Dialer{KeepAlive: -1} // it lives for one probe
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &probeConn{
		Conn:   conn,
		left:   maxRead,
		detach: context.AfterFunc(ctx, func() { conn.Close() }),
	}, nil
}

func (c *probeConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errAnswerTooLong
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

func (c *probeConn) Close() error {
	c.detach()
	return c.Conn.Close()
}

// The context is the only clock.

func (c *probeConn) SetDeadline(time.Time) error      { return nil }
func (c *probeConn) SetReadDeadline(time.Time) error  { return nil }
func (c *probeConn) SetWriteDeadline(time.Time) error { return nil }

// network returns the network that address belongs to: a path is a Unix socket,
// anything else has to be host:port.
func network(address string) (string, error) {
	if strings.HasPrefix(address, "/") {
		return "unix", nil
	}
	if address == "" {
		return "", errors.New("address is missing, want host:port")
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || port == "" {
		return "", fmt.Errorf("address %q, want host:port", address)
	}
	return "tcp", nil
}
