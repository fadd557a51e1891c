package lab

import (
	"context"
	"fmt"
	"time"
)

// settle is how long the client goes on being watched after a step: what comes late belongs to it too.
const settle = 300 * time.Millisecond

// A stage is one step of the demo: a deed, and where the address must be afterwards.
type stage struct {
	name    string
	text    string        // what is done
	then    string        // what comes of it
	owner   string        // who must have the address afterwards
	moves   bool          // whether that is another one than before
	promise time.Duration // bound of the gap; 0: no question is lost
	deed    func(context.Context) error
}

// play builds the site and goes through the stages. Its error names the stage.
func (d *demo) play(ctx context.Context) error {
	if err := d.build(ctx); err != nil {
		return fmt.Errorf("building the site: %w", err)
	}
	if err := d.watch(ctx); err != nil {
		return fmt.Errorf("starting the client: %w", err)
	}
	if err := d.start(ctx); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	for _, s := range d.stages() {
		if err := d.run(ctx, s); err != nil {
			return fmt.Errorf("step %s (%s): %w", s.name, s.text, err)
		}
	}
	if two := d.arp.OwnersOverlap(d.began, time.Now()); len(two) > 0 {
		return fmt.Errorf("%d ARP questions were answered by two machines, the first by %v", len(two), two[0].Nodes)
	}
	return nil
}

// start starts the agents and waits for the first owner. The client is not measured: there was no site yet.
func (d *demo) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	at := time.Now()
	d.print.did(at.Sub(d.began), "three agents start")
	if err := d.w.StartAgents(ctx); err != nil {
		return err
	}
	if err := d.w.WaitOwner(ctx, "web", "web1"); err != nil {
		return err
	}
	if err := d.client.WaitAnswer(ctx, at, "web1"); err != nil {
		return err
	}
	step := DemoStep{Name: "start", Text: "three agents start", AtMs: ms(time.Since(d.began)), Owner: "web1", Kept: true}
	d.report.Steps = append(d.report.Steps, step)
	d.print.owns(time.Since(d.began), "web1 takes "+d.report.Address, "web1")
	return d.w.WaitEligible(ctx, "web", "web1", "web2") // a move needs somebody to move to
}

func (d *demo) stages() []stage {
	node := d.w.Node
	return []stage{
		{
			name: "web-killed", text: "the web server on web1 is killed", then: "web2 takes over",
			owner: "web2", moves: true, promise: promiseService,
			deed: func(context.Context) error { return d.web["web1"].Kill() },
		}, {
			name: "web-back", text: "the web server on web1 starts again", then: "web2 keeps it: no second interruption",
			owner: "web2",
			deed: func(ctx context.Context) error {
				if err := d.web["web1"].Start(ctx); err != nil {
					return err
				}
				return d.w.WaitEligible(ctx, "web", "web1")
			},
		}, {
			name: "power-off", text: "web2 loses its power", then: "web1 takes over",
			owner: "web1", moves: true, promise: promiseOwner,
			deed: func(context.Context) error { return node("web2").PowerOff() },
		}, {
			name: "power-on", text: "web2 boots again", then: "web1 keeps it (failback = false)",
			owner: "web1",
			deed:  d.bootWeb2,
		}, {
			name: "switchover", text: "hbagent switchover web --to web2", then: "web2 has it, as planned",
			owner: "web2", moves: true,
			deed: func(ctx context.Context) error {
				_, err := node("web1").Hbagent(ctx, "switchover", "web", "--to", "web2")
				return err
			},
		}, {
			name: "agent-killed", text: "the agent on web2 is killed, and restarted", then: "web2 keeps it",
			owner: "web2",
			deed: func(ctx context.Context) error {
				if err := node("web2").KillAgent(); err != nil {
					return err
				}
				if err := node("web2").StartAgent(ctx); err != nil {
					return err
				}
				return pause(ctx, demoTTL+demoTTL/2) // a lease that was lost would show by now
			},
		},
	}
}

func (d *demo) bootWeb2(ctx context.Context) error {
	n := d.w.Node("web2")
	if err := n.PowerOn(ctx); err != nil {
		return err
	}
	if err := d.startServices(ctx, n); err != nil {
		return err
	}
	if err := n.StartAgent(ctx); err != nil {
		return err
	}
	return d.w.WaitEligible(ctx, "web", "web2")
}

// run does one stage, asserts where the address is, and prints what the client noticed beside the promise.
func (d *demo) run(ctx context.Context, s stage) error {
	ctx, cancel := context.WithTimeout(ctx, moveWait)
	defer cancel()
	began := time.Now()
	d.print.did(began.Sub(d.began), s.text)
	if err := s.deed(ctx); err != nil {
		return err
	}
	if err := d.w.WaitOwner(ctx, "web", s.owner); err != nil {
		return err
	}
	has := time.Now()
	if err := d.client.WaitAnswer(ctx, has, s.owner); err != nil {
		return err
	}
	if err := pause(ctx, settle); err != nil {
		return err
	}
	if err := d.w.CheckOnlyAt(Floating4.Addr(), s.owner); err != nil {
		return err
	}
	if moved := d.movedSince(began); !s.moves && len(moved) > 0 {
		return fmt.Errorf("the address had to stay at %s, and was at %v", s.owner, moved[0].Nodes)
	}
	step := d.measure(s, began, time.Now())
	step.AtMs = ms(has.Sub(d.began))
	d.report.Steps = append(d.report.Steps, step)
	d.print.result(has.Sub(d.began), s.then, step)
	return nil
}

// movedSince returns the changes of who has the address on its card.
func (d *demo) movedSince(t time.Time) []Ownership {
	var moved []Ownership
	for _, c := range d.cards.Changes() {
		if c.At.After(t) {
			moved = append(moved, c)
		}
	}
	return moved
}

// measure compares what the client noticed with the promise.
func (d *demo) measure(s stage, from, to time.Time) DemoStep {
	gap, tally := d.client.LongestGap(from, to), d.client.Tally(from, to)
	step := DemoStep{Name: s.name, Text: s.text, Owner: s.owner, GapMs: ms(gap.Length()), Asked: tally.Asked, Lost: tally.Failed}
	if s.promise > 0 {
		step.PromiseMs = ms(s.promise)
		step.Kept = gap.Length() <= s.promise
	} else {
		step.Kept = tally.Failed == 0
	}
	return step
}
