package agent

import "time"

// The clocks of a test node: one world's time, and what was done to them.

func (n *testNode) bootClock() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return time.Since(n.w.start) + n.jump
}

func (n *testNode) monoClock() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return time.Since(n.w.start) + n.jump - n.slept
}

func (n *testNode) wallClock() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return wallTime() + n.jump + n.set
}

// setClock moves the wall clock of a node.
func (n *testNode) setClock(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.set += d
}

// standStill makes the clocks of a node jump; slept of it CLOCK_MONOTONIC does not see.
func (n *testNode) standStill(d, slept time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.jump += d
	n.slept += slept
}
