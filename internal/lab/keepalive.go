package lab

import (
	"context"
	"time"
)

// runKeepAlive is run for a client that stays connected.
func (p *HTTPProbe) runKeepAlive(ctx context.Context) {
	defer close(p.done)
	tick := time.NewTicker(p.o.Interval)
	defer tick.Stop()
	var c *line
	defer func() {
		if c != nil {
			c.Close()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		a := HTTPAnswer{Sent: time.Now()}
		a.Body, a.Err = p.askOver(ctx, &c)
		a.Done = time.Now()
		if ctx.Err() != nil {
			return // an answer cut off by our own end says nothing
		}
		p.seen.add(a)
	}
}

// askOver puts one question over the connection in *c, and makes one where there is none. After a failure, and when the
// server wants it so (Apache after MaxKeepAliveRequests), there is none again.
func (p *HTTPProbe) askOver(ctx context.Context, c **line) (body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	if *c == nil {
		if *c, err = p.connect(ctx); err != nil {
			*c = nil
			return "", err
		}
	}
	if body, err = (*c).get(ctx, p.o, "keep-alive"); err != nil || (*c).last {
		(*c).Close()
		*c = nil
	}
	return body, err
}
