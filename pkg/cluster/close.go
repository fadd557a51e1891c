package cluster

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// Close ends the cluster and frees its sockets. With leave it tells the peers
// first, so that they show this node as left at once and not as failed some
// seconds later; timeout bounds that, and the wait for calls under way. The
// sockets are closed whatever the error. Later calls do nothing.
func (c *Cluster) Close(leave bool, timeout time.Duration) error {
	var err error
	c.closeOnce.Do(func() { err = c.close(leave, time.Now().Add(timeout)) })
	if err != nil {
		return fmt.Errorf("cluster: close: %w", err)
	}
	return nil
}

func (c *Cluster) close(leave bool, deadline time.Time) error {
	c.stop() // first, so that Run does not join those we say goodbye to
	var errs []error
	if leave {
		errs = append(errs, c.sayGoodbye(deadline))
	}
	c.life.Lock()
	c.closed = true
	c.life.Unlock()
	errs = append(errs, c.ml.Shutdown())

	done := make(chan struct{})
	go func() { c.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Until(deadline)):
		errs = append(errs, errors.New("calls are still running"))
	}
	return errors.Join(errs...)
}

// sayGoodbye sends our own goodbye to each live peer, and then memberlist's, by
// which peers that ours did not reach hear of it from the others.
func (c *Cluster) sayGoodbye(deadline time.Time) error {
	msg := encodeLeave(leaveMessage{Node: c.opts.Node, Instance: c.instance})
	var wg sync.WaitGroup
	for _, p := range c.order {
		if !c.isAlive(p) {
			continue
		}
		wg.Add(1)
		ok := c.spawn(func() {
			defer wg.Done()
			if err := c.ml.SendReliable(&p.node, msg); err != nil {
				c.logger.Debug("cannot say goodbye", "peer", p.name, "err", err)
			}
		})
		if !ok {
			wg.Done()
		}
	}
	sent := make(chan struct{})
	go func() { wg.Wait(); close(sent) }() // ends with the streams' own deadlines
	select {
	case <-sent:
	case <-time.After(time.Until(deadline)):
	}
	// Zero would mean for ever.
	if err := c.ml.Leave(max(time.Until(deadline), time.Millisecond)); err != nil {
		return fmt.Errorf("say goodbye: %w", err)
	}
	return nil
}
