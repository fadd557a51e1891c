package chaos

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
)

const (
	lossPercent  = 30
	busyPerNode  = 2
	switchingMax = 5 * time.Second
	restartPause = 100 * time.Millisecond // systemd's RestartSec
)

// ErrNobodyFree is returned by [Site.Strike] where other faults have every machine the fault could meet.
var ErrNobodyFree = errors.New("no machine is free for the fault")

// Strike makes one fault, from its beginning to its end, and repairs what it broke. Several may be under way at once.
// When ctx ends, the fault is over early, and repaired all the same. Its error means that the lab or an agent failed, not that
// hbagent broke a promise: that is for [Judge].
func (s *Site) Strike(ctx context.Context, f Fault) error {
	n, release := s.take(f)
	if n == nil {
		return fmt.Errorf("%v: %w", f, ErrNobodyFree)
	}
	defer release()
	e := s.begin(f, n.Name)
	err := s.strike(ctx, f, n)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil // over early
	}
	s.end(e, err)
	if err != nil {
		return fmt.Errorf("%v (%s): %w", f, n.Name, err)
	}
	return nil
}

func (s *Site) strike(ctx context.Context, f Fault, n *lab.Node) error {
	switch f.Kind {
	case Kill:
		return lasting(ctx, f.For, func(context.Context) error { return n.KillAgent() }, func(ctx context.Context) error { return start(ctx, n) })
	case KillRestart:
		return restart(ctx, n, true)
	case RestartStorm:
		return times(ctx, f.Times, func() error { return restart(ctx, n, false) })
	case End:
		return lasting(ctx, f.For, func(ctx context.Context) error { return n.EndAgent(ctx, syscall.SIGUSR2) },
			func(ctx context.Context) error { return start(ctx, n) })
	case Stop:
		return lasting(ctx, f.For, n.StopAgent, func(ctx context.Context) error { return start(ctx, n) })
	case Hang:
		return n.HangAgent(ctx, f.For)
	case Stutter:
		return times(ctx, f.Times, func() error { return errors.Join(n.HangAgent(ctx, f.For), lab.Pause(ctx, f.For)) })
	case Freeze:
		return lasting(ctx, f.For, func(context.Context) error { return n.Freeze() }, func(context.Context) error { return n.Thaw() })
	case Power:
		return lasting(ctx, f.For, func(context.Context) error { return n.PowerOff() }, func(ctx context.Context) error { return s.boot(ctx, n) })
	case Isolate:
		return s.imposed(ctx, f.For, lab.Isolated(n))
	case Deaf:
		return s.imposed(ctx, f.For, lab.OneWay(n, lab.In))
	case Mute:
		return s.imposed(ctx, f.For, lab.OneWay(n, lab.Out))
	case Between:
		return s.imposed(ctx, f.For, lab.Between(n, s.another(n, f.Pick)))
	case Loss:
		return s.imposed(ctx, f.For, lab.Lossy(n, lossPercent))
	case LossAll:
		return s.imposed(ctx, f.For, lab.LossyEverywhere(lossPercent))
	case Flap:
		return times(ctx, f.Times, func() error {
			return errors.Join(s.imposed(ctx, f.For, lab.Isolated(n)), lab.Pause(ctx, f.For))
		})
	case CardDown:
		return lasting(ctx, f.For,
			func(ctx context.Context) error { return n.SetCard(ctx, false) },
			func(ctx context.Context) error { return n.SetCard(ctx, true) })
	case Unplug:
		return lasting(ctx, f.For, func(context.Context) error { return n.Unplug() }, n.Plug)
	case FlushRules:
		return bounded(ctx, repairWait, n.FlushRules)
	case LoseAddresses:
		return n.LoseAddresses()
	case FlushAll:
		return lasting(ctx, f.For, func(context.Context) error { return n.FlushAddresses() }, func(context.Context) error { return n.PutAddresses() })
	case Busy:
		end, err := n.Load(busyPerNode)
		if err != nil {
			return err
		}
		return errors.Join(lab.Pause(ctx, f.For), end())
	case Switchover:
		return s.switchover(ctx, n, s.another(n, f.Pick))
	}
	return fmt.Errorf("no such fault")
}

// lasting begins something, lets d pass, and ends it: also when ctx has ended, so that the site is whole.
func lasting(ctx context.Context, d time.Duration, begin, end func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := bounded(context.WithoutCancel(ctx), repairWait, begin); err != nil {
		return err
	}
	waited := lab.Pause(ctx, d)
	return errors.Join(waited, bounded(context.WithoutCancel(ctx), repairWait, end))
}

func (s *Site) imposed(ctx context.Context, d time.Duration, b lab.Break) error {
	var mend func(context.Context) error
	return lasting(ctx, d,
		func(ctx context.Context) (err error) { mend, err = s.Impose(ctx, b); return err },
		func(ctx context.Context) error { return mend(ctx) })
}

// boot brings a machine back that had lost its power, with its server and its agent.
func (s *Site) boot(ctx context.Context, n *lab.Node) error {
	if err := n.PowerOn(ctx); err != nil {
		return err
	}
	if err := s.web[n.Name].Start(ctx); err != nil {
		return err
	}
	return start(ctx, n)
}

// start starts the agent, again and again as systemd does: one that finds the machine's own address gone, which
// is another fault's work, ends with an error.
func start(ctx context.Context, n *lab.Node) error {
	for {
		err := n.StartAgent(ctx)
		if err == nil || lab.Pause(ctx, restartPause) != nil {
			return err
		}
	}
}

// another is a machine that is not n.
func (s *Site) another(n *lab.Node, pick int) *lab.Node {
	var others []*lab.Node
	for _, o := range s.Nodes() {
		if o != n {
			others = append(others, o)
		}
	}
	return others[pick%len(others)]
}

// switchover asks for a move. In the middle of other faults it may be refused, rightly.
func (s *Site) switchover(ctx context.Context, n, to *lab.Node) error {
	ctx, cancel := context.WithTimeout(ctx, switchingMax)
	defer cancel()
	if _, err := n.Hbagent(ctx, "switchover", group, "--to", to.Name); err != nil {
		s.note("refused: " + err.Error())
	}
	return nil
}

func bounded(ctx context.Context, d time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return f(ctx)
}

// restart is not cut short: the machine would be left without an agent.
func restart(ctx context.Context, n *lab.Node, killed bool) error {
	sig := syscall.SIGUSR2
	if killed {
		sig = syscall.SIGKILL
	}
	return bounded(context.WithoutCancel(ctx), repairWait, func(ctx context.Context) error {
		if err := n.EndAgent(ctx, sig); err != nil {
			return err
		}
		return start(ctx, n)
	})
}

func times(ctx context.Context, n int, f func() error) error {
	for range n {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}
