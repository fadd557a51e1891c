package main

import (
	"context"
	"errors"
	"math"
	"syscall"
	"time"

	"github.com/hbagent/hbagent/internal/bench"
	"github.com/hbagent/hbagent/internal/lab"
)

// Chosen by us.
const (
	// moveLimit is how long a fault lasts that moves nothing. Then it is mended, and its outage is at least that. The
	// slowest takeover, that of pacemaker at the equal pace, takes 12 s.
	moveLimit = 15 * time.Second
	// lasting is how much longer a fault lasts after the other machine has begun to answer: two owners are seen in it.
	lasting   = time.Second
	lossFor   = 20 * time.Second
	lossShare = 30 // percent
)

// A scenario is something that happens to the owner, and how it is made good again. Everything from the strike until
// the tool is at rest again counts, the repair included.
type scenario struct {
	name    string
	moves   int     // that it asks for
	service bool    // the tool watches the web server
	share   float64 // of the runs that are asked for; 0 means all
	strike  func(ctx context.Context, s *site, owner string) error
	// lasts is how long the fault goes on: after the move where one is asked for, else in all.
	lasts  time.Duration
	repair func(ctx context.Context, s *site, owner string) error
}

var scenarios = []scenario{
	{name: bench.PowerOff, moves: 1, share: 3,
		strike: func(_ context.Context, s *site, owner string) error { return s.w.Node(owner).PowerOff() },
		repair: func(ctx context.Context, s *site, owner string) error {
			if err := s.w.Node(owner).PowerOn(ctx); err != nil {
				return err
			}
			return errors.Join(s.serve(ctx, owner), s.cluster.Start(ctx, owner))
		}},
	{name: bench.Kill, moves: 1, lasts: lasting,
		strike: func(ctx context.Context, s *site, owner string) error { return s.cluster.Kill(ctx, owner) },
		repair: func(ctx context.Context, s *site, owner string) error { return s.cluster.Start(ctx, owner) }},
	{name: bench.Freeze, moves: 1, lasts: lasting,
		strike: func(_ context.Context, s *site, owner string) error { return s.cluster.Signal(owner, syscall.SIGSTOP) },
		repair: func(_ context.Context, s *site, owner string) error { return s.cluster.Signal(owner, syscall.SIGCONT) }},
	{name: bench.Partition, moves: 1, lasts: lasting,
		strike: func(ctx context.Context, s *site, owner string) error { return s.w.Node(owner).Cut(ctx) },
		repair: func(ctx context.Context, s *site, owner string) error { return s.w.Heal(ctx) }},
	// The owner is heard and hears nobody: its heartbeats say that all is well, and no client reaches it.
	{name: bench.OneWay, moves: 1, share: 0.4, lasts: lasting,
		strike: func(ctx context.Context, s *site, owner string) error { return s.w.Node(owner).CutOneWay(ctx, lab.In) },
		repair: func(ctx context.Context, s *site, owner string) error { return s.w.Heal(ctx) }},
	// The echo server goes with the web server: what the client misses is the service.
	{name: bench.Service, moves: 1, service: true, share: 2,
		strike: func(_ context.Context, s *site, owner string) error { return s.servers[owner].Kill() },
		repair: func(ctx context.Context, s *site, owner string) error { return s.serve(ctx, owner) }},
	{name: bench.Switchover, moves: 1, share: 2,
		strike: func(ctx context.Context, s *site, owner string) error {
			return s.cluster.Switchover(ctx, owner, otherThan(owner))
		}},
	{name: bench.Restart, lasts: lasting,
		strike: func(ctx context.Context, s *site, owner string) error { return s.cluster.Restart(ctx, owner) }},
	{name: bench.Loss, share: 0.4, lasts: lossFor,
		strike: func(ctx context.Context, s *site, owner string) error { return s.w.Loss(ctx, lossShare) },
		repair: func(ctx context.Context, s *site, owner string) error { return s.w.Heal(ctx) }},
}

// times is how often it is played when runs are asked for: what takes half a minute less often than what is looked at
// most.
func (sc scenario) times(runs int) int {
	if sc.share == 0 {
		return runs
	}
	return max(1, int(math.Round(sc.share*float64(runs))))
}

// once plays a scenario one time. An error means that the tool did not come to rest, or could not be asked.
func (s *site) once(ctx context.Context, sc scenario) (bench.Sample, error) {
	owner, err := s.steady(ctx)
	if err != nil {
		return bench.Sample{}, err
	}
	if err := s.chance(ctx); err != nil {
		return bench.Sample{}, err
	}
	from := time.Now()
	struck := sc.strike(ctx, s, owner)
	if struck == nil && sc.moves > 0 {
		moved, cancel := context.WithTimeout(ctx, moveLimit)
		// That nothing moves is what some tools do: the outage tells.
		_ = s.echo.WaitAnswer(moved, time.Now(), otherThan(owner))
		cancel()
	}
	if err := lab.Pause(ctx, max(sc.lasts, aMoment)); err != nil {
		return bench.Sample{}, err
	}
	if sc.repair != nil {
		struck = errors.Join(struck, sc.repair(ctx, s, owner))
	}
	if struck != nil {
		return bench.Sample{}, struck
	}
	if _, err := s.steady(ctx); err != nil {
		return bench.Sample{}, err
	}
	return s.sample(owner, from, time.Now(), sc.moves), nil
}
