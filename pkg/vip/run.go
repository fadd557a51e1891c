package vip

import (
	"context"
	"sync"
	"time"
)

// Run watches and refreshes addresses, sends announcements and hears conflicts until ctx ends; then it returns
// nil, with every goroutine of its own ended. It changes no address on its way out: a restart that resumes
// finds them. Call it once, in its own goroutine, before the first Open.
func (m *Manager) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { m.keeper.run(ctx) })
	wg.Go(func() { m.announcer.run(ctx) })
	wg.Go(func() { m.conflicts.run(ctx) })
	wg.Go(func() { m.follow(ctx) })
	wg.Go(func() { m.followGate(ctx) })
	wg.Wait()
	return nil
}

// follow hands the kernel's change feed to the keeper. When the feed breaks (the kernel says ENOBUFS when it
// had to drop reports) it opens a new one and has everything compared.
func (m *Manager) follow(ctx context.Context) {
	for ctx.Err() == nil {
		pause := resubscribeAfter
		s, err := m.kernel.Subscribe()
		if err != nil {
			pause = retryEvery
		} else {
			err = m.followFeed(ctx, s)
		}
		if ctx.Err() != nil {
			return
		}
		m.events(Event{Kind: WatchError, Detail: err.Error()})
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// followFeed reads one feed until it breaks or ctx ends, and closes it.
func (m *Manager) followFeed(ctx context.Context, s subscription) error {
	var once sync.Once
	end := func() { once.Do(s.Close) }
	defer end()
	defer context.AfterFunc(ctx, end)()
	m.keeper.poke() // whatever happened while nobody listened
	for {
		changes, err := s.Next()
		if err != nil {
			return err
		}
		m.keeper.hint(changes)
	}
}
